"""Clips to damage: half a second, 64 x 64, of every codec and container that PyAV can write.

Made by code, the same bytes with the same versions of PyAV and NumPy.
"""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.error import FFmpegError
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder says nothing but errors
FPS = 25
_BITEXACT = {"flags": "+bitexact", "threads": "1"}


@dataclass(frozen=True)
class Seed:
    """How a clip is written.

    Attributes:
        suffix: Of its file's name.
        muxer: Name of the container.
        video: Encoder of the pictures; "" for none.
        audio: Encoder of the sound; "" for none.
        pixels: Their format.
        size: Width and height.
        rate_hz: Of the sound.
        num_pictures: At 25 a second; the sound is as long.
        options: Of the container.
        encoder: Of the encoder of the pictures.
    """

    suffix: str
    muxer: str
    video: str
    audio: str
    pixels: str = "yuv420p"
    size: tuple[int, int] = (64, 64)
    rate_hz: int = 44100
    num_pictures: int = 12
    options: tuple[tuple[str, str], ...] = ()
    encoder: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """What findings call it."""
        flags = [value for key, value in self.options if key == "movflags"]
        return "-".join(filter(None, (self.suffix, self.video, self.audio, *flags)))


_FAST = (("movflags", "faststart"),)
_PIECES = (("movflags", "frag_keyframe+empty_moov"),)
_X264 = (("preset", "veryfast"), ("x264-params", "qp=24:bframes=2:keyint=5:threads=1"))
_X265 = (("preset", "ultrafast"), ("x265-params", "pools=none:frame-threads=1:log-level=none"))
_AV1 = (("preset", "12"), ("svtav1-params", "lp=1"))
_VPX = (("deadline", "realtime"), ("cpu-used", "8"))

