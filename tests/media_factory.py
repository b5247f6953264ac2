"""Small clips whose pictures tell their number and whose sound tells its time, in any codec.

Every picture is four coloured quarters (red, green / blue, grey) with its own number as a bar code
across the middle. The sound is noise that is the same for everybody, so that correlating what was
decoded with it says to a sample which stretch was decoded.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import scipy.fft
from numpy.typing import NDArray

BITS = 12
CORNERS = np.array([[(200, 30, 30), (30, 200, 30)], [(30, 30, 200), (128, 128, 128)]], np.uint8)

H264 = ("-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-g", "50", "-pix_fmt", "yuv420p")
AAC = ("-c:a", "aac", "-aac_coder", "fast", "-aac_pns", "0", "-b:a", "128k")


def run_ffmpeg(*arguments: str | Path, stdin: bytes = b"") -> bytes:
    """Run the ffmpeg program; return its output."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr.decode(errors='replace')}")
    return done.stdout


def picture(number: int, size: tuple[int, int] = (160, 120)) -> NDArray[np.uint8]:
    """Return picture `number`, (H, W, 3) RGB."""
    width, height = size
    rows = (np.arange(height) * 2 >= height).astype(int)
    columns = (np.arange(width) * 2 >= width).astype(int)
    image = CORNERS[rows][:, columns]
    edges = np.linspace(0.1 * width, 0.9 * width, BITS + 1).round().astype(int)
    band = slice(round(0.35 * height), round(0.65 * height))
    for bit in range(BITS):
        image[band, edges[bit] : edges[bit + 1]] = 235 if number >> bit & 1 else 16
    return image


def read_number(frame: NDArray[np.uint8]) -> int:
    """Return the number of an upright picture, whatever it was scaled to."""
    height, width = frame.shape[:2]
    row = frame[round(0.45 * height) : round(0.55 * height)].mean(axis=(0, 2))
    centres = (np.linspace(0.1, 0.9, BITS + 1) + 0.4 / BITS)[:BITS] * width
    return sum(int(row[int(centre)] > 125) << bit for bit, centre in enumerate(centres))


def corners(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the mean colours of the four corners, (2, 2, 3), rows first."""
    height, width = (side // 5 for side in frame.shape[:2])
    return np.array(
        [
            [frame[:height, :width].mean((0, 1)), frame[:height, -width:].mean((0, 1))],
            [frame[-height:, :width].mean((0, 1)), frame[-height:, -width:].mean((0, 1))],
        ]
    )


@functools.lru_cache(8)
def sound(seconds: float, rate_hz: int) -> NDArray[np.float32]:
    """Return the common noise, below 3 kHz: one random value per 1/6000 s, joined smoothly."""
    values = np.random.default_rng(7).uniform(-0.5, 0.5, round(seconds * 6000) + 2)
    at = np.arange(round(seconds * rate_hz)) * 6000 / rate_hz
    low = at.astype(int)
    weight = 0.5 - 0.5 * np.cos(np.pi * (at - low))
    joined = ((1 - weight) * values[low] + weight * values[low + 1]).astype(np.float32)
    joined.flags.writeable = False
    return joined


def sound_time_s(waveform: NDArray[np.float32], rate_hz: int, seconds: float) -> float:
    """Return which time of `sound(seconds, rate_hz)` a decoded waveform begins with."""
    num_samples = round(seconds * rate_hz)
    size = scipy.fft.next_fast_len(num_samples + len(waveform), real=True)
    heard = scipy.fft.rfft(waveform.astype(np.float32), size)
    lag = int(np.argmax(scipy.fft.irfft(_spectrum(seconds, rate_hz, size) * heard.conj(), size)))
    return (lag if lag <= num_samples else lag - size) / rate_hz


@functools.lru_cache(4)
def _spectrum(seconds: float, rate_hz: int, size: int) -> NDArray[np.complex64]:
    """Return the spectrum of `sound`, with zeros behind it."""
    found: NDArray[np.complex64] = scipy.fft.rfft(sound(seconds, rate_hz), size)
    return found


def write_wav(path: Path, channels: NDArray[np.float32], rate_hz: int) -> Path:
    """Write (channels, n) samples in [-1, 1] as 16-bit WAV."""
    data = np.rint(np.clip(channels, -1, 1) * 32767).astype("<i2").T.tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels.shape[0])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(data)
    return path


@functools.cache
def _kept() -> Path:
    """Return a folder for clips that were written once; it goes with this process."""
    folder = Path(tempfile.mkdtemp(prefix="avpipe-clips-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def write_clip(
    path: Path,
    *,
    seconds: float = 4.0,
    fps: float = 25,
    size: tuple[int, int] = (160, 120),
    rate_hz: int = 44100,
    gains: Sequence[float] = (1.0, 0.5),
    video: Sequence[str] | None = H264,
    audio: Sequence[str] | None = AAC,
    video_input: Sequence[str] = (),
    audio_input: Sequence[str] = (),
    output: Sequence[str] = (),
    audio_seconds: float | None = None,
    waveform: NDArray[np.float32] | None = None,
) -> Path:
    """Write one clip with the ffmpeg program; a copy, where the same was written before.

    Args:
        path: Its suffix chooses the container.
        seconds: Length of the pictures.
        fps: Pictures per second.
        size: Width and height.
        rate_hz: Sampling rate.
        gains: One per channel; the channel is that much of `sound`.
        video: Options of the picture's encoder; None for a clip without pictures.
        audio: Options of the sound's encoder; None for a clip without sound.
        video_input: Options before the pictures' input, such as `-itsoffset 1`.
        audio_input: Options before the sound's input.
        output: Further options of the output.
        audio_seconds: Length of the sound, if not that of the pictures.
        waveform: (n,) samples instead of `sound`.
    """
    heard = b"" if waveform is None else waveform.tobytes()
    options = (path.suffix, seconds, fps, size, rate_hz, tuple(gains), video, audio, heard)
    options += (video_input, audio_input, output, audio_seconds)
    kept = _kept() / hashlib.sha256(repr(options).encode()).hexdigest()
    if kept.exists():
        return Path(shutil.copyfile(kept, path))
    arguments: list[str | Path] = []
    frames = b""
    if video is not None:
        frames = b"".join(picture(i, size).tobytes() for i in range(round(seconds * fps)))
        geometry = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}")
        arguments += [*video_input, *geometry, "-framerate", str(fps), "-i", "-"]
    wav = path.with_name("sound-of-a-clip.wav")
    if audio is not None:
        mono = sound(audio_seconds or seconds, rate_hz) if waveform is None else waveform
        write_wav(wav, np.outer(gains, mono).astype(np.float32), rate_hz)
        arguments += [*audio_input, "-i", wav]
    run_ffmpeg(*arguments, *(video or ()), *(audio or ()), *output, f"file:{path}", stdin=frames)
    wav.unlink(missing_ok=True)
    shutil.copyfile(path, kept)
    return path
