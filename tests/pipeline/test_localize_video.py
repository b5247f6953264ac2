"""Films from the command's side: the heat follows the sound, files are whole or absent."""

from __future__ import annotations

import io
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from avpipe.cache.store import Cache
from avpipe.errors import CacheUnwritableError, ClipError, ClipsFailedError, InputError, UsageError
from avpipe.pipeline.commands.localize import localize
from avpipe.pipeline.localize.film import write_video
from avpipe.pipeline.main import main
from avpipe.stages.features import FeatureParams
from avpipe.stages.film.run import RenderChild
from avpipe.stages.media import decode_clip
from avpipe.stages.workers.decoder import DecoderChild
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from avpipe.train.show.drawing import heat_over, heat_table, legend
from cache_factory import make_cache
from called import document_of
from evaluation_factory import TINY
from media_factory import write_clip
from PIL import Image
from pitch import PITCH, low_then_high
from processes import close_decoders


@pytest.fixture(scope="module")
def child() -> Iterator[RenderChild]:
    with RenderChild() as renderer:
        yield renderer


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    train(
        make_cache(folder / "cache", 16), load_recipe("compact", TINY), folder / "run", device="cpu"
    )
    return folder / "run"


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", str(tmp_path / "no-weights"))


def drawn(run: Path, out: Path, *inputs: Path, **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"cache": out, "device": "cpu", **more}
    return document_of(localize, inputs=list(inputs), run=run, out=out, **given)


def redness(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the times of a film's pictures, and how warm left and right are, (n, 2)."""
    with av.open(str(path)) as container:
        frames = [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    lower = [picture[85:110].astype(float) for _, picture in frames]
    warm = [(rows[:, 10:40].mean(), rows[:, -40:-10].mean()) for rows in lower]
    return np.array([time_s for time_s, _ in frames]), np.array(warm)


def test_the_heat_moves_with_the_sound(child: RenderChild, tmp_path: Path) -> None:
    source, path = low_then_high(tmp_path / "a.mp4"), tmp_path / "out" / "a.mp4"
    assert write_video(PITCH, child, "a", {"path": str(source)}, path, every_s=0.25) == ""
    times_s, warm = redness(path)
    lean = (warm[:, 0] - warm[0, 0]) - (warm[:, 1] - warm[0, 1])
    share = lean / lean.min()  # 0 where the low note is heard alone, 1 where the high one is
    heard = np.clip((times_s + 1.5 - 4) / 3, 0, 1)
    assert np.abs(share - heard).max() < 0.2
    assert np.abs(np.diff(share)).max() < 0.12  # no flicker: 3 s from one to the other
    assert decode_clip(str(path)).duration_s == pytest.approx(8.0, abs=0.001)
    assert [p.name for p in path.parent.glob("[!.]*")] == ["a.mp4"]


def test_colours_are_those_of_the_pictures() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (4, 256, 3), dtype=np.uint8)
    heat = np.broadcast_to(np.arange(256) / 255, (4, 256))
    leaves, glow = heat_table()
    expected = heat_over(frame, heat, (0, 1)) * 255
    assert frame * leaves[:, None] + glow == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("height", "width"), [(480, 854), (256, 256), (60, 40), (16, 16), (2, 2)])
def test_the_legend_fits(height: int, width: int) -> None:
    drawn = legend((-0.12, 0.5), height, width)
    assert drawn.shape[1] <= max(width, 20)
    bright = np.ptp(drawn[..., :3].reshape(-1, 3).astype(int), axis=0)
    assert bright.max() > 200


def test_the_legend_says_what_its_values_are_where_there_is_room() -> None:
    narrow, wide = (legend((-0.12, 0.5), 128, width) for width in (140, 256))
    assert narrow.shape[0] == wide.shape[0]
    assert narrow.shape[1] + 20 < wide.shape[1] <= 256 * 2 / 3


def test_films_of_files(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    write_clip(tmp_path / "in" / "a.mkv", seconds=1.0, fps=8)
    (tmp_path / "in" / "b.mp4").write_bytes(b"no video")
    out = tmp_path / "films"
    found = drawn(run, out, tmp_path / "in", video=True, every=0.4)
    assert found["videos"] == [str(out / "a.mp4")]
    assert found["failed"] == {"b": "not_media not a media format that is read here"}
    assert found["pictures"] == found["notices"] == []
    found = drawn(run, out, tmp_path / "in", video=True, every=0.4, strip=True)
    assert found["pictures"] == [str(out / "a.strip.png")]
    words = ["localize", str(tmp_path / "in" / "b.mp4"), "--video", "--run", str(run)]
    assert main(words) == 3
    told = f"none of 1 clips could be localized ({tmp_path}/in/b.mp4: not_media"
    assert told in capsys.readouterr().err
    with pytest.raises(UsageError, match="is no folder: name one with --out"):
        drawn(run, out / "a.mp4", tmp_path / "in", video=True)


def test_a_file_that_ends_early_is_said(child: RenderChild, tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "a.mkv", seconds=6.0, fps=10).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: round(len(whole) * 0.75)])
    line = {"path": str(tmp_path / "cut.mkv")}
    told = write_video(PITCH, child, "cut", line, tmp_path / "film.mp4", every_s=1.0)
    assert re.fullmatch(r"cut: cut, it ends at [45]\.\d of 6\.0 s", told)


