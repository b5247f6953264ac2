"""Clips that must be done, and right: the picture by its number, the sound by correlation."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avpipe.errors import ClipError
from avpipe.stages.media import DECODERS, Clip, decode_clip, decoder_version, probe_duration
from media_factory import (
    AAC,
    CORNERS,
    H264,
    corners,
    read_number,
    run_ffmpeg,
    sound,
    sound_time_s,
    write_clip,
)

Maker = Callable[[Path], Path]
BOTH = ("ffmpeg", "pyav")
CLIPS = Path(__file__).parents[4] / "shared" / "clips"


def made(name: str, **options: Any) -> Maker:
    return lambda folder: write_clip(folder / name, **options)


def remuxed(name: str, *options: str, first: tuple[str, ...] = (), **made_with: Any) -> Maker:
    """Make a clip and copy its packets into another file."""

    def make(folder: Path) -> Path:
        source = write_clip((folder / "source").with_suffix(Path(name).suffix), **made_with)
        run_ffmpeg(*first, "-i", source, "-c", "copy", *options, folder / name)
        return folder / name

    return make


PCM = ("-c:a", "pcm_s16le")
# One thread: those of libvpx spin while they wait for each other
REALTIME = ("-deadline", "realtime", "-cpu-used", "8", "-b:v", "1M", "-threads", "1")
VP8 = ("-c:v", "libvpx", *REALTIME)
VP9 = ("-c:v", "libvpx-vp9", *REALTIME)
MPEG4 = ("-c:v", "mpeg4", "-q:v", "3", "-bf", "2")
MPEG2 = ("-c:v", "mpeg2video", "-q:v", "3", "-bf", "2")
MP3 = ("-c:a", "libmp3lame", "-b:a", "128k")
OPEN_GOP = (*H264, "-x264-params", "open-gop=1:keyint=20:bframes=3:b-adapt=0:scenecut=0")

FORMATS = {
    "h264 aac mp4": made("a.mp4"),
    "h264 aac mp4, one key frame": made("a.mp4", video=(*H264, "-g", "999")),
    "h264 aac mp4, open groups": made("a.mp4", video=OPEN_GOP),
    "h264 aac mp4, no B-frames": made("a.mp4", video=(*H264, "-bf", "0")),
    "h264 aac mp4, fragmented": made("a.mp4", output=("-movflags", "frag_keyframe+empty_moov")),
    "h264 aac mov": made("a.mov"),
    "h264 aac m4v": made("a.m4v"),
    "h264 aac 3gp": made("a.3gp"),
    "h264 aac ts": made("a.ts"),
    "h264 aac flv": made("a.flv"),
    "h264 flac mkv": made("a.mkv", audio=("-c:a", "flac")),
    "vp8 vorbis webm": made("a.webm", video=VP8, audio=("-c:a", "libvorbis")),
    "vp9 opus webm": made("a.webm", video=VP9, audio=("-c:a", "libopus"), rate_hz=48000),
    "mpeg4 pcm avi": made("a.avi", video=(*MPEG4, "-bf", "0"), audio=PCM),
    "mpeg4 mp3 mp4": made("a.mp4", video=MPEG4, audio=MP3),
    "mpeg2 mp2 mpg": made("a.mpg", video=MPEG2, audio=("-c:a", "mp2", "-b:a", "192k")),
    "flv1 mp3 flv": made("a.flv", video=("-c:v", "flv", "-q:v", "3"), audio=MP3),
    "theora vorbis ogv": made(
        "a.ogv", video=("-c:v", "libtheora", "-q:v", "8"), audio=("-c:a", "libvorbis")
    ),
    "mjpeg pcm mov": made("a.mov", video=("-c:v", "mjpeg", "-q:v", "3"), audio=PCM),
    "ffv1 pcm float mkv": made("a.mkv", video=("-c:v", "ffv1"), audio=("-c:a", "pcm_f32le")),
}
SOUNDS = {
    "5.1": made("a.mp4", gains=(1, 0.5, 0.25, 0, 0.5, 0.25)),
    "mono": made("a.mp4", gains=(1,)),
    "8 kHz": made("a.mp4", rate_hz=8000),
    "192 kHz": made("a.mkv", rate_hz=192_000, audio=("-c:a", "flac")),
    "24 bit": made("a.mov", audio=("-c:a", "pcm_s24le")),
    "8 bit": made("a.mkv", audio=("-c:a", "pcm_u8")),
    "64 bit float": made("a.mov", audio=("-c:a", "pcm_f64le")),
}
PICTURES = {
    "odd size": made("a.webm", size=(161, 121), video=VP8, audio=("-c:a", "libvorbis")),
    "odd size, 4:4:4": made("a.mp4", size=(161, 121), video=(*H264, "-pix_fmt", "yuv444p")),
    "10 bit": made("a.mp4", video=(*H264, "-pix_fmt", "yuv420p10le")),
    "portrait": made("a.mp4", size=(120, 160)),
    "full range": made("a.mp4", video=("-vf", "scale=out_range=full", *H264, "-color_range", "2")),
    "15 per second": made("a.mp4", fps=15),
    "two per second": made("a.mp4", fps=2),
}
TIMES = {
    "late start, mkv": remuxed("b.mkv", "-output_ts_offset", "10"),
    "late start, ts": remuxed("b.ts", "-output_ts_offset", "100"),
    "negative start: cut by an edit list": remuxed("b.mp4", first=("-ss", "1.32")),
    "cut by an edit list, key frame far before": remuxed(
        "b.mp4", first=("-ss", "1.72"), video=(*H264, "-g", "999")
    ),
    "webm without duration": remuxed(
        "b.webm", "-live", "1", video=VP8, audio=("-c:a", "libvorbis")
    ),
    "mkv written to a pipe": lambda folder: _piped(folder, "matroska"),
}
ALIGNED = FORMATS | SOUNDS | PICTURES | TIMES


def _piped(folder: Path, container: str) -> Path:
    source = write_clip(folder / "source.mp4")
    path = folder / "piped"
    path.write_bytes(run_ffmpeg("-i", source, "-c", "copy", "-f", container, "-"))
    return path


def offsets_s(clip: Clip, fps: float, seconds: float = 4.0) -> tuple[float, float]:
    """Return how far picture and sound lie behind the scene's own clock."""
    picture_s = clip.frame_pts_s - read_number(clip.frame) / fps
    return picture_s, clip.audio_start_s - sound_time_s(clip.waveform, clip.rate_hz, seconds)


