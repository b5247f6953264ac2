"""How else one gets a frame and a spectrogram out of a clip: the rows avpipe is compared with.

Each gets the frame (256, w, 3) and the whole clip's sound, mono; `features` then makes the same
outputs of them for every row. The clips last 10 s, so the frame is the one at 5 s.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import librosa
import numpy as np
from avpipe.stages.features import encode_jpeg
from avpipe.stages.spectrogram import FRONT_ENDS, log_spectrogram, resample
from numpy.typing import NDArray

MIDDLE_S = 5.0
WIDTH = 456
RATE_HZ = 44_100
_FRONT_END = FRONT_ENDS["257x276"]
_PICTURE = ["-frames:v", "1", "-vf", "scale=-2:256", "-f", "rawvideo", "-pix_fmt", "rgb24"]
_SOUND = ["-vn", "-af", "pan=mono|c0=.5*c0+.5*c1", "-f", "f32le"]
_QUIET = ["-v", "error", "-nostdin", "-threads", "1"]

Decoded = tuple[NDArray[np.uint8], NDArray[np.float32]]
Resample = Callable[[NDArray[np.float32], int], NDArray[np.float32]]


def _soxr(sound: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    return resample(sound, RATE_HZ, rate_hz, len(sound) * rate_hz // RATE_HZ)


def _librosa(sound: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    resampled: NDArray[np.float32] = librosa.resample(sound, orig_sr=RATE_HZ, target_sr=rate_hz)
    return resampled


def features(decoded: Decoded, resampled: Resample = _soxr) -> tuple[Any, ...]:
    """JPEG, wide log-spectrogram (257, 462) float16, 10 s of sound int16 at 32 kHz."""
    frame, sound = decoded
    half = _FRONT_END.wide_samples / _FRONT_END.rate_hz / 2
    window = sound[int((MIDDLE_S - half) * RATE_HZ) : int((MIDDLE_S + half) * RATE_HZ) + 2]
    wide = resampled(window, _FRONT_END.rate_hz)[: _FRONT_END.wide_samples]
    audio = np.rint(np.clip(resampled(sound, 32_000), -1, 1) * 32767).astype(np.int16)
    return encode_jpeg(frame), log_spectrogram(wide).astype(np.float16), audio


def _picture(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8).reshape(256, WIDTH, 3)


def ffmpeg_programs() -> dict[str, str]:
    """Programs by version: `ffmpeg` on the path, if any, then the one of imageio-ffmpeg."""
    programs = {}
    for program in (shutil.which("ffmpeg"), imageio_ffmpeg.get_ffmpeg_exe()):
        if program is not None:
            about = subprocess.run(
                [program, "-version"], capture_output=True, check=True, text=True
            )
            programs[about.stdout.split()[2].split("-")[0]] = program
    return programs


def two_calls(program: str, clip: Path) -> object:
    """`ffmpeg` once for the frame, once for the sound."""
    quiet = [program, *_QUIET]
    seek = ["-ss", str(MIDDLE_S), "-i", str(clip)]
    frame = subprocess.run([*quiet, *seek, *_PICTURE, "-"], capture_output=True, check=True)
    sound = subprocess.run([*quiet, "-i", str(clip), *_SOUND, "-"], capture_output=True, check=True)
    return features((_picture(frame.stdout), np.frombuffer(sound.stdout, np.float32)))


def one_call(program: str, clip: Path) -> object:
    """`ffmpeg` once, the frame through one pipe and the sound through another."""
    read_end, write_end = os.pipe()
    command = [program, *_QUIET, "-ss", str(MIDDLE_S), "-i", str(clip), "-i", str(clip)]
    command += ["-map", "0:v", *_PICTURE, f"pipe:{write_end}", "-map", "1:a", *_SOUND, "pipe:1"]
    with (
        open(read_end, "rb") as pipe,  # noqa: PTH123 - a descriptor has no path
        subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[write_end]) as process,
        ThreadPoolExecutor(1) as pool,  # both pipes are read at once, or ffmpeg waits for ever
    ):
        os.close(write_end)
        frame = pool.submit(pipe.read)
        assert process.stdout is not None
        sound = process.stdout.read()
    return features((_picture(frame.result()), np.frombuffer(sound, np.float32)))


def decode_all(clip: Path) -> object:
    """Every picture decoded, the middle one kept; librosa resamples."""
    with av.open(str(clip)) as container:
        pictures = list(container.decode(video=0))
    return features((_scaled(pictures[len(pictures) // 2]), _all_sound(clip)), _librosa)


def plain_pyav(clip: Path) -> object:
    """As PyAV's manual does it: seek, decode until the moment; open again for the sound."""
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        container.seek(int(MIDDLE_S / stream.time_base), stream=stream)
        picture = next(frame for frame in container.decode(stream) if frame.time >= MIDDLE_S)
        frame = _scaled(picture)
    return features((frame, _all_sound(clip)))


def _scaled(picture: av.VideoFrame) -> NDArray[np.uint8]:
    scaled = picture.reformat(WIDTH, 256, format="rgb24").to_ndarray()
    return scaled.astype(np.uint8, copy=False)


def _all_sound(clip: Path) -> NDArray[np.float32]:
    with av.open(str(clip)) as container:
        pieces = [frame.to_ndarray() for frame in container.decode(audio=0)]
    mono: NDArray[np.float32] = np.concatenate(pieces, axis=1).mean(axis=0)
    return mono


class Floor:
    """What nobody can leave out: the pictures that the wanted one refers to, and 10 s of sound.

    Packets are read beforehand; only the decoders run. Nothing is made of what they return.
    """

    def __init__(self, clip: Path) -> None:
        """Read the clip's packets up to the middle, and all of its sound."""
        self._container = av.open(str(clip))
        self._video = self._container.streams.video[0]
        self._audio = self._container.streams.audio[0]
        self._video.thread_type = "NONE"
        assert self._video.time_base is not None
        middle = MIDDLE_S / self._video.time_base
        packets = [packet for packet in self._container.demux(self._video) if packet.size]
        wanted = next(
            i
            for i, packet in enumerate(packets)
            if packet.pts is not None and packet.pts <= middle < packet.pts + (packet.duration or 0)
        )
        first = max(i for i in range(wanted + 1) if packets[i].is_keyframe)
        self._pictures = packets[first : wanted + 1]
        self._container.seek(0)
        self._sound = [packet for packet in self._container.demux(self._audio) if packet.size]

    def decode(self) -> None:
        """Run the two decoders."""
        codec = self._video.codec_context
        codec.flush_buffers()
        codec.skip_frame = "NONREF"
        for packet in self._pictures[:-1]:
            codec.decode(packet)
        codec.skip_frame = "DEFAULT"
        codec.decode(self._pictures[-1])
        codec.decode(None)
        self._audio.codec_context.flush_buffers()
        for sound in self._sound:
            self._audio.codec_context.decode(sound)