VIDEOS = (
    Seed("mp4", "mp4", "libx264", "aac", encoder=_X264),
    Seed("mp4", "mp4", "libx264", "aac", options=_FAST, encoder=_X264),
    Seed("mp4", "mp4", "libx264", "aac", options=_PIECES, encoder=_X264),
    Seed("mp4", "mp4", "libx265", "ac3", encoder=_X265),
    Seed("mp4", "mp4", "libsvtav1", "libopus", rate_hz=48000, encoder=_AV1),
    Seed("mp4", "mp4", "mpeg4", "libmp3lame"),
    Seed("mp4", "mp4", "libvpx-vp9", "flac", encoder=_VPX),
    Seed("mov", "mov", "prores_ks", "pcm_s16be", "yuv422p10le"),
    Seed("mov", "mov", "mjpeg", "pcm_s24le", "yuvj420p"),
    Seed("mov", "mov", "qtrle", "alac", "rgb24"),
    Seed("mov", "mov", "png", "pcm_f32le", "rgb24"),
    Seed("mov", "mov", "svq1", "adpcm_ima_qt", "yuv410p"),
    Seed("mov", "mov", "rpza", "pcm_mulaw", "rgb555le"),
    Seed("mov", "mov", "jpeg2000", "pcm_alaw"),
    Seed("mov", "mov", "cfhd", "eac3", "yuv422p10le"),
    Seed("mov", "mov", "v210", "pcm_s8", "yuv422p10le"),
    Seed("mov", "mov", "smc", "pcm_u8", "pal8"),
    Seed("3gp", "3gp", "h263", "libopencore_amrnb", size=(128, 96), rate_hz=8000),
    Seed("mkv", "matroska", "libx264", "libopus", rate_hz=48000, encoder=_X264),
    Seed("mkv", "matroska", "libx265", "eac3", encoder=_X265),
    Seed("mkv", "matroska", "ffv1", "flac"),
    Seed("mkv", "matroska", "mpeg2video", "mp2"),
    Seed("avi", "avi", "utvideo", "pcm_s24le"),
    Seed("avi", "avi", "magicyuv", "pcm_f32le", "yuv444p"),
    Seed("mkv", "matroska", "mjpeg", "tta", "yuvj420p"),
    Seed("mkv", "matroska", "prores", "wavpack", "yuv422p10le"),
    Seed("mov", "mov", "msrle", "pcm_s32be", "pal8"),
    Seed("avi", "avi", "h261", "pcm_alaw", size=(176, 144)),
    Seed("mkv", "matroska", "snow", "alac"),
    Seed("webm", "webm", "libvpx", "libopus", rate_hz=48000, encoder=_VPX),
    Seed("webm", "webm", "libvpx-vp9", "libopus", rate_hz=48000, encoder=_VPX),
    Seed("webm", "webm", "libsvtav1", "libopus", rate_hz=48000, encoder=_AV1),
    Seed("avi", "avi", "mpeg4", "libmp3lame"),
    Seed("avi", "avi", "libx264", "libmp3lame", encoder=_X264),
    Seed("avi", "avi", "msmpeg4v2", "mp2"),
    Seed("avi", "avi", "msmpeg4", "pcm_mulaw"),
    Seed("avi", "avi", "wmv1", "adpcm_ima_wav"),
    Seed("avi", "avi", "wmv2", "ac3"),
    Seed("avi", "avi", "huffyuv", "pcm_s16le", "rgb24"),
    Seed("avi", "avi", "ffvhuff", "adpcm_ima_wav"),
    Seed("avi", "avi", "cinepak", "adpcm_ms", "rgb24"),
    Seed("avi", "avi", "zmbv", "pcm_u8", "pal8"),
    Seed("avi", "avi", "msvideo1", "adpcm_yamaha", "rgb555le"),
    Seed("avi", "avi", "asv2", "pcm_s16le"),
    Seed("avi", "avi", "rawvideo", "pcm_s16le"),
    Seed("avi", "avi", "zlib", "pcm_s16le", "bgr24"),
    Seed("flv", "flv", "flv", "libmp3lame"),
    Seed("flv", "flv", "flashsv", "adpcm_swf", "bgr24"),
    Seed("flv", "flv", "flashsv2", "nellymoser", "bgr24", rate_hz=22050),
    Seed("flv", "flv", "libx264", "aac", encoder=_X264),
    Seed("ts", "mpegts", "libx264", "aac", encoder=_X264),
    Seed("ts", "mpegts", "mpeg2video", "mp2"),
    Seed("ts", "mpegts", "libx265", "ac3", encoder=_X265),
    Seed("mpg", "mpeg", "mpeg1video", "mp2", num_pictures=50),
    Seed("mpg", "vob", "mpeg2video", "ac3", rate_hz=48000, num_pictures=50),
    Seed("ogv", "ogg", "libvpx", "libopus", rate_hz=48000, encoder=_VPX),
)  # fmt: skip
SOUNDS = (
    Seed("wav", "wav", "", "pcm_s16le"),
    Seed("wav", "wav", "", "adpcm_ms"),
    Seed("mp3", "mp3", "", "libmp3lame"),
    Seed("flac", "flac", "", "flac"),
    Seed("ogg", "ogg", "", "libopus", rate_hz=48000),
    Seed("m4a", "mp4", "", "aac"),
)
"""The sounds of pictures; a picture of `pictures()` goes with each."""


@functools.cache
def videos() -> dict[str, bytes]:
    """Return all clips that this FFmpeg can write, by name."""
    return {seed.name: content for seed in VIDEOS if (content := written(seed))}


@functools.cache
def sounds() -> dict[str, bytes]:
    """Return all sounds that this FFmpeg can write, by name."""
    return {seed.name: content for seed in SOUNDS if (content := written(seed))}


@functools.cache
def pictures() -> dict[str, bytes]:
    """Return pictures that may stand beside a sound, and others that `synth` takes, by name."""
    found = {}
    for name, kind, options in (
        ("jpg", "JPEG", {"quality": 80}),
        ("jpg-progressive", "JPEG", {"quality": 80, "progressive": True}),
        ("png", "PNG", {}),
        ("webp", "WEBP", {}),
        ("gif", "GIF", {}),
        ("tiff", "TIFF", {"compression": "tiff_lzw"}),
        ("bmp", "BMP", {}),
        ("ppm", "PPM", {}),
    ):
        file = io.BytesIO()
        image = Image.fromarray(_picture(3, (64, 64)))
        image.save(file, kind, **options)
        found[name] = file.getvalue()
    return found


