"""Which time is meant: slow videos, lengths, sound of the frame's own time, seeks gone astray."""

from __future__ import annotations

import struct
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avpipe.errors import ClipError
from avpipe.stages.features import make_row
from avpipe.stages.media import DECODERS, decode_clip
from media_factory import (
    AAC,
    H264,
    corners,
    read_number,
    run_ffmpeg,
    sound,
    sound_time_s,
    write_clip,
)

REPRO = Path(__file__).parents[4] / "shared" / "repro"
MPEG4 = ("-c:v", "mpeg4", "-q:v", "3")
PCM = ("-c:a", "pcm_s16le")
MP3 = ("-c:a", "libmp3lame")
VORBIS = ("-c:a", "libvorbis")
# One thread: those of libvpx spin while they wait for each other
REALTIME = ("-deadline", "realtime", "-cpu-used", "8", "-b:v", "1M", "-threads", "1")
VP8 = ("-c:v", "libvpx", *REALTIME)
CONTAINERS: dict[str, dict[str, Any]] = {
    "mp4": {},
    "mov": {"audio": PCM},
    "3gp": {},
    "mkv": {},
    "webm": {"video": VP8, "audio": VORBIS},
    "flv": {},
    "ts": {},
    "avi": {"video": MPEG4, "audio": PCM},
    "mpg": {"video": ("-c:v", "mpeg2video", "-q:v", "3"), "audio": ("-c:a", "mp2")},
    "ogv": {"video": ("-c:v", "libtheora", "-q:v", "8"), "audio": VORBIS},
}


def repro(name: str) -> str:
    """Return a file that others handed in, or skip the test."""
    found = sorted(REPRO.glob(name))
    if not found:
        pytest.skip(f"no ../shared/repro/{name} beside the checkout")
    return str(found[0])


SLOW: dict[str, tuple[float, dict[str, Any]]] = {
    "a.mp4": (0.2, {}),
    "a.mkv": (0.2, {}),
    "a.ts": (0.2, {}),
    "b.ts": (0.5, {}),
    "a.webm": (0.2, {"video": VP8, "audio": VORBIS}),
    "a.avi": (0.4, {"video": MPEG4, "audio": PCM}),
    "b.avi": (0.1, {"video": MPEG4, "audio": MP3}),
    "c.avi": (0.2, {"audio": MP3}),
}


@pytest.mark.parametrize("name", SLOW)
def test_a_picture_every_few_seconds(name: str, tmp_path: Path) -> None:
    """A second is less than a tick of such a stream's clock, and its pictures are far apart."""
    fps, options = SLOW[name]
    path = str(
        write_clip(tmp_path / name, seconds=60.0, fps=fps, rate_hz=8000, gains=(1,), **options)
    )
    for decoder in DECODERS:
        clips = [
            decode_clip(path, decoder=decoder, seconds=10),
            decode_clip(path, decoder=decoder, start_s=30.0, span_s=8.0, seconds=3),
            decode_clip(path, decoder=decoder, start_s=0.0, span_s=8.0, seconds=10),
        ]
        stray_s = []
        for clip, length_s in zip(clips, (10, 3, 8), strict=True):
            assert clip.frame_pts_s <= clip.time_s < clip.frame_pts_s + 1 / fps + 0.01
            assert len(clip.waveform) / clip.rate_hz == pytest.approx(length_s, abs=0.2)
            stray_s.append(clip.audio_start_s - sound_time_s(clip.waveform, clip.rate_hz, 60.0))
            # AVI knows no display times; of pictures in another order one is shown too early
            shown_s = read_number(clip.frame) / fps
            assert abs(clip.frame_pts_s - shown_s) <= (2 / fps if "avi" in name else 0.2)
        np.testing.assert_allclose(stray_s, stray_s[0], atol=0.01)


@pytest.mark.parametrize("decoder", DECODERS)
def test_seeks_that_land_late_are_not_believed(decoder: str) -> None:
    path = repro("10-*/h264-.5fps.ts")
    for seconds in (3.0, 10.0):
        clip = decode_clip(path, decoder=decoder, seconds=seconds)
        assert (clip.time_s, round(clip.frame_pts_s, 3)) == (30.0, 28.128)
        assert len(clip.waveform) == seconds * clip.rate_hz


