"""Whatever a clip fails for, its detail says it in words that name the file meant."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from asked_to_extract import settings_for
from avpipe.cache.store import Cache, Failure
from avpipe.errors import ClipError, Reason
from avpipe.pipeline.extract.run import ExtractSummary, extract
from avpipe.pipeline.pages.failures import failures_text, list_failures
from avpipe.stages.features import FeatureParams
from avpipe.stages.workers.decoder import DecoderChild
from bad_clips import BAD
from media_factory import picture, sound, write_clip, write_wav
from PIL import Image

HOSTILE = (sys.executable, str(Path(__file__).parents[1].joinpath("hostile_child.py")))
MADE = {
    Reason.MISSING: "a dangling link",
    Reason.EMPTY: "zero bytes",
    Reason.NOT_MEDIA: "HTML",
    Reason.NO_VIDEO: "wav",
    Reason.NO_AUDIO: "no sound",
    Reason.TOO_SHORT: "0.1 s",
    Reason.TOO_LARGE: "too thin for a JPEG",
    Reason.TRUNCATED: "mp4, index first, cut",
    Reason.DECODE_ERROR: "noise instead of pictures",
    Reason.IO_ERROR: "a link to itself",
}
"""A clip of `test_bad_clips.BAD` for each reason that a file can give by itself."""
HOSTILE_NAMES = {Reason.CRASHED: "abort", Reason.OOM: "eat", Reason.TIMEOUT: "hang"}


def run(cache: Path, *inputs: Path, id_from: str = "stem") -> ExtractSummary:
    names = tuple(map(str, inputs))
    settings = settings_for(names, cache, jobs=1, backend="sequential", id_from=id_from)  # type: ignore[arg-type]
    done = extract(settings)
    assert isinstance(done, ExtractSummary)
    return done


def failures(cache: Path) -> dict[str, Failure]:
    return {failure.id: failure for failure in Cache(cache).failures()}


@pytest.mark.parametrize("reason", Reason)
def test_no_detail_is_empty_whoever_raises_it(reason: Reason) -> None:
    for detail in ("", " \n"):
        error = pickle.loads(pickle.dumps(ClipError(reason, detail)))
        assert error.detail and str(error) == f"{reason}: {error.detail}"
    assert ClipError(reason, "a\n b").detail == "a b"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[Reason, Sequence[str]]:
    """Let clips fail for every reason there is: details by reason."""
    folder = tmp_path_factory.mktemp("reasons")
    table = ["path,id"]
    for reason, name in MADE.items():
        (folder / reason).mkdir()
        path = BAD[name][0](folder / reason)
        table.append(f"{path.relative_to(folder)},{reason}")
    write_clip(folder / "good.mp4", seconds=1.0)
    table += ["good.mp4,good", "good.mp4,empty", "good.mp4,.."]
    (folder / "clips.csv").write_text("\n".join(table))
    run(folder / "cache", folder / "clips.csv")
    details: dict[Reason, list[str]] = {}
    for failure in Cache(folder / "cache").failures():
        details.setdefault(Reason(failure.reason), []).append(failure.detail)
    with DecoderChild(FeatureParams(), timeout_s=5.0, memory_bytes=1 << 29, command=HOSTILE) as one:
        for reason, name in HOSTILE_NAMES.items():
            with pytest.raises(ClipError) as caught:
                one.row({"path": f"/nowhere/{name}"})
            details.setdefault(caught.value.reason, []).append(caught.value.detail)
            assert caught.value.reason == reason
    for told in (detail for some in details.values() for detail in some):
        assert str(folder) not in told  # a cache does not depend on where it was made
    return details


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_raised_with_a_detail_of_one_line(
    reason: Reason, found: dict[Reason, Sequence[str]]
) -> None:
    assert found[reason]
    for detail in found[reason]:
        assert detail.strip() == detail != "" and "\n" not in detail


def test_details_name_the_file_that_is_meant(found: dict[Reason, Sequence[str]]) -> None:
    assert "missing/link.mp4 is a link to a file that is missing" in found[Reason.MISSING]
    assert found[Reason.DUPLICATE_ID] == ["empty/a.mp4 has this id"]
    assert found[Reason.BAD_ID] == ["the id is .."]


def test_a_picture_without_its_sound_and_a_sound_without_its_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("frames", "audio"):
        (tmp_path / "flickr" / name).mkdir(parents=True)
    for name in ("a", "x"):
        Image.fromarray(picture(1, (64, 48))).save(tmp_path / f"flickr/frames/{name}.jpg")
    for name in ("a", "y"):
        write_wav(tmp_path / f"flickr/audio/{name}.wav", sound(3.0, 22050)[None], 22050)
    named = settings_for((str(tmp_path / "flickr"),), tmp_path / "cache", jobs=1, dry_run=True)
    assert extract(named).as_json()["new"] == 2
    told = f"{tmp_path}/flickr: a sound has no picture in frames: audio/y.wav"
    assert told in capsys.readouterr().err
    done = run(tmp_path / "cache", tmp_path / "flickr")
    assert (done.done, done.failed_by_reason) == (1, {"missing": 1})
    assert done.ignored == {".wav": 1}
    assert done.notices == [told]
    assert failures(tmp_path / "cache")["x"].detail == (
        "there is no audio/x.wav; frames/x.jpg is there"
    )
    (tmp_path / "flickr/frames/a.jpg").unlink()
    (tmp_path / "pairs.csv").write_text(
        "path,audio_path\nflickr/frames/a.jpg,flickr/audio/a.wav\nflickr/n.jpg,flickr/n.wav\n"
    )
    run(tmp_path / "pairs", tmp_path / "pairs.csv")
    assert {name: one.detail for name, one in failures(tmp_path / "pairs").items()} == {
        "a": "there is no flickr/frames/a.jpg; flickr/audio/a.wav is there",
        "n": "there is no flickr/n.jpg and no flickr/n.wav",
    }


@pytest.mark.parametrize(
    ("content", "reason", "detail"),
    [
        (b"", "empty", "x.wav: a file of 0 bytes"),
        (b"hello", "not_media", "x.wav: not a media format that is read here"),
    ],
)
def test_a_sound_that_cannot_be_used_is_named(
    tmp_path: Path, content: bytes, reason: str, detail: str
) -> None:
    for name in ("frames", "audio"):
        (tmp_path / "flickr" / name).mkdir(parents=True)
    Image.fromarray(picture(1, (64, 48))).save(tmp_path / "flickr/frames/x.jpg")
    (tmp_path / "flickr/audio/x.wav").write_bytes(content)
    run(tmp_path / "cache", tmp_path / "flickr")
    failure = failures(tmp_path / "cache")["x"]
    assert (failure.reason, failure.detail) == (reason, detail)


def test_ids_of_lists_that_are_not_found(tmp_path: Path) -> None:
    write_clip(tmp_path / "dog.mp4", seconds=1.0)
    (tmp_path / "list.txt").write_text("dog\ncat\nsub/bird.mp4\nlost.mov\n")
    (tmp_path / "vggsound.csv").write_text("---g-f_I2yQ,1,people marching,test\n")
    run(tmp_path / "cache", tmp_path / "list.txt", tmp_path / "vggsound.csv")
    assert {name: one.detail for name, one in failures(tmp_path / "cache").items()} == {
        "cat": "no video or picture is named cat",
        "lost": "no video or picture is named lost",
        "bird": "there is no sub/bird.mp4",
        "---g-f_I2yQ_000001": "no video is named ---g-f_I2yQ_000001, ---g-f_I2yQ_1000_11000, "
        "---g-f_I2yQ_1_11, ---g-f_I2yQ_1 or ---g-f_I2yQ",
    }
    told = failures_text(list_failures(tmp_path / "cache"))
    assert "no video or picture is named cat" in told and " -  " not in told


def test_a_duplicate_names_the_file_that_has_the_id(tmp_path: Path) -> None:
    """In the same folder, in another that was planned before, and once its holder was retried."""
    first = write_clip(tmp_path / "x.mp4", seconds=1.0)
    for name in ("one/deep/x.mp4", "one/x.mp4", "two/x.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(first.read_bytes())
    cache = tmp_path / "cache"
    run(cache, tmp_path / "one")
    run(cache, tmp_path / "two")
    assert [failure.detail for failure in Cache(cache).failures("duplicate_id")] == [
        "deep/x.mp4 has this id",
        "deep/x.mp4 of root 0 has this id",
    ]
    lost = tmp_path / "lost.csv"
    lost.write_text("path\none/gone.mp4\n")
    run(cache, lost)
    (tmp_path / "two/gone.mp4").write_bytes(first.read_bytes())
    run(cache, tmp_path / "two")  # takes its own place
    (tmp_path / "two/sub").mkdir()
    (tmp_path / "two/sub/gone.mp4").write_bytes(first.read_bytes())
    run(cache, tmp_path / "two")
    assert Cache(cache).failures("duplicate_id")[-1].detail == "gone.mp4 has this id"


@pytest.mark.parametrize(
    ("clip_id", "detail"),
    [
        ("", "the id is empty"),
        ("..", "the id is .."),
        ("a/b", "the id holds a /"),
        ("a\0b", "the id holds a NUL"),
    ],
)
@pytest.mark.parametrize("path", ["good.mp4", ""])
def test_a_bad_id_says_what_is_wrong_with_it(
    tmp_path: Path, clip_id: str, detail: str, path: str
) -> None:
    write_clip(tmp_path / "good.mp4", seconds=1.0)
    (tmp_path / "list.csv").write_text(f'path,id,label\n{path},"{clip_id}",dog\n')
    run(tmp_path / "cache", tmp_path / "list.csv")
    (failure,) = Cache(tmp_path / "cache").failures()
    assert (failure.reason, failure.detail) == ("bad_id", detail)