@functools.cache
def seed(name: str) -> bytes:
    """Return one seed by its name, without making the others; KeyError where there is none."""
    for one in (*VIDEOS, *SOUNDS):
        if one.name == name:
            return written(one)
    return pictures()[name]


def written(seed: Seed) -> bytes:
    """Write a clip; return nothing where this FFmpeg cannot."""
    options = {"fflags": "+bitexact", **dict(seed.options)}
    with TemporaryDirectory() as folder:
        file = Path(folder, f"seed.{seed.suffix}")
        try:
            with _usual_priority():
                _write(file, seed, options)
        except (FFmpegError, ValueError):
            return b""
        return file.read_bytes()


@contextmanager
def _usual_priority() -> Iterator[None]:
    """Undo what SVT-AV1 does where root runs it: its caller, and all it starts, become real-time.

    Such processes leave no other a core.
    """
    policy, of_policy = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, of_policy)


def _write(file: Path, seed: Seed, options: dict[str, str]) -> None:
    with av.open(str(file), "w", format=seed.muxer, options=options) as container:
        streams: list[VideoStream | AudioStream] = []
        if seed.video:
            streams.append(_video_stream(container, seed))
        if seed.audio:
            streams.append(_audio_stream(container, seed))
        for stream in streams:
            stream.codec_context.open()
        for stream in streams:
            frames = _video_frames if isinstance(stream, VideoStream) else _audio_frames
            for frame in (*frames(stream, seed), None):
                for packet in stream.encode(frame):
                    container.mux(packet)


def _video_stream(container: Any, seed: Seed) -> VideoStream:
    options = {**_BITEXACT, **dict(seed.encoder)}
    stream: VideoStream = container.add_stream(seed.video, rate=FPS, options=options)
    stream.width, stream.height = seed.size
    stream.pix_fmt = seed.pixels
    stream.codec_context.time_base = Fraction(1, FPS)
    stream.codec_context.thread_count = 1
    return stream


def _audio_stream(container: Any, seed: Seed) -> AudioStream:
    stream: AudioStream = container.add_stream(seed.audio, rate=seed.rate_hz, options=_BITEXACT)
    formats = stream.codec_context.codec.audio_formats or []
    stream.codec_context.format = formats[0].name if formats else "s16"
    stream.codec_context.layout = "mono"
    return stream


def _picture(number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a ramp of colours with a square that moves, (H, W, 3) RGB."""
    width, height = size
    image = np.empty((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, width, dtype=np.uint8)
    image[..., 1] = np.linspace(0, 255, height, dtype=np.uint8)[:, None]
    image[..., 2] = 31 * number % 256
    number %= 12
    image[8 + 4 * number : 24 + 4 * number, 4 * number : 16 + 4 * number] = (240, 20, 60)
    return image


def _video_frames(stream: VideoStream, seed: Seed) -> list[Any]:
    frames = []
    for number in range(seed.num_pictures):
        frame = av.VideoFrame.from_ndarray(_picture(number, seed.size), format="rgb24")
        if seed.pixels == "pal8":
            frame = _with_palette(number, seed.size)
        elif seed.pixels != "rgb24":
            frame = frame.reformat(format=seed.pixels)
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        frames.append(frame)
    return frames


def _with_palette(number: int, size: tuple[int, int]) -> Any:
    values = _picture(number, size)[..., 0]
    palette = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 4, 1)
    return av.VideoFrame.from_ndarray((values, palette), format="pal8")


def _audio_frames(stream: AudioStream, seed: Seed) -> list[Any]:
    context = stream.codec_context
    total = seed.rate_hz * seed.num_pictures // FPS
    noise = np.random.default_rng(7).uniform(-0.4, 0.4, total // 6 + 2)
    mono = np.interp(np.arange(total) / 6, np.arange(len(noise)), noise)
    samples = np.rint(mono * 32767).astype("<i2")[None]
    resampler = av.AudioResampler(
        context.format.name, "mono", seed.rate_hz, frame_size=context.frame_size or 1024
    )
    frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = seed.rate_hz, 0, Fraction(1, seed.rate_hz)
    found = [*resampler.resample(frame), *resampler.resample(None)]
    return [one for one in found if one is not None]
