"""Films: pictures and sound stay where they were, and nothing a clip does hurts the parent."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from avpipe.errors import ClipError
from avpipe.stages.film.heat import Heat, Painter, tile_weights
from avpipe.stages.film.run import Moment, RenderChild
from avpipe.stages.film.source import drawn_rate_hz
from avpipe.stages.media import decode_clip
from media_factory import AAC, CORNERS, H264, corners, read_number, run_ffmpeg, write_clip
from media_factory import sound as noise
from media_factory import sound_time_s as begins_s

FAST = ("-c:v", "mpeg4", "-q:v", "3")
CLEAR = Heat(
    np.zeros(1, np.float32), np.zeros((1, 4, 4), np.float16), (0.0, 1.0), np.ones(256, np.float32),
    np.zeros((256, 3), np.float32), np.zeros((1, 1, 4), np.uint8),
)  # fmt: skip
"""Changes nothing: the film's pictures can still be told apart."""


@pytest.fixture(scope="module")
def child() -> Iterator[RenderChild]:
    with RenderChild() as renderer:
        yield renderer


def film(child: RenderChild, out: Path, heat: Heat = CLEAR, **line: object) -> Path:
    for _ in child.draw(line, heat, str(out)):
        pass
    return out


def pictures(path: Path) -> tuple[list[int], list[float]]:
    """Return the numbers and the times of a film's pictures."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [read_number(f.to_ndarray(format="rgb24")) for f in frames], [
        f.time or 0.0 for f in frames
    ]


def remux(source: Path, *options: str, to: str = "b.mp4", first: tuple[str, ...] = ()) -> Path:
    path = source.with_name(to)
    run_ffmpeg(*first, "-i", source, "-c", "copy", *options, path)
    return path


CLIPS: dict[str, tuple[float, Callable[[Path], Path]]] = {
    "mp4": (25, lambda at: write_clip(at / "a.mp4", seconds=2.0)),
    "29.97 a second, mono, 22.05 kHz": (
        30000 / 1001,
        lambda at: write_clip(
            at / "a.mp4", seconds=2.0, fps=30, rate_hz=22050, gains=(1,),
            video=("-r", "30000/1001", *H264), video_input=("-r", "30000/1001"),
        ),
    ),
    "transport stream": (25, lambda at: write_clip(at / "a.ts", seconds=2.0)),
    "sound comes first": (
        25, lambda at: write_clip(at / "a.mp4", seconds=2.0, video_input=("-itsoffset", "0.72")),
    ),
    "pictures come first, 5.1": (
        25,
        lambda at: write_clip(
            at / "a.mkv", seconds=2.0, gains=(1, 0.5, 0.2, 0, 0.5, 0.2),
            audio_input=("-itsoffset", "0.7"),
        ),
    ),
    "an edit list": (
        25, lambda at: remux(write_clip(at / "a.mp4", seconds=3.0), first=("-ss", "1.32")),
    ),
    "no time stamps": (
        25, lambda at: write_clip(at / "a.avi", seconds=2.0, audio=("-c:a", "pcm_s16le")),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CLIPS)
def test_pictures_and_sound_stay_together(name: str, child: RenderChild, tmp_path: Path) -> None:
    fps, make = CLIPS[name]
    source = make(tmp_path)
    made = film(child, tmp_path / "film", path=str(source))
    after = decode_clip(str(made))
    numbers, times_s = pictures(made)
    once = [numbers.index(number) for number in sorted(set(numbers))]  # the last one may stay
    lag_s = np.array(times_s)[once] - np.array(numbers)[once] / fps
    assert np.ptp(lag_s) < 0.002
    heard_s = after.audio_start_s - begins_s(after.waveform, after.rate_hz, 4.0)
    picture_s, sound_s, length_s = 0.0, 0.0, 2.0
    if name != "no time stamps":  # there every picture and sound is where it is counted to be
        before = decode_clip(str(source))
        picture_s = before.frame_pts_s - read_number(before.frame) / fps
        sound_s = before.audio_start_s - begins_s(before.waveform, before.rate_hz, 4.0)
        length_s = before.duration_s
    assert heard_s == pytest.approx(sound_s, abs=0.001)
    assert lag_s.mean() == pytest.approx(picture_s, abs=0.002)
    assert after.duration_s == pytest.approx(length_s, abs=1 / fps)


def test_the_film_plays_everywhere_and_at_once(child: RenderChild, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mkv", seconds=1.0, size=(1000, 600), fps=60, video=FAST)
    made = film(child, tmp_path / "film", path=str(source))
    with av.open(str(made)) as container:
        video, audio = container.streams.video[0].codec_context, container.streams.audio[0]
        assert (video.name, video.pix_fmt, audio.codec.name) == ("h264", "yuv420p", "aac")
        assert (video.width, video.height, container.streams.video[0].frames) == (800, 480, 30)
        assert (video.colorspace, video.color_range) == (1, 1)  # BT.709, limited
    assert 0 < made.read_bytes().find(b"moov") < made.read_bytes().find(b"mdat")
    picture = decode_clip(str(made)).frame
    np.testing.assert_allclose(corners(picture), CORNERS, atol=14)


def test_rotation_and_pixels_that_are_not_square(child: RenderChild, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", seconds=1.0, video=("-vf", "setsar=2/1", *H264))
    source = remux(source, first=("-display_rotation:v:0", "90"))
    (moment, *_) = child.moments({"path": str(source)}, 0.5, 3.0)
    assert (moment.frame.shape, moment.drawn_hw) == ((683, 256, 3), (320, 120))
    made = film(child, tmp_path / "film", path=str(source))
    picture = decode_clip(str(made)).frame
    assert picture.shape == (683, 256, 3)
    np.testing.assert_allclose(corners(picture), np.rot90(CORNERS, 1), atol=14)


def test_moments_hear_what_is_around_them(child: RenderChild, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", seconds=6.0, fps=10, gains=(1,), video=FAST)
    moments = list(child.moments({"path": str(source)}, 1.0, 3.0))
    assert [m.time_s for m in moments] == pytest.approx([0, 1, 2, 3, 4, 5])
    assert [read_number(m.frame) for m in moments] == [0, 10, 20, 30, 40, 50]
    assert {len(m.waveform) for m in moments} == {3 * 44100}
    assert moments[0].num_moments == pytest.approx(6, abs=1)
    starts_s = [begin_s(m, 6.0) for m in moments]
    assert starts_s == pytest.approx([0, 0, 0.5, 1.5, 2.5, 3.0], abs=0.05)
    long = noise(6.0, 44100)[22050 : 22050 + 132300]
    np.testing.assert_allclose(moments[2].waveform, long, atol=0.1)


def begin_s(moment: Moment, seconds: float) -> float:
    return begins_s(moment.waveform, moment.rate_hz, seconds)


def test_where_sound_ends_early_nothing_is_heard(child: RenderChild, tmp_path: Path) -> None:
    source = write_clip(
        tmp_path / "a.mkv", seconds=9.0, audio_seconds=4.0, fps=5, gains=(1,), video=FAST,
        audio=("-c:a", "pcm_s16le"),
    )  # fmt: skip
    moments = list(child.moments({"path": str(source)}, 1.0, 3.0))
    heard_s = [np.count_nonzero(m.waveform) / 44100 for m in moments]
    assert {len(m.waveform) for m in moments} == {132300}
    assert heard_s == pytest.approx([3, 3, 3, 3, 3, 2, 1, 0, 0], abs=0.02)
    made = film(child, tmp_path / "film", path=str(source))
    assert decode_clip(str(made)).duration_s == pytest.approx(9.0)


def test_short_sound_is_given_whole(child: RenderChild, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mkv", seconds=0.8, fps=10, video=FAST)
    (first, second) = child.moments({"path": str(source)}, 0.5, 3.0)
    assert len(first.waveform) == len(second.waveform) == pytest.approx(0.8 * 44100, abs=2048)


def test_a_part_of_a_longer_video(child: RenderChild, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", seconds=8.0, video=(*H264, "-g", "1000"), gains=(1,))
    line = {"path": str(source), "start_s": 3.3, "seconds": 2.0}
    moments = list(child.moments(line, 0.5, 1.0))
    assert [round(m.time_s, 2) for m in moments] == [3.3, 3.8, 4.32, 4.8]
    assert [read_number(m.frame) for m in moments] == [82, 95, 108, 120]
    assert [begin_s(m, 8.0) for m in moments] == pytest.approx([3.3, 3.3, 3.82, 4.3], abs=0.01)
    made = film(child, tmp_path / "film", **line)
    numbers, times_s = pictures(made)
    assert numbers == list(range(82, 133))
    assert times_s[:3] == pytest.approx([0, 0.02, 0.06], abs=0.001)
    clip = decode_clip(str(made))
    assert clip.duration_s == pytest.approx(2.0, abs=0.001)
    assert begins_s(clip.waveform, 44100, 8.0) == pytest.approx(3.3, abs=0.001)


def test_a_part_of_a_video_of_a_picture_every_ten_seconds(
    child: RenderChild, tmp_path: Path
) -> None:
    """A second is less than a tick of its clock: looking back for a key frame comes to an end."""
    video, audio = ("-c:v", "mpeg4", "-q:v", "3"), ("-c:a", "pcm_s16le")
    path = write_clip(
        tmp_path / "a.avi", seconds=60.0, fps=0.1, rate_hz=8000, video=video, audio=audio
    )
    line = {"path": str(path), "start_s": 31.0, "seconds": 4.0}
    moments = list(child.moments(line, 1.0, 3.0))
    assert moments[0].time_s == 31.0
    assert begins_s(moments[0].waveform, 8000, 60.0) == pytest.approx(31.0, abs=0.002)


def test_a_picture_stands_as_long_as_its_sound(child: RenderChild, tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", seconds=0.2)
    run_ffmpeg("-i", tmp_path / "a.mp4", "-frames:v", "1", tmp_path / "a.jpg")
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=2.5", tmp_path / "a.wav")
    line = {"path": str(tmp_path / "a.jpg"), "audio_path": str(tmp_path / "a.wav")}
    assert [m.time_s for m in child.moments(line, 0.5, 3.0)] == pytest.approx([0, 0.5, 1, 1.5, 2])
    numbers, times_s = pictures(film(child, tmp_path / "film", **line))
    assert set(numbers) == {0}
    assert times_s == pytest.approx(np.arange(25) / 10)
    assert decode_clip(str(tmp_path / "film")).duration_s == pytest.approx(2.5, abs=0.001)


def test_more_maps_than_a_message_holds(child: RenderChild, tmp_path: Path) -> None:
    """131,072 maps of 32 x 32 are 2^28 bytes; they go to the child as the film goes on."""
    source = write_clip(tmp_path / "a.mkv", seconds=1.0, fps=10, video=FAST)
    number = 140_000
    times_s = np.linspace(0, 1, number, dtype=np.float32)
    dark = replace(CLEAR, dimming=np.linspace(1, 0, 256, dtype=np.float32))
    ramp = (times_s >= 0.45).astype(np.float16)[:, None, None]
    many = replace(dark, times_s=times_s, maps=np.broadcast_to(ramp, (number, 32, 32)))
    few = replace(
        dark, times_s=np.array([0.44, 0.46], np.float32),
        maps=np.array([0, 1], np.float16)[:, None, None] * np.ones((2, 32, 32), np.float16),
    )  # fmt: skip
    made = [film(child, tmp_path / name, heat, path=str(source))
            for name, heat in (("many", many), ("few", few))]  # fmt: skip
    assert made[0].read_bytes() == made[1].read_bytes()
    with av.open(str(made[0])) as container:
        levels = [f.to_ndarray(format="gray").mean() for f in container.decode(video=0)]
    assert min(levels[:5]) > 50 and max(levels[5:]) < 5


@pytest.mark.parametrize("sent", [2, 3, 100])
def test_maps_of_any_number_at_a_time_make_the_same_film(
    child: RenderChild, tmp_path: Path, sent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_clip(tmp_path / "a.mkv", seconds=1.5, fps=10, video=FAST)
    rng = np.random.default_rng(0)
    heat = replace(
        CLEAR, times_s=np.array([0, 0.25, 0.3, 0.32, 0.9, 1.1], np.float32),
        maps=rng.random((6, 4, 4)).astype(np.float16),
        dimming=np.linspace(1, 0, 256, dtype=np.float32),
    )  # fmt: skip
    whole = film(child, tmp_path / "whole", heat, path=str(source)).read_bytes()
    monkeypatch.setattr("avpipe.stages.film.run.MAPS_SENT", sent)
    assert film(child, tmp_path / "parts", heat, path=str(source)).read_bytes() == whole


def test_the_map_moves_linearly_between_its_moments() -> None:
    maps = np.zeros((2, 4, 4), np.float16)
    maps[0, :, :2] = maps[1, :, 2:] = 1
    ramp = np.arange(256, dtype=np.float32)
    heat = Heat(
        np.array([1, 3], np.float32), maps, (0.0, 1.0), np.zeros(256, np.float32),
        np.stack([ramp] * 3, axis=1), np.full((2, 3, 4), 255, np.uint8),
    )  # fmt: skip
    painter, grey = Painter(heat, 40, 40), np.full((40, 40, 3), 90, np.uint8)
    for time_s, left in ((0, 255), (1, 255), (1.5, 191), (2, 128), (3, 0), (9, 0)):
        painted = painter.paint(grey, time_s)
        assert painted[5, 2].tolist() == pytest.approx([left] * 3, abs=1)
        assert painted[5, 37].tolist() == pytest.approx([255 - left] * 3, abs=1)
        assert (painted[38:, :3] == 255).all()


@pytest.mark.parametrize(("cells", "pixels"), [(7, 30), (4, 4), (32, 21), (1, 5)])
def test_tiles_are_spread_evenly(cells: int, pixels: int) -> None:
    values = np.random.default_rng(0).random(cells)
    expected = []
    for pixel in range(pixels):
        place = min(max((pixel + 0.5) / pixels * cells - 0.5, 0), cells - 1)
        left = min(int(place), cells - 2) if cells > 1 else 0
        right = min(left + 1, cells - 1)
        expected.append(values[left] + (place - left) * (values[right] - values[left]))
    assert tile_weights(cells, pixels) @ values == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("rate_hz", [5, 24, 25, 30, 50, 59.94, 60, 120])
def test_rates_over_thirty_are_divided(rate_hz: float) -> None:
    class Stream:
        average_rate = guessed_rate = rate_hz

    found = float(drawn_rate_hz(Stream()))  # type: ignore[arg-type]
    assert found <= 30.01
    assert (rate_hz / found) % 1 == pytest.approx(0)
    assert found > 15 or found == rate_hz


def test_reasons_are_those_of_extract(child: RenderChild, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "empty.mp4").touch()
    write_clip(tmp_path / "mute.mp4", seconds=1.0, audio=None)
    write_clip(tmp_path / "short.mp4", seconds=0.12)
    whole = write_clip(tmp_path / "whole.mp4", seconds=2.0).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    reasons = {
        "gone": "missing", "text": "not_media", "empty": "empty", "mute": "no_audio",
        "short": "too_short", "cut": "truncated",
    }  # fmt: skip
    for name, reason in reasons.items():
        line = {"path": str(tmp_path / f"{name}.mp4")}
        with pytest.raises(ClipError) as caught:
            list(child.moments(line, 0.5, 3.0))
        assert caught.value.reason == reason, name
    with pytest.raises(ClipError, match="duplicate_id"):
        list(child.moments({"path": "x", "reject": "duplicate_id"}, 0.5, 3.0))


def test_damaged_pictures_and_sound_do_not_end_a_film(child: RenderChild, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.ts", seconds=3.0)
    damaged = bytearray(source.read_bytes())
    for place in np.random.default_rng(2).integers(20_000, len(damaged), 60):
        damaged[place] ^= 0xFF
    source.write_bytes(damaged)
    made = film(child, tmp_path / "film", path=str(source))
    assert decode_clip(str(made)).duration_s == pytest.approx(3.0, abs=0.2)


def test_a_disk_that_is_full_is_no_fault_of_the_clip(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", seconds=2.0)
    limit = (
        "import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        "runpy.run_module('avpipe.stages.film.steps', run_name='__main__')"
    )
    with RenderChild(command=(sys.executable, "-c", limit)) as child:
        with pytest.raises(OSError, match="File too large"):
            film(child, tmp_path / "film", path=str(source))
        assert len(list(child.moments({"path": str(source)}, 1.0, 3.0))) == 2


def test_a_child_killed_between_two_steps_costs_one_clip(
    child: RenderChild, tmp_path: Path
) -> None:
    source = write_clip(tmp_path / "a.mp4", seconds=2.0, video=FAST, audio=AAC)
    moments = child.moments({"path": str(source)}, 0.5, 3.0)
    next(moments)
    child.close()
    with pytest.raises(ClipError, match="crashed: the process was killed between two steps"):
        next(moments)
    assert len(list(child.moments({"path": str(source)}, 1.0, 3.0))) == 2