def test_a_film_is_whole_or_absent(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", seconds=4.0, size=(640, 480))
    out = tmp_path / "out"
    with RenderChild() as child:
        steps = child.draw

        def killed(*arguments: Any) -> Iterator[Any]:
            for drawn in steps(*arguments):
                assert child.pid is not None
                assert len(list(out.iterdir())) == 2  # the mark of the folder, and the draft
                os.kill(child.pid, signal.SIGKILL)
                yield drawn

        child.draw = killed  # type: ignore[method-assign]
        with pytest.raises(ClipError, match="crashed"):
            write_video(PITCH, child, "a", {"path": str(source)}, out / "a.mp4", every_s=2.0)
    assert list(out.glob("[!.]*")) == []
    (tmp_path / "file").touch()
    with (
        RenderChild() as child,
        pytest.raises(CacheUnwritableError, match=r"a\.mp4: .*; make its folder"),
    ):
        line = {"path": str(source)}
        write_video(PITCH, child, "a", line, tmp_path / "file" / "a.mp4", every_s=2.0)


def save(path: Path, mode: str = "RGB", **options: Any) -> Path:
    values = np.random.default_rng(0).integers(0, 256, (40, 60, 4), dtype=np.uint8)
    Image.fromarray(values).convert("RGB").convert(mode).save(path, **options)
    return path


def test_a_picture_with_a_sound(run: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", seconds=1.0, fps=8)
    picture = save(tmp_path / "a picture.png")
    out = tmp_path / "out"
    assert drawn(run, out, picture, sound=clip)["pictures"] == [str(out / "a picture.png")]
    found = drawn(run, out, picture, sound=clip, video=True)
    film = decode_clip(found["videos"][0])
    assert film.duration_s == pytest.approx(1.0, abs=0.03)
    other = write_clip(tmp_path / "other.mp4", seconds=2.0, fps=8, audio=None)
    assert drawn(run, out, other, sound=clip)["pictures"] == [str(out / "other.png")]


def test_a_picture_needs_one_good_sound(run: Path, tmp_path: Path) -> None:
    picture, out = save(tmp_path / "a.png"), tmp_path / "out"
    with pytest.raises(UsageError, match="is a picture: name its sound, --sound FILE"):
        drawn(run, out, picture)
    with pytest.raises(InputError, match=r"gone\.wav: no file"):
        drawn(run, out, picture, sound=tmp_path / "gone.wav")
    with pytest.raises(UsageError, match="one picture or video, 2 are named"):
        drawn(run, out, picture, save(tmp_path / "b.png"), sound=picture)
    with pytest.raises(ClipsFailedError, match=r"not_media .*with the sound of .*a\.png"):
        drawn(run, out, picture, sound=picture)
    picture.write_bytes(picture.read_bytes()[:2000])
    with pytest.raises(ClipsFailedError, match=r"a\.png: decode_error"):
        drawn(run, out, picture, sound=picture)


def jpeg(decoder: DecoderChild, path: Path) -> tuple[tuple[int, int], float]:
    """Return the size of what the decoder makes of a picture, and its mean."""
    with Image.open(io.BytesIO(decoder.picture(str(path)))) as picture:
        return picture.size, float(np.asarray(picture).mean())


def test_kinds_of_pictures(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = np.full((8, 8), 0x8000, np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("L", (9000, 9000)).save(tmp_path / "large.png")
    Image.new("RGB", (4000, 1200)).save(tmp_path / "fine.png")
    with DecoderChild(FeatureParams()) as decoder:
        for name in ("a.bmp", "a.gif", "a.tif", "a.ppm"):
            assert jpeg(decoder, save(tmp_path / name))[0] == (60, 40)
        for name in ("a.png", "a.jpg", "a.webp"):
            assert jpeg(decoder, save(tmp_path / name, exif=turned))[0] == (40, 60)
        for name, grey in (("deep", 128), ("clear", 255)):
            assert jpeg(decoder, tmp_path / f"{name}.png")[1] == pytest.approx(grey, abs=1)
        assert jpeg(decoder, tmp_path / "fine.png")[0] == (3600, 1080)
        with pytest.raises(ClipError, match="too_large: 9000 x 9000"):
            decoder.picture(str(tmp_path / "large.png"))


def test_films_of_cached_clips(run: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    write_clip(videos / "a.mp4", seconds=1.0, fps=8)
    assert main(["extract", str(videos), "--cache", str(tmp_path / "c"), "--jobs", "1"]) == 0
    close_decoders()
    (tmp_path / "ids.txt").write_text("a\n")
    more = {"ids": tmp_path / "ids.txt", "cache": tmp_path / "c", "video": True}
    found = drawn(run, tmp_path / "out", **more)
    assert found["videos"] == [str(tmp_path / "out" / "a.mp4")]
    assert Cache(tmp_path / "c").ids == ["a"]
    (tmp_path / "ids.txt").write_text("a\nb\n")
    with pytest.raises(InputError, match="has no finished clip 'b'"):
        drawn(run, tmp_path / "out", **more)
