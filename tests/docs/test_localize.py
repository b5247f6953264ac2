"""The commands of docs/looking.md on localize run, and make what the page says."""

import re
import shlex
from pathlib import Path

import av
import numpy as np
import pytest
from avpipe.pipeline.main import main
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from cache_factory import make_cache
from command_pages import section
from evaluation_factory import TINY
from media_factory import sound, write_clip, write_wav
from PIL import Image
from processes import close_decoders

PAGE = section(
    (Path(__file__).parents[2] / "docs/looking.md").read_text(encoding="utf-8"),
    "Where a sound comes from",
)
pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_pages_commands_make_pictures_and_films(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", "no-weights")
    Path("videos").mkdir()
    for name in "ab":
        write_clip(Path("videos") / f"{name}.mp4", seconds=1.0, fps=8)
    Image.fromarray(np.full((60, 80, 3), 99, np.uint8)).save("photo.png")
    write_wav(Path("noise.wav"), sound(1.0, 16000)[None], 16000)
    Path("test.txt").write_text("b\n")
    assert main(["extract", "videos", "--jobs", "1"]) == 0
    close_decoders()
    train(
        make_cache(Path("other"), 16),
        load_recipe("compact", TINY),
        Path("runs/first"),
        device="cpu",
    )
    (block,) = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    for command in re.findall(r"(?m)^\$ avpipe (.*)$", block):
        assert main(shlex.split(command)) == 0, command
    made = ["a.mp4", "a.png", "b.mp4", "b.png", "b.strip.png", "photo.png", "sheet.png"]
    assert sorted(path.name for path in Path("localized").iterdir()) == made
    for name in "ab":
        with av.open(f"localized/{name}.mp4") as film:
            assert film.streams.video[0].frames == 8
            assert len(film.streams.audio) == 1
