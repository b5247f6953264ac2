"""From video files to pictures, through the decoder child."""

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from avpipe.cache.store import Cache
from avpipe.errors import (
    CacheUnwritableError,
    ClipError,
    ClipsFailedError,
    InputError,
    Reason,
    UsageError,
)
from avpipe.pipeline.commands.localize import localize
from avpipe.pipeline.extract.candidate import Candidate
from avpipe.pipeline.extract.scan import scan
from avpipe.pipeline.localize import files
from avpipe.pipeline.localize.files import (
    localize_clips,
    localize_files,
    localize_videos,
    sound_around_frame,
)
from avpipe.stages.features import FeatureParams, Row, make_row
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from cache_factory import make_cache
from called import document_of
from evaluation_factory import TINY
from media_factory import write_clip, write_wav
from PIL import Image


def found(path: Path) -> list[Candidate]:
    return scan([str(path)]).candidates


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    cache = make_cache(folder / "cache", 16)
    train(cache, load_recipe("compact", TINY), folder / "run", device="cpu")
    return folder / "run"


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(tmp_path / "no-weights"))


def test_a_folder_becomes_pictures_and_its_bad_files_have_reasons(
    run: Path, tmp_path: Path
) -> None:
    videos = tmp_path / "videos"
    (videos / "below").mkdir(parents=True)
    write_clip(videos / "a.mp4", fps=8)
    write_clip(videos / "b.mkv", fps=8, seconds=1.5)
    write_clip(videos / "below" / "a.mp4", fps=8, seconds=1)
    (videos / "c.mp4").write_bytes(b"no video")
    done: list[int] = []
    result = localize_files(found(videos), run, tmp_path / "out", progress=done.append)
    assert [path.name for path in result.pictures] == ["a.png", "b.png", "sheet.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in result.pictures)
    assert {f.id: f.reason for f in result.failures} == {"a": "duplicate_id", "c": "not_media"}
    assert {f.id: f.detail for f in result.failures}["a"] == "a.mp4 has this id"
    assert done == [1, 2]


def test_names_that_are_no_files_have_reasons_and_stop_no_other_clip(
    run: Path, tmp_path: Path
) -> None:
    write_clip(tmp_path / "a.mp4", fps=8, seconds=1)
    (tmp_path / "list.csv").write_text(
        "path,id,label\n,..,dog\n,cat,cat\na.mp4,x/y,dog\na.mp4,a,\n"
    )
    result = localize_files(found(tmp_path / "list.csv"), run, tmp_path / "out")
    assert [path.name for path in result.pictures] == ["a.png"]
    assert {f.id: (f.reason, f.detail) for f in result.failures} == {
        "..": ("bad_id", "the id is .."),
        "x/y": ("bad_id", "the id holds a /"),
        "cat": ("missing", "no video or picture is named cat"),
    }


def test_a_clip_with_one_sample_of_sound_stops_no_others(run: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for name, options in (("a.mp4", {}), ("c.mp4", {}), ("b.mov", {
        "waveform": np.full(1, 0.5, np.float32), "audio": ("-c:a", "pcm_s16le"),
    })):  # fmt: skip
        write_clip(videos / name, fps=8, seconds=1.0, **options)  # type: ignore[arg-type]
    pictures = localize_files(found(videos), run, tmp_path / "out")
    films = localize_videos(found(videos), run, tmp_path / "films")
    assert [path.stem for path in pictures.pictures] == ["a", "c", "sheet"]
    assert [path.stem for path in films.videos] == ["a", "c"]
    for result in (pictures, films):
        assert [(f.id, f.reason) for f in result.failures] == [("b", "no_audio")]


class Crashing:
    """A decoder that ends at its first tries."""

    def __init__(self, reason: Reason, tries: int) -> None:
        self.reason, self.left, self.asked = reason, tries, 0

    def row(self, line: Mapping[str, Any]) -> Row:
        self.asked += 1
        if self.asked <= self.left:
            raise ClipError(self.reason)
        return make_row(line["path"], params=FeatureParams())


@pytest.mark.parametrize(
    ("reason", "tries", "asked", "drawn"),
    [
        (Reason.CRASHED, 1, 2, True),
        (Reason.CRASHED, 2, 2, False),
        (Reason.DECODE_ERROR, 1, 1, False),
    ],
)
def test_what_may_pass_is_tried_once_more_as_extract_does(
    reason: Reason, tries: int, asked: int, drawn: bool, run: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    write_clip(tmp_path / "a.mp4", fps=8, seconds=1)
    child = Crashing(reason, tries)
    monkeypatch.setattr(files, "DecoderChild", lambda params, timeout_s: nullcontext(child))
    if drawn:
        assert localize_files(found(tmp_path / "a.mp4"), run, tmp_path / "out").failures == []
    else:
        with pytest.raises(ClipsFailedError, match=str(reason)):
            localize_files(found(tmp_path / "a.mp4"), run, tmp_path / "out")
    assert child.asked == asked


def test_a_film_is_tried_once_more_too(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def write(*arguments: Any, **how: Any) -> str:
        asked.append(arguments)
        if len(asked) == 1:
            raise ClipError(Reason.CRASHED)
        return ""

    write_clip(tmp_path / "a.mp4", fps=8, seconds=1)
    monkeypatch.setattr(files, "write_video", write)
    done = localize_videos(found(tmp_path / "a.mp4"), run, tmp_path / "out")
    assert (len(asked), done.failures) == (2, []) and [one.name for one in done.videos] == ["a.mp4"]


def test_nothing_usable_is_an_error_of_one_line(run: Path, tmp_path: Path) -> None:
    (tmp_path / "c.mp4").write_bytes(b"no video")
    told = r"none of 1 clips .*\(/.*/c\.mp4: not_media [^,]+\)$"
    with pytest.raises(ClipsFailedError, match=told):
        localize_files(found(tmp_path / "c.mp4"), run, tmp_path / "out")
    with pytest.raises(InputError, match="holds no run"):
        localize_files(found(tmp_path / "c.mp4"), tmp_path, tmp_path / "out")


def test_boxes_of_files_are_drawn(run: Path, tmp_path: Path) -> None:
    """By their ids; not where another sound than the annotated one is heard."""
    video = write_clip(tmp_path / "a.mp4", fps=8, seconds=1)
    entries = [{"file": "a", "class": "x", "bbox": [[0.1, 0.1, 0.9, 0.9]]}]
    (tmp_path / "vggss.json").write_text(json.dumps(entries))

    def drawn(out: str, **options: Any) -> bytes:
        given = {"cache": tmp_path, "run": run, "out": tmp_path / out, **options}
        (picture,) = document_of(localize, inputs=[video], **given)["pictures"]
        return Path(picture).read_bytes()

    plain = drawn("plain")
    assert drawn("boxes", annotations=tmp_path) != plain
    assert drawn("other", annotations=tmp_path, sound=video) == plain


def test_a_clip_that_is_named_twice_is_drawn_once(run: Path, tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache", 4)
    (tmp_path / "ids.txt").write_text("clip001\nclip001\n")
    given = {"ids": tmp_path / "ids.txt", "cache": cache.path, "run": run, "out": tmp_path / "out"}
    found = document_of(localize, **given)
    assert found["pictures"] == [str(tmp_path / "out" / "clip001.png")]


def test_cached_clips(run: Path, tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache", 4)
    result = localize_clips(["clip001"], cache, run, tmp_path / "out", device="cpu")
    assert result.pictures == [tmp_path / "out" / "clip001.png"]
    assert result.failures == []


def test_the_sound_heard_is_that_around_the_frame(tmp_path: Path) -> None:
    row = make_row(str(write_clip(tmp_path / "a.mp4", fps=8, seconds=6)), params=FeatureParams())
    heard = sound_around_frame(row, 3.0)
    assert len(heard) == 96_000
    middle = row["frame_sample"]
    assert np.array_equal(heard, row["waveform"][middle - 48_000 : middle + 48_000])
    row["frame_sample"] = len(row["waveform"]) + 5
    assert np.array_equal(sound_around_frame(row, 3.0), row["waveform"][-96_000:])
    assert np.array_equal(sound_around_frame(row, 9.0), row["waveform"])


def test_names_as_long_as_a_disk_takes(run: Path, tmp_path: Path) -> None:
    name = "é" * 125
    video = write_clip(tmp_path / f"{name}.mp4", fps=8, seconds=1)
    assert localize_files(found(video), run, tmp_path / "out").pictures[0].stem == name


def test_pictures_have_to_go_into_a_folder(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    video = write_clip(tmp_path / "a.mp4", fps=8, seconds=1)
    with pytest.raises(UsageError, match="file is no folder: name one with --out"):
        localize_files(found(video), run, tmp_path / "file")
    with pytest.raises(CacheUnwritableError, match=r"a\.png: Not a directory; put its folder back"):
        localize_files(found(video), run, tmp_path / "file" / "out")


def test_no_input_is_replaced(run: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", fps=8, seconds=1)
    write_clip(tmp_path / "b.mp4", fps=8, seconds=1)
    (tmp_path / "cut").mkdir()
    for path in (tmp_path / "c", tmp_path / "cut" / "sheet"):
        Image.new("RGB", (64, 48), (200, 30, 60)).save(path.with_suffix(".png"))
        write_wav(path.with_suffix(".wav"), np.zeros((1, 32_000), np.float32), 32_000)
    (tmp_path / "other.csv").write_text("path,id\na.mp4,b\nb.mp4,a\n")
    (tmp_path / "cut.csv").write_text("path,audio_path,id\ncut/sheet.png,cut/sheet.wav,x\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def refused(path: str, name: str, out: Path = tmp_path, **options: Any) -> None:
        with pytest.raises(UsageError, match=f"is an input, and .*{name} would take its place"):
            document_of(localize, inputs=[tmp_path / path], run=run, out=out, **options)

    refused("a.mp4", "a.mp4", video=True)
    refused("other.csv", "b.mp4", video=True)
    refused("c.png", "c.png", sound=tmp_path / "c.wav")
    refused("a.mp4", "a.mp4", sound=tmp_path / "b.mp4", video=True)
    refused("cut.csv", "sheet.png", tmp_path / "cut")
    cache = SimpleNamespace(ids=["sheet"])  # made of them
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(UsageError, match=r"cut/sheet\.png is an input"),
    ):
        patch.setattr(files, "cached_sources", lambda cache, ids: found(tmp_path / "cut.csv"))
        localize_clips(["sheet"], cast(Cache, cache), run, tmp_path / "cut")
    assert {path: path.read_bytes() for path in before} == before


def test_a_clip_may_be_called_sheet(run: Path, tmp_path: Path) -> None:
    for name in ("a", "sheet"):
        write_clip(tmp_path / f"{name}.mp4", fps=8, seconds=1)
    result = localize_files(found(tmp_path), run, tmp_path / "out")
    assert [path.name for path in result.pictures] == ["a.png", "sheet.png", "_sheet.png"]
    assert len({path.read_bytes() for path in result.pictures}) == 3