@pytest.mark.parametrize("name", ALIGNED)
def test_picture_and_sound_belong_together(name: str, tmp_path: Path) -> None:
    path = ALIGNED[name](tmp_path)
    fps = {"15 per second": 15, "two per second": 2}.get(name, 25)
    mine, theirs = (decode_clip(str(path), decoder=decoder) for decoder in BOTH)
    for clip in (mine, theirs):
        picture_s, sound_s = offsets_s(clip, fps)
        assert picture_s == pytest.approx(sound_s, abs=0.002)
        assert clip.frame_pts_s <= clip.time_s + 1e-6 < clip.frame_pts_s + 1 / fps + 0.001
        assert clip.time_s == pytest.approx(clip.duration_s / 2)
    assert mine.frame_pts_s == theirs.frame_pts_s
    assert mine.frame.shape == theirs.frame.shape
    assert np.abs(mine.frame.astype(float) - theirs.frame).mean() < 3
    assert mine.rate_hz == theirs.rate_hz
    assert len(mine.waveform) == pytest.approx(len(theirs.waveform), abs=1024)


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_plain_case_in_full(decoder: str, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", audio=("-c:a", "alac"))
    clip = decode_clip(str(path), decoder=decoder)
    assert (clip.duration_s, clip.time_s, clip.frame_pts_s) == (4.0, 2.0, 2.0)
    assert read_number(clip.frame) == 50
    assert clip.frame.shape == (256, 341, 3)
    assert clip.frame.dtype == np.uint8
    np.testing.assert_allclose(corners(clip.frame), CORNERS, atol=6)
    assert clip.rate_hz == 44100
    assert clip.audio_start_s == pytest.approx(0.5, abs=1e-5)
    assert clip.waveform.shape == (132_300,)
    expected = 0.75 * sound(4.0, 44100)[22_050:154_350]  # the mean of a channel and its half
    np.testing.assert_allclose(clip.waveform, expected, atol=1e-4)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    ("rotation", "turn"), [(0, 0), (90, 1), (180, 2), (270, 3), (-90, 3), (-180, 2)]
)
def test_rotated_clips_are_upright(decoder: str, rotation: int, turn: int, tmp_path: Path) -> None:
    """A display matrix of 90 degrees asks for a quarter turn counterclockwise."""
    make = remuxed("b.mp4", first=("-display_rotation:v:0", str(rotation)), seconds=1.0)
    clip = decode_clip(str(make(tmp_path)), decoder=decoder)
    assert clip.frame.shape == ((256, 341, 3) if turn % 2 == 0 else (341, 256, 3))
    np.testing.assert_allclose(corners(clip.frame), np.rot90(CORNERS, turn), atol=12)
    assert read_number(np.rot90(clip.frame, -turn)) == 12


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(("flip", "axis"), [("hflip", 1), ("vflip", 0)])
def test_mirrored_clips(decoder: str, flip: str, axis: int, tmp_path: Path) -> None:
    make = remuxed("b.mp4", first=(f"-display_{flip}:v:0",), seconds=1.0)
    clip = decode_clip(str(make(tmp_path)), decoder=decoder)
    np.testing.assert_allclose(corners(clip.frame), np.flip(CORNERS, axis), atol=12)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    ("aspect", "rotation", "shape"),
    [("2/1", 0, (256, 683)), ("1/2", 0, (384, 256)), ("2/1", 90, (683, 256))],
)
def test_pixels_become_square(
    decoder: str, aspect: str, rotation: int, shape: tuple[int, int], tmp_path: Path
) -> None:
    make = remuxed(
        "b.mp4",
        first=("-display_rotation:v:0", str(rotation)),
        seconds=1.0,
        video=("-vf", f"setsar={aspect}", *H264),
    )
    clip = decode_clip(str(make(tmp_path)), decoder=decoder)
    assert clip.frame.shape[:2] == shape
    assert read_number(np.rot90(clip.frame, -(rotation // 90))) == 12


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(("video_s", "audio_s"), [("0.72", "0"), ("0", "0.7"), ("0", "3")])
def test_streams_that_start_apart_stay_apart(
    decoder: str, suffix: str, video_s: str, audio_s: str, tmp_path: Path
) -> None:
    path = write_clip(
        tmp_path / f"a.{suffix}",
        video_input=("-itsoffset", video_s),
        audio_input=("-itsoffset", audio_s),
    )
    clip = decode_clip(str(path), decoder=decoder, seconds=10)
    picture_s, sound_s = offsets_s(clip, 25)
    assert picture_s - sound_s == pytest.approx(float(video_s) - float(audio_s), abs=0.002)


def grown(folder: Path, size: tuple[int, int]) -> str:
    """Write a transport stream of 160 x 120 whose second half has pictures of another size."""
    parts = [
        write_clip(folder / "first.ts", seconds=3.0),
        write_clip(folder / "second.ts", seconds=3.0, size=size, output=("-output_ts_offset", "3")),
    ]
    path = folder / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return str(path)


@pytest.mark.parametrize("decoder", DECODERS)
def test_pictures_that_change_their_size(decoder: str, tmp_path: Path) -> None:
    path = grown(tmp_path, (480, 160))
    for start_s, shape in ((1.0, (256, 341)), (4.0, (256, 768))):
        clip = decode_clip(path, start_s=start_s, span_s=1.0, decoder=decoder)
        assert clip.frame.shape[:2] == shape
        np.testing.assert_allclose(corners(clip.frame), CORNERS, atol=12)
    with pytest.raises(ClipError) as caught:
        decode_clip(path, start_s=4.0, span_s=1.0, decoder=decoder, max_pixels=60_000)
    assert caught.value.reason == "too_large"
    assert decode_clip(path, start_s=1.0, span_s=1.0, decoder=decoder, max_pixels=60_000)


LATE_PICTURES = {
    "a.webm": {"video": VP8, "audio": ("-c:a", "libvorbis")},
    "a.mkv": {},
    "a.ts": {},
    "a.mp4": {},
    "a.mov": {"audio": PCM},
    "a.3gp": {},
    "a.flv": {},
    "a.avi": {"video": MPEG4, "audio": PCM},
    "a.mpg": {"video": MPEG2, "audio": ("-c:a", "mp2")},
    "a.ogv": {"video": ("-c:v", "libtheora", "-q:v", "8"), "audio": ("-c:a", "libvorbis")},
}


@pytest.mark.parametrize("video_s", ["0", "1.3"])
@pytest.mark.parametrize("name", LATE_PICTURES)
def test_sound_before_the_first_picture(name: str, video_s: str, tmp_path: Path) -> None:
    path = str(
        write_clip(tmp_path / name, video_input=("-itsoffset", video_s), **LATE_PICTURES[name])
    )
    mine, theirs = (decode_clip(path, seconds=10, decoder=decoder) for decoder in BOTH)
    assert mine.audio_start_s < 0.06  # encoders' delays and the codecs' first pieces
    assert mine.audio_start_s == pytest.approx(theirs.audio_start_s, abs=0.002)
    assert len(mine.waveform) == pytest.approx(len(theirs.waveform), abs=1024)


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_flash_and_the_click(decoder: str, tmp_path: Path) -> None:
    """A click in the middle of a clip is heard when the picture of that time is seen."""
    click = np.zeros(4 * 44100, np.float32)
    click[2 * 44100 : 2 * 44100 + 44] = 0.9
    for suffix, video, audio in (("mp4", H264, AAC), ("webm", VP8, ("-c:a", "libvorbis"))):
        path = write_clip(
            tmp_path / f"a.{suffix}", waveform=click, gains=(1,), video=video, audio=audio
        )
        clip = decode_clip(str(path), decoder=decoder)
        loudest_s = clip.audio_start_s + int(np.argmax(clip.waveform)) / clip.rate_hz
        picture_s = clip.frame_pts_s - (read_number(clip.frame) - 50) / 25
        assert loudest_s == pytest.approx(picture_s, abs=0.002)


def test_variable_frame_rate(tmp_path: Path) -> None:
    """Of ten pictures the last six are missing: the fourth is shown until the next ten."""
    thinned = ("-vf", "select='lt(mod(n,10),4)'", "-fps_mode", "vfr", *H264)
    path = write_clip(tmp_path / "a.mp4", video=thinned)
    for moment_s, number in ((1.10, 23), (1.19, 23), (1.21, 30), (1.30, 32), (1.5, 33)):
        clip = decode_clip(str(path), start_s=moment_s - 0.5, span_s=1.0)
        assert read_number(clip.frame) == number
        assert clip.frame_pts_s == pytest.approx(number / 25, abs=1e-4)


def test_every_picture_of_a_clip(tmp_path: Path) -> None:
    """Whatever the moment, the picture is the one shown then, B-frames and open groups too."""
    for name, video in (
        ("a.mp4", H264),
        ("b.mp4", OPEN_GOP),
        ("c.ts", OPEN_GOP),
        ("d.mpg", MPEG2),
        ("e.flv", H264),
        ("f.mkv", OPEN_GOP),
        ("g.avi", (*MPEG4, "-g", "30")),
        ("h.avi", H264),
    ):
        audio = MP3 if name.endswith("avi") else AAC if video is not MPEG2 else ("-c:a", "mp2")
        path = str(write_clip(tmp_path / name, video=video, audio=audio, seconds=3.0))
        offsets = set()
        for number in range(10, 65, 3):
            moment_s = number / 25 + 0.02
            clip = decode_clip(path, start_s=moment_s - 0.15, span_s=0.3, seconds=0.3)
            offsets.add(round(clip.frame_pts_s - read_number(clip.frame) / 25, 2))
            assert clip.frame_pts_s <= clip.time_s < clip.frame_pts_s + 0.041, name
        assert len(offsets) == 1, (name, offsets)
        assert abs(offsets.pop()) <= 0.08, name


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_pictures_just_behind_a_key_frame(suffix: str, decoder: str, tmp_path: Path) -> None:
    """Matroska gives no decoding times to the first packets after a seek: B-frames follow them."""
    video = (*H264, "-g", "25", "-bf", "3", "-x264-params", "b-adapt=0:scenecut=0")
    path = str(write_clip(tmp_path / f"a.{suffix}", video=video))
    for number in range(48, 56):
        moment_s = number / 25 + 0.02
        clip = decode_clip(path, start_s=moment_s - 0.5, span_s=1.0, decoder=decoder)
        assert read_number(clip.frame) == number
        assert clip.frame_pts_s == pytest.approx(number / 25, abs=0.002)


def test_a_picture_shown_longer_than_its_packet_says(tmp_path: Path) -> None:
    """Pictures that come after the moment prove that the file did not end before it."""
    thinned = ("-vf", "select='lt(n,50)+eq(n,75)+eq(n,99)'", "-fps_mode", "vfr")
    path = str(write_clip(tmp_path / "a.mkv", video=(*thinned, *H264)))
    for moment_s, number in ((2.5, 49), (2.9, 49), (3.2, 75), (3.8, 75)):
        clip = decode_clip(path, start_s=moment_s - 0.15, span_s=0.3, seconds=0.3)
        assert read_number(clip.frame) == number


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
@pytest.mark.parametrize("video", [H264, MPEG4], ids=["h264", "mpeg4"])
def test_the_start_of_a_file_without_times(
    video: tuple[str, ...], cut: bool, tmp_path: Path
) -> None:
    """AVI only counts: the sound from its start on is what ffmpeg decodes of the whole file."""
    path = write_clip(tmp_path / "a.avi", video=video, audio=PCM, seconds=2.0)
    if cut:  # without its index
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    whole = np.frombuffer(run_ffmpeg("-i", path, "-vn", "-f", "f32le", "-"), np.float32)
    for seconds in (3.0, 10.0):
        clip = decode_clip(str(path), seconds=seconds)
        assert clip.audio_start_s == 0
        np.testing.assert_array_equal(clip.waveform, whole.reshape(-1, 2).mean(1))
        shown_s = read_number(clip.frame) / 25
        assert clip.frame_pts_s == pytest.approx(shown_s, abs=0.081)


def test_reads_stay_inside_the_span(tmp_path: Path) -> None:
    path = str(write_clip(tmp_path / "a.mp4", seconds=8.0))
    clip = decode_clip(path, seconds=10.0, start_s=2.5, span_s=3.0)
    assert (clip.time_s, clip.frame_pts_s, clip.duration_s) == (4.0, 4.0, 8.0)
    assert clip.audio_start_s == pytest.approx(2.5, abs=1e-4)
    assert len(clip.waveform) == pytest.approx(3 * 44100, abs=2)
    at_the_end = decode_clip(path, seconds=10.0, start_s=6.0)
    assert at_the_end.time_s == 7.0  # of what the file has: 6 to 8 s
    assert offsets_s(at_the_end, 25, 8.0)[1] == pytest.approx(0, abs=0.002)


@pytest.mark.slow
def test_two_hours(tmp_path: Path) -> None:
    """The middle of a long file is reached by seeking: little of it is read."""
    rate_hz, minutes = 4000, 120
    noise = np.tile(sound(60.0, rate_hz), minutes)
    path = write_clip(
        tmp_path / "long.mkv",
        seconds=60.0 * minutes,
        fps=0.25,
        size=(64, 48),
        rate_hz=rate_hz,
        gains=(1,),
        video=("-c:v", "mpeg4", "-q:v", "2", "-g", "5"),
        audio=("-c:a", "pcm_u8"),
        waveform=noise,
    )
    before = _bytes_read()
    clip = decode_clip(str(path), seconds=10)
    assert _bytes_read() - before < 3_000_000 < path.stat().st_size / 5
    assert (clip.time_s, clip.frame_pts_s) == (3600.0, 3600.0)
    assert read_number(clip.frame) == 900
    start_s = sound_time_s(clip.waveform[5 * rate_hz :], rate_hz, 60.0)
    assert start_s == pytest.approx(0.0, abs=0.002)


def _bytes_read() -> int:
    text = Path("/proc/self/io").read_text()
    return int(text.split("rchar:")[1].split()[0])


@pytest.mark.parametrize(
    "name",
    [
        "Füße 音 🎸.mp4",
        "two  spaces .mp4",
        "line\nbreak.mp4",
        "-leading dash.mp4",
        "100%03d.mp4",
        "colon: 'quote' \"and\" [brackets];.mp4",
        b"not utf-8 \xff\xfe.mp4".decode(errors="surrogateescape"),
        "n" * 251 + ".mp4",
    ],
)
def test_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_clip(tmp_path / "plain.mp4", seconds=1.0)
    source.rename(tmp_path / name)
    for decoder in DECODERS:
        assert read_number(decode_clip(str(tmp_path / name), decoder=decoder).frame) == 12
    monkeypatch.chdir(tmp_path)
    assert read_number(decode_clip(name).frame) == 12


def test_stream_choice_follows_the_default_flag(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "first.mkv", size=(64, 48), gains=(0.2,), seconds=1.0)
    second = write_clip(tmp_path / "second.mkv", size=(120, 160), gains=(1.0,), seconds=1.0)
    streams = ("-map", "0", "-map", "1", "-c", "copy")
    flags = ("-disposition:v:0", "0", "-disposition:v:1", "default")
    flags += ("-disposition:a:0", "0", "-disposition:a:1", "default")
    both = tmp_path / "both.mkv"
    run_ffmpeg("-i", first, "-i", second, *streams, *flags, both)
    for decoder in DECODERS:
        clip = decode_clip(str(both), decoder=decoder)
        assert clip.frame.shape == (341, 256, 3)
        assert np.abs(clip.waveform).max() > 0.3


def test_cover_art_is_no_video_stream(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", seconds=1.0)
    run_ffmpeg("-i", clip, "-vf", "negate", "-frames:v", "1", tmp_path / "cover.png")
    art = ("-map", "1", "-map", "0", "-c", "copy", "-disposition:v:0", "attached_pic")
    run_ffmpeg("-i", clip, "-i", tmp_path / "cover.png", *art, tmp_path / "b.mp4")
    assert read_number(decode_clip(str(tmp_path / "b.mp4")).frame) == 12


def test_a_picture_file_beside_a_sound_file(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", seconds=4.0)
    run_ffmpeg("-ss", "2", "-i", source, "-frames:v", "1", "-q:v", "2", tmp_path / "frame.jpg")
    run_ffmpeg("-i", source, "-vn", tmp_path / "sound.wav")
    for decoder in DECODERS:
        clip = decode_clip(
            str(tmp_path / "frame.jpg"), audio_path=str(tmp_path / "sound.wav"), decoder=decoder
        )
        assert read_number(clip.frame) == 50
        assert (clip.duration_s, clip.time_s, clip.frame_pts_s) == (4.0, 2.0, 0.0)
        assert clip.audio_start_s == pytest.approx(0.5, abs=1e-4)
        assert sound_time_s(clip.waveform, 44100, 4.0) == pytest.approx(0.5, abs=0.002)


def test_damage_before_the_picture_changes_nothing_but_what_a_full_decode_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Skipping pictures must not show where packets are damaged: both ways, the same pixels."""
    from avpipe.stages.media.decoders import pyav

    source = write_clip(tmp_path / "a.mp4", video=(*H264, "-g", "999"), size=(320, 240))
    whole = source.read_bytes()
    generator = np.random.default_rng(11)
    begin = whole.index(b"mdat") + 2000
    damaged = tmp_path / "b.mp4"
    compared = 0
    skipping = pyav._decode
    for _ in range(25):
        data = bytearray(whole)
        for position in generator.integers(begin, begin + (len(whole) - begin) // 2, 6):
            data[position] ^= 1 << int(generator.integers(8))
        damaged.write_bytes(data)
        results = []
        for mode in (None, "DEFAULT"):
            monkeypatch.setattr(
                pyav, "_decode", lambda t, p, s, mode=mode: skipping(t, p, mode or s)
            )
            try:
                results.append(decode_clip(str(damaged)))
            except ClipError as error:
                results.append(error.reason)
        if isinstance(results[0], Clip):
            compared += 1
            np.testing.assert_array_equal(results[0].frame, results[1].frame)
            assert results[0].frame_pts_s == results[1].frame_pts_s
        else:
            assert results[0] == results[1]
    assert compared >= 10


def test_nothing_is_left_open(tmp_path: Path) -> None:
    path = str(write_clip(tmp_path / "a.mp4", seconds=1.0))
    decode_clip(path)
    before = sorted(Path("/proc/self/fd").iterdir())
    for _ in range(5):
        decode_clip(path)
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_probe_duration(tmp_path: Path) -> None:
    assert probe_duration(str(write_clip(tmp_path / "a.mp4", seconds=3.0))) == 3.0
    live = TIMES["webm without duration"](tmp_path)
    assert probe_duration(str(live)) == pytest.approx(4.0, abs=0.05)
    with pytest.raises(ClipError, match="missing"):
        probe_duration(str(tmp_path / "gone.mp4"))


def test_versions_and_unknown_decoders() -> None:
    assert decoder_version("pyav").startswith("av ")
    assert "ffmpeg program" in decoder_version("ffmpeg")
    with pytest.raises(ValueError, match="unknown decoder"):
        decode_clip("a.mp4", decoder="opencv")


@pytest.mark.clips
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nasa_13013.mp4", None),
        ("bunny_in.mp4", None),
        ("big_buck_bunny_0_30.webm", None),
        ("video_with_failing_audio.mp4", None),
        ("bt709_full_range.mp4", "no_audio"),
        ("corrupted.mp4", "no_audio"),
        ("video_90.mov", "no_audio"),
    ],
)
def test_real_clips(name: str, reason: str | None) -> None:
    path = str(CLIPS / name)
    if reason is not None:
        with pytest.raises(ClipError) as caught:
            decode_clip(path)
        assert caught.value.reason == reason
        return
    mine, theirs = (decode_clip(path, decoder=decoder) for decoder in BOTH)
    assert np.abs(mine.frame.astype(float) - theirs.frame).mean() < 3
    assert mine.frame_pts_s == theirs.frame_pts_s
    shared = min(len(mine.waveform), len(theirs.waveform))
    assert shared > 2.9 * mine.rate_hz
    size = 1 << (2 * shared).bit_length()
    spectra = [np.fft.rfft(c.waveform[:shared], size) for c in (mine, theirs)]
    lag = int(np.argmax(np.fft.irfft(spectra[0] * np.conj(spectra[1]), size)))
    if np.abs(mine.waveform).max() > 1e-3:
        assert min(lag, size - lag) < 0.002 * mine.rate_hz


def test_a_decoder_is_a_file_and_nothing_else(tmp_path: Path) -> None:
    """A copy of the package with one more file in `decoders/` decodes with it."""
    package = tmp_path / "avpipe"
    ignored = shutil.ignore_patterns("tests", "docs", "bench", ".*", "*.egg-info")
    shutil.copytree(Path(__file__).parents[3], package, ignore=ignored)
    (package / "stages/media/decoders/mirror_av.py").write_text(
        "from .pyav import decode_frame as _upright, decode_sound, version\n"
        "def decode_frame(target):\n    return _upright(target)[:, ::-1].copy()\n"
    )
    path = write_clip(tmp_path / "a.mp4", fps=8, seconds=1)
    program = (
        "import sys; from avpipe.pipeline.main import main; from avpipe.cache.store import Cache\n"
        "assert main(['extract', sys.argv[1], '--cache', sys.argv[2], '--decoder', 'mirror-av', "
        "'--backend', 'sequential']) == 0\n"
        "print(Cache(sys.argv[2]).clip('a').frame[100, 10].tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), str(tmp_path / "cache")],
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    expected = decode_clip(str(path)).frame[100, -11].astype(int)
    found = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(found, expected, atol=12)  # a JPEG lies between
