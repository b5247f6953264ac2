"""The examples of docs/inputs.md are run, from top to bottom, and name the clips they should."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from avpipe.cache.store import Cache
from avpipe.pipeline.extract.scan import scan
from avpipe.pipeline.main import main
from media_factory import picture, sound, write_clip, write_wav
from PIL import Image
from processes import close_decoders

PAGE = Path(__file__).parents[2] / "docs" / "inputs.md"
VIDEOS = [
    *("---g-f_I2yQ_000001", "cat_000020", "dog_000010", "hpDY7u8B8hE_5000_15000", "long"),
]
EXPECTED = {
    "avpipe extract videos": VIDEOS,
    "avpipe extract flickr": ["7"],
    "avpipe extract lists/train.txt --root videos": ["cat_000020", "dog_000010"],
    "avpipe extract clips.csv": ["long-a", "long-b"],
    "avpipe extract vggsound.csv --root videos": [
        *("---g-f_I2yQ_000001", "hpDY7u8B8hE_000005"),
    ],
    "avpipe extract videos --id-from path --cache paths": [
        *("---g-f_I2yQ_000001", "deep__cat_000020", "deep__hpDY7u8B8hE_5000_15000"),
        *("dog_000010", "long"),
    ],
    "avpipe extract videos --segment 2 --cache pieces": [
        *("---g-f_I2yQ_000001_000000000", "cat_000020_000000000", "dog_000010_000000000"),
        *("hpDY7u8B8hE_5000_15000_000000000", "long_000000000", "long_000002000"),
    ],
    "avpipe extract videos --cache kept": VIDEOS,
    "mv videos moved": [],
    "avpipe extract moved --cache kept --root 0=moved": VIDEOS,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("videos/deep", "flickr/frames", "flickr/audio", "lists"):
        (tmp_path / name).mkdir(parents=True)
    short = write_clip(tmp_path / "videos/dog_000010.mp4", seconds=2.0)
    shutil.copy(short, tmp_path / "videos/---g-f_I2yQ_000001.mp4")
    shutil.copy(short, tmp_path / "videos/deep/cat_000020.mp4")
    shutil.copy(short, tmp_path / "videos/deep/hpDY7u8B8hE_5000_15000.mp4")
    write_clip(tmp_path / "videos/long.mp4", seconds=4.0)
    Image.fromarray(picture(1, (640, 480))).save(tmp_path / "flickr/frames/7.jpg")
    write_wav(tmp_path / "flickr/audio/7.wav", sound(3.0, 22050)[None], 22050)
    return tmp_path


def test_every_example_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name, content in re.findall(r"```text file=(\S+)\n(.*?)```", page, re.DOTALL):
        (folder / name).write_text(content)
    commands = re.findall(r"(?m)^\$ (.+)$", page)
    assert commands == list(EXPECTED)
    monkeypatch.setenv("AVPIPE_JOBS", "1")
    monkeypatch.chdir(folder)
    for number, command in enumerate(commands):
        words = shlex.split(command)
        cache = folder / f"cache{number}"
        if "--cache" in words:
            cache = folder / words[words.index("--cache") + 1]
        monkeypatch.setenv("AVPIPE_CACHE", str(cache))
        if words[0] != "avpipe":
            subprocess.run(words, check=True, timeout=540)
        else:
            assert main(words[1:]) == 0, command
            close_decoders()
            opened = Cache(cache)
            assert sorted(opened.ids) == EXPECTED[command]
            assert opened.failures() == []


def test_the_names_of_the_table_are_those_that_are_found(tmp_path: Path) -> None:
    """Its rows in order: each is taken once the ones above are gone; the third holds two."""
    rows = re.findall(r"(?m)^\| (`<video>[^|]*) \|", PAGE.read_text(encoding="utf-8"))
    names = [re.findall(r"`([^`]+)`", row) for row in rows]
    assert [len(some) for some in names] == [1, 1, 2, 1]
    (tmp_path / "vggsound.csv").write_text("hpDY7u8B8hE,5,dog barking,train\n")
    for name in (name for some in reversed(names) for name in reversed(some)):
        for path in tmp_path.glob("*.webm"):
            if len(path.stem) > 11:  # the whole video may stay
                path.unlink()
        path = tmp_path / f"{name.replace('<video>', 'hpDY7u8B8hE')}.webm"
        path.touch()
        (clip,) = scan([str(tmp_path / "vggsound.csv")]).candidates
        assert (clip.id, clip.path) == ("hpDY7u8B8hE_000005", path.name)
        assert clip.start_s == (5.0 if name == "<video>" else None)


def test_every_column_is_explained() -> None:
    from avpipe.pipeline.extract.lists import _COLUMNS, VIDEO_SUFFIXES

    page = PAGE.read_text(encoding="utf-8")
    assert all(f"`{column}`" in page for column in _COLUMNS)
    assert all(suffix in page for suffix in VIDEO_SUFFIXES)
