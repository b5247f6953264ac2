"""The sound of a clip from its start to its end: without a gap, as much as is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np
from av.audio.frame import AudioFrame
from av.error import FFmpegError
from numpy.typing import NDArray

from ...errors import ClipError, Reason
from ..media.container import raise_if_environment
from ..media.mono import JITTER_S, MAX_RATE_HZ, PREROLL_S, mean_of
from ..media.packets import start_s, time_base
from ..media.pyav_sound import channels_of
from .source import FilmSource, packets_from

Samples = NDArray[np.float32]
_MAX_SILENCE_S = 1.0  # made at a time


class SoundStream:
    """Sound that is read forward.

    Attributes:
        rate_hz: Its sampling rate, that of the first piece.
        layout: Its channels, by FFmpeg's name.
        position: So many samples were given out.
    """

    def __init__(self, source: FilmSource) -> None:
        """Read the first piece.

        Raises:
            ClipError: no_audio where nothing can be heard, or decode_error.
        """
        self._source = source
        pieces = self._decoded()
        first = next(pieces, None)
        if first is None:
            raise ClipError(Reason.NO_AUDIO, "none of its sound can be decoded")
        self.rate_hz = first[0].sample_rate
        self.layout = first[0].layout.name
        if not 0 < self.rate_hz <= MAX_RATE_HZ:
            raise ClipError(Reason.DECODE_ERROR, f"sound at {self.rate_hz} Hz")
        self._num_channels = len(first[0].layout.channels)
        self._pieces = self._continuous(chain([first], pieces))
        self._rest: Samples | None = None
        self.position = 0

    def until(self, sample: int) -> Iterator[Samples]:
        """Yield `(channels, n)` samples in [-1, 1], from where the last call ended up to a sample.

        Sample 0 is the clip's start. Where there is no sound, or a damaged one, there are zeros; it
        ends with the last sound.

        Raises:
            ClipError: decode_error where samples are not finite.
        """
        while self.position < sample:
            piece = next(self._pieces, None) if self._rest is None else self._rest
            if piece is None:
                return
            count = min(sample - self.position, piece.shape[1])
            self._rest = piece[:, count:] if count < piece.shape[1] else None
            self.position += count
            yield piece[:, :count]

    def _continuous(self, decoded: Iterator[tuple[AudioFrame, float | None]]) -> Iterator[Samples]:
        """Place pieces by their time stamps, as `SoundWindow` does."""
        source, rate_hz = self._source, self.rate_hz
        limit = (source.last_s - source.first_s) * rate_hz
        written, index = 0, None
        for frame, time_s in decoded:
            if frame.sample_rate != rate_hz or len(frame.layout.channels) != self._num_channels:
                continue
            if time_s is not None:
                said = round((time_s - source.first_s) * rate_hz)
                if index is None or abs(said - index) > JITTER_S * rate_hz:
                    index = said
            begin = index or 0
            index = begin + frame.samples
            if begin >= limit:
                break
            while begin > written:
                count = min(begin - written, round(_MAX_SILENCE_S * rate_hz))
                yield np.zeros((self._num_channels, count), np.float32)
                written += count
            samples = _samples(frame)[:, written - begin :]
            samples = samples[:, : int(min(limit - written, samples.shape[1]))]
            written += samples.shape[1]
            if samples.size:
                yield samples

    def _decoded(self) -> Iterator[tuple[AudioFrame, float | None]]:
        """Yield pieces, each with its time if it has one."""
        source, codec = self._source, self._source.audio.codec_context
        codec.thread_count = 1
        base, origin_s = float(time_base(source.audio)), start_s(source.sound_container)
        from_s = source.first_s - PREROLL_S
        for packet in chain(packets_from(source.sound_container, source.audio, from_s), (None,)):
            try:
                frames = codec.decode(packet)
            except FFmpegError as error:
                raise_if_environment(source.sound_container.name.removeprefix("file:"), error)
                continue
            for frame in frames:
                if frame.samples:
                    yield frame, None if frame.pts is None else frame.pts * base - origin_s


def _samples(frame: AudioFrame) -> Samples:
    """Return a piece as `(channels, n)`."""
    channels = channels_of(frame)
    samples = np.empty((len(channels), frame.samples), np.float32)
    for channel, row in zip(channels, samples, strict=True):
        mean_of([[channel]], row)
    if not np.isfinite(samples).all():
        raise ClipError(Reason.DECODE_ERROR, "sound with samples that are not finite numbers")
    return np.clip(samples, -1, 1, out=samples)


class SlidingWindow:
    """The mono sound around a moment that only goes forward; little more is held in memory."""

    def __init__(self, sound: SoundStream, first_s: float, window_s: float) -> None:
        """Start where the sound starts.

        Args:
            sound: From its start.
            first_s: Time of its first sample.
            window_s: Length of the window.
        """
        self._sound = sound
        self._rate_hz = sound.rate_hz
        self._first_s = first_s
        self._length = round(window_s * sound.rate_hz)
        self._held = np.empty(0, np.float32)
        self._begin = 0

    def around(self, time_s: float) -> Samples:
        """Return the window centred on a moment, no earlier than the last, `(n,)` in [-1, 1].

        At the ends it is moved into the sound there is, by half its length at most; beyond that
        nothing is heard, zeros. Shorter than the window where there is less sound.
        """
        middle = round((time_s - self._first_s) * self._rate_hz)
        wanted = max(middle + self._length // 2, self._length)
        pieces = [piece.mean(axis=0) for piece in self._sound.until(wanted)]
        self._held = np.concatenate([self._held, *pieces])
        end = self._begin + len(self._held)
        last = wanted if end >= wanted else max(end, middle)
        first = max(last - self._length, 0)
        self._forget(first - self._length)
        heard = self._held[max(first - self._begin, 0) : max(last - self._begin, 0)]
        if end < last and last > self._length:
            return np.concatenate([heard, np.zeros(last - max(end, first), np.float32)])
        return heard

    def _forget(self, before: int) -> None:
        drop = min(max(before - self._begin, 0), len(self._held))
        self._held, self._begin = self._held[drop:].copy(), self._begin + drop