@pytest.mark.parametrize("landing_s", [1.0, 6.0, 1e6])
def test_wherever_a_seek_lands(
    landing_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A format whose every seek ends at some other place costs time and nothing else."""
    from avpipe.stages.media import packets

    path = str(write_clip(tmp_path / "a.mkv", seconds=8.0, video=(*H264, "-g", "10")))
    expected = decode_clip(path, seconds=6.0)
    honest = packets.seek

    def astray(container: Any, stream: Any, ticks: int, guide: Any) -> None:
        honest(container, stream, round(landing_s / packets.time_base(stream)), stream)

    for module in ("pictures", "pyav_sound", "length"):
        monkeypatch.setattr(f"avpipe.stages.media.{module}.seek", astray)
    clip = decode_clip(path, seconds=6.0)
    assert clip.frame_pts_s == expected.frame_pts_s
    np.testing.assert_array_equal(clip.frame, expected.frame)
    assert clip.audio_start_s == expected.audio_start_s
    np.testing.assert_allclose(clip.waveform, expected.waveform, atol=1e-3)


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_sound_longer_than_the_pictures(suffix: str, tmp_path: Path) -> None:
    """The length is that of the pictures, whatever container they are in."""
    path = str(
        write_clip(tmp_path / f"a.{suffix}", seconds=2.0, audio_seconds=12.0, **CONTAINERS[suffix])
    )
    for decoder in DECODERS:
        clip = decode_clip(path, decoder=decoder, seconds=10)
        assert clip.duration_s == pytest.approx(2.0, abs=0.03)
        assert clip.time_s == clip.duration_s / 2
        assert abs(read_number(clip.frame) - 25) <= 2
        assert len(clip.waveform) / clip.rate_hz == pytest.approx(6.0, abs=0.05)


def test_sound_longer_than_the_pictures_as_handed_in() -> None:
    assert decode_clip(repro("12-*/a.mkv")).duration_s == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_pictures_longer_than_the_sound(suffix: str, tmp_path: Path) -> None:
    """Sound that ended before the frame's own 3 s is none, however much is wanted around it."""
    path = str(
        write_clip(tmp_path / f"a.{suffix}", seconds=6.0, audio_seconds=0.8, **CONTAINERS[suffix])
    )
    for decoder in DECODERS:
        for seconds in (3.0, 10.0):
            with pytest.raises(ClipError, match="no_audio"):
                decode_clip(path, decoder=decoder, seconds=seconds)
        assert len(decode_clip(path, decoder=decoder, start_s=0, span_s=3.0).waveform)


def test_sound_on_both_sides_of_a_silent_frame_is_no_sound(tmp_path: Path) -> None:
    """A gap is not sound; the rule does not depend on how much is wanted."""
    head = write_clip(tmp_path / "head.ts", seconds=12.0, audio_seconds=2.0)
    tail = write_clip(tmp_path / "tail.wav", seconds=2.0, video=None, audio=PCM)
    path = tmp_path / "a.mkv"
    run_ffmpeg("-i", head, "-itsoffset", "9", "-i", tail, "-filter_complex",
               "[0:a]aresample=44100[a];[1:a]asetpts=PTS[b];[a][b]amix=2[m]", "-map", "0:v", "-map",
               "[m]", "-c:v", "copy", "-c:a", "pcm_s16le", tmp_path / "mixed.mkv")  # fmt: skip
    run_ffmpeg("-i", tmp_path / "mixed.mkv", "-c:v", "copy", "-c:a", "pcm_s16le",
               "-af", "aselect='lt(t,2)+gt(t,9)'", path)  # fmt: skip
    assert decode_clip(str(path), start_s=0.0, span_s=3.0)
    for seconds in (3.0, 10.0):
        with pytest.raises(ClipError, match="no_audio"):
            decode_clip(str(path), seconds=seconds)


def test_sound_of_another_time_as_handed_in() -> None:
    path = repro("16-*/*.mp4")
    for seconds in (3.0, 10.0):
        with pytest.raises(ClipError, match="no_audio"):
            decode_clip(path, seconds=seconds)
    with pytest.raises(ClipError, match="no_audio"):
        make_row(path)


@pytest.mark.parametrize("num_samples", [1, 50, 700, 1400])
def test_too_little_sound_is_none(num_samples: int, tmp_path: Path) -> None:
    """Under 32 ms, 512 samples at 16 kHz, no spectrogram has a column."""
    noise = sound(1.0, 44100)[:num_samples]
    path = write_clip(tmp_path / "a.mov", seconds=0.5, waveform=noise, gains=(1,), audio=PCM)
    for decoder in DECODERS:
        with pytest.raises(ClipError, match="no_audio"):
            decode_clip(str(path), seconds=10, decoder=decoder)
    with pytest.raises(ClipError, match="no_audio"):
        make_row(str(path))


@pytest.mark.parametrize("length_s", [0.05, 0.3, 1.0, 9.9])
def test_short_sound_is_tiled(length_s: float, tmp_path: Path) -> None:
    noise, seconds = sound(length_s, 22050), max(0.4, min(length_s * 2, 9.9))
    path = write_clip(tmp_path / "a.mov", seconds=seconds, waveform=noise, rate_hz=22050,
                      gains=(1,), audio=PCM)  # fmt: skip
    row = make_row(str(path))
    assert row["short"] == (length_s < 3)
    assert len(row["waveform"]) == pytest.approx(length_s * 32000, abs=2)
    heard = row["spectrogram_wide"][:, slice(*row["valid_cols"])]
    assert np.isfinite(heard).all()
    assert heard.astype(np.float32).std() > 1


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_cut_without_encoding(suffix: str, tmp_path: Path) -> None:
    """The middle of what is presented: an edit list hides pictures, other containers show all."""
    source = write_clip(tmp_path / "source.mp4", seconds=8.0)
    path = tmp_path / f"b.{suffix}"
    run_ffmpeg("-ss", "1.32", "-i", source, "-c", "copy", "-avoid_negative_ts", "disabled", path)
    hidden_s = 1.32 if suffix == "mp4" else 0.0
    length_s = 8.0 - hidden_s
    for decoder in DECODERS:
        clip = decode_clip(str(path), decoder=decoder, seconds=10)
        assert clip.duration_s == pytest.approx(length_s, abs=0.03)
        assert abs(read_number(clip.frame) - 25 * (hidden_s + length_s / 2)) <= 1.01


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_pictures_that_refresh_bit_by_bit(suffix: str, tmp_path: Path) -> None:
    """Behind a recovery point pictures appear only when decoding began at the one before."""
    video = (*H264, "-g", "25", "-x264-params", "intra-refresh=1:bframes=0:keyint=25")
    path = str(write_clip(tmp_path / f"a.{suffix}", seconds=4.0, video=video))
    for number, decoder in product((10, 52, 75, 90), DECODERS):
        moment_s = number / 25 + 0.02
        clip = decode_clip(path, start_s=moment_s - 0.15, span_s=0.3, seconds=0.3, decoder=decoder)
        assert abs(read_number(clip.frame) - number) <= (2 if suffix == "ts" else 0)
        np.testing.assert_allclose(corners(clip.frame)[0, 0], (200, 30, 30), atol=25)


@pytest.mark.parametrize("decoder", DECODERS)
def test_intra_refresh_as_handed_in(decoder: str) -> None:
    path = repro("11-*/a.mp4")
    chain = "select=eq(n\\,50),scale=256:256:force_original_aspect_ratio=increase"
    ppm = ("-frames:v", "1", "-f", "image2pipe", "-c:v", "ppm", "-")
    wanted = run_ffmpeg("-i", path, "-vf", chain, *ppm)
    clip = decode_clip(path, decoder=decoder)
    assert clip.frame_pts_s == 2.0
    height, width = clip.frame.shape[:2]
    full = np.frombuffer(wanted[-height * width * 3 :], np.uint8).reshape(height, width, 3)
    assert np.abs(full.astype(float) - clip.frame).mean() < 3


def test_the_same_ten_seconds_cut_or_in_place(tmp_path: Path) -> None:
    """A clip cut before, and the same stretch of the whole video, are one clip."""
    whole = write_clip(tmp_path / "video.mp4", seconds=45.0, fps=5, size=(64, 48), rate_hz=16000,
                       gains=(1,), video=(*H264, "-g", "5", "-bf", "0"))  # fmt: skip
    cut = tmp_path / "video_000030.mp4"
    run_ffmpeg("-ss", "30", "-i", whole, "-t", "10", "-c", "copy", cut)
    in_place, alone = decode_clip(str(whole), start_s=30.0), decode_clip(str(cut))
    assert read_number(in_place.frame) == read_number(alone.frame) == 175
    np.testing.assert_array_equal(in_place.frame, alone.frame)
    heard_s = [
        sound_time_s(c.waveform, c.rate_hz, 45.0) - c.audio_start_s for c in (in_place, alone)
    ]
    assert heard_s[0] == pytest.approx(0.0, abs=0.005)
    assert heard_s[1] == pytest.approx(30.0, abs=0.010)


@pytest.mark.parametrize("name", ["a.avi", "b.avi"])
def test_decoders_agree_where_there_are_no_times(name: str, tmp_path: Path) -> None:
    """H.264 with B-frames in AVI has no display times; within a picture, and the same for both."""
    audio = MP3 if name == "a.avi" else PCM
    path = str(write_clip(tmp_path / name, seconds=4.0, video=(*H264, "-g", "30"), audio=audio))
    for start_s in (None, 0.3, 1.1, 2.5):
        mine, theirs = (
            decode_clip(path, start_s=start_s, span_s=1.0, decoder=decoder)
            for decoder in ("ffmpeg", "pyav")
        )
        assert read_number(mine.frame) == read_number(theirs.frame)
        assert abs(read_number(mine.frame) - mine.frame_pts_s * 25) <= 2
        assert np.abs(mine.frame.astype(float) - theirs.frame).mean() < 3


def bad_index(path: Path, how: str) -> Path:
    """Make an index point elsewhere: AVI's, or the cues of Matroska."""
    data = bytearray(path.read_bytes())
    random = np.random.default_rng(3)
    if path.suffix == ".avi":
        at = data.rindex(b"idx1")
        count = struct.unpack_from("<I", data, at + 4)[0] // 16
        places = [at + 8 + 16 * number + 8 for number in range(count)]
        said = [struct.unpack_from("<I", data, place)[0] for place in places]
        other = {"zero": [0] * count, "far": [0x7FFFFFF0] * count,
                 "shuffled": list(random.permutation(said))}[how]  # fmt: skip
        for place, position in zip(places, other, strict=True):
            struct.pack_into("<I", data, place, int(position))
    else:
        at = data.rindex(b"\x1cS\xbbk")  # the element Cues; \xf1 is a cluster's position in it
        while (at := data.find(b"\xf1", at + 1)) > 0:
            size = data[at + 1] & 0x7F
            if data[at + 1] & 0x80 and 0 < size < 5:
                data[at + 2 : at + 2 + size] = {
                    "zero": bytes(size), "far": b"\x7f" * size, "shuffled": random.bytes(size)
                }[how]  # fmt: skip
    changed = path.with_stem(how)
    changed.write_bytes(data)
    return changed


@pytest.mark.parametrize("how", ["zero", "far", "shuffled"])
@pytest.mark.parametrize("name", ["a.avi", "b.avi", "a.mkv"])
def test_an_index_that_points_elsewhere(name: str, how: str, tmp_path: Path) -> None:
    """The right picture, or a reason; never what lies where the index says."""
    options = {"a.avi": {"video": MPEG4, "audio": PCM}, "b.avi": {"audio": MP3},
               "a.mkv": {"output": ("-cluster_time_limit", "500")}}[name]  # fmt: skip
    path = bad_index(write_clip(tmp_path / name, seconds=4.0, **options), how)  # type: ignore[arg-type]
    for decoder in DECODERS:
        if name.endswith("avi"):
            with pytest.raises(ClipError, match="decode_error: its index points elsewhere"):
                decode_clip(str(path), decoder=decoder)
            continue
        clip = decode_clip(str(path), decoder=decoder)
        assert read_number(clip.frame) == 50
        assert sound_time_s(clip.waveform, clip.rate_hz, 4.0) == pytest.approx(0.5, abs=0.002)


def test_damage_that_no_picture_survives_ends(tmp_path: Path) -> None:
    """Looking further back for a picture that no packet holds comes to an end."""
    path = write_clip(tmp_path / "a.mp4", video=(*H264, "-g", "10"), audio=AAC)
    data = bytearray(path.read_bytes())
    begin, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[begin + (end - begin) // 4 : end] = np.random.default_rng(5).bytes(
        end - begin - (end - begin) // 4
    )
    path.write_bytes(data)
    with pytest.raises(ClipError, match="decode_error"):
        decode_clip(str(path))
