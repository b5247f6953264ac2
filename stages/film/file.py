"""The film that is made: H.264 and AAC in an MP4 that starts to play before it is loaded whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.error import FFmpegError
from av.packet import Packet
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from ...machine import granted_cores
from .track import Samples, SoundStream

_CLOCK_HZ = 90_000
# Without B-frames the file's length is exact also where pictures are not evenly spaced.
_VIDEO_OPTIONS = {"preset": "veryfast", "crf": "20", "g": "60", "bf": "0"}
_AUDIO_OPTIONS = {"b": "160000"}
_AAC_RATES_HZ = (48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_BT709 = 1  # of H.273, for matrix, primaries and transfer alike
_MAX_THREADS = 4


class FilmError(Exception):
    """The file cannot be written; `errno` says why."""

    def __init__(self, error: FFmpegError) -> None:
        """Keep the number of an error of the operating system."""
        self.errno = error.errno or 0
        super().__init__(error.strerror)


class Film:
    """An MP4 file being written; use as a context manager, call `finish` at the end."""

    def __init__(
        self, path: str, size: tuple[int, int], rate_hz: Fraction, sound: SoundStream
    ) -> None:
        """Open the file.

        Args:
            path: A draft; an existing file is replaced.
            size: Width and height, even.
            rate_hz: About how many pictures a second there will be.
            sound: What will be heard.

        Raises:
            FilmError: It cannot be written.
        """
        with _writing():
            options = {"movflags": "+faststart"}
            self._container = av.open(f"file:{path}", "w", format="mp4", options=options)
            video = self._container.add_stream("libx264", rate=rate_hz, options=_VIDEO_OPTIONS)
            (video.width, video.height), video.pix_fmt = size, "yuv420p"
            video.codec_context.time_base = Fraction(1, _CLOCK_HZ)
            video.thread_count = min(_MAX_THREADS, granted_cores())
            codec: Any = video.codec_context
            codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
            codec.color_range = ColorRange.MPEG
            self._video = video
            self._sound_rate_hz = sound.rate_hz
            self._layout, self._mixes = _layout(sound.layout)
            rate = sound.rate_hz if sound.rate_hz in _AAC_RATES_HZ else _AAC_RATES_HZ[0]
            to = "mono" if self._layout == "mono" else "stereo"
            self._audio = self._container.add_stream(
                "aac", rate=rate, options=_AUDIO_OPTIONS, layout=to
            )
            self._resampler = AudioResampler("fltp", to, rate)
            self._num_samples = 0
            self._lengths: dict[int, int] = {}

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file, in whatever state it is."""
        with suppress(FFmpegError):
            self._container.close()

    def add_picture(self, picture: NDArray[np.uint8], time_s: float, until_s: float) -> None:
        """Append `(H, W, 3)` uint8 RGB, shown from one time to another.

        Raises:
            FilmError: It cannot be written.
        """
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.time_base = Fraction(1, _CLOCK_HZ)
        frame.pts = round(time_s * _CLOCK_HZ)
        self._lengths[frame.pts] = round(until_s * _CLOCK_HZ) - frame.pts
        with _writing():
            self._mux_pictures(self._video.encode(frame))

    def add_sound(self, samples: Samples) -> None:
        """Append `(channels, n)` samples in [-1, 1].

        Raises:
            FilmError: It cannot be written.
        """
        if self._mixes:
            samples = samples.mean(axis=0, keepdims=True)
        samples = np.ascontiguousarray(samples)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=self._layout)
        frame.sample_rate = self._sound_rate_hz
        frame.time_base = Fraction(1, self._sound_rate_hz)
        frame.pts = self._num_samples
        self._num_samples += samples.shape[1]
        with _writing():
            for converted in self._resampler.resample(frame):
                self._container.mux(self._audio.encode(converted))

    def finish(self) -> None:
        """Write what the encoders still hold, and the index.

        Raises:
            FilmError: It cannot be written.
        """
        with _writing():
            for converted in self._resampler.resample(None):
                self._container.mux(self._audio.encode(converted))
            self._container.mux(self._audio.encode(None))
            self._mux_pictures(self._video.encode(None))
            self._container.close()

    def _mux_pictures(self, packets: Iterable[Packet[Any]]) -> None:
        """Write packets with the length of their pictures: PyAV does not hand it through."""
        for packet in packets:
            packet.duration = self._lengths.pop(packet.pts or 0, 0)
            self._container.mux(packet)


def _layout(name: str) -> tuple[str, bool]:
    """Return the layout in which sound is handed on, and whether it is mixed to mono for that."""
    known = name in ("mono", "stereo") or "channels" not in name
    return (name, False) if known else ("mono", True)


@contextmanager
def _writing() -> Iterator[None]:
    """Tell errors of what is written from those of what is read.

    Raises:
        MemoryError: FFmpeg could not allocate.
        FilmError: Any other error of FFmpeg.
    """
    try:
        yield
    except FFmpegError as error:
        if isinstance(error, MemoryError):
            raise MemoryError from None
        raise FilmError(error) from None
