"""What stands in for a run that hears: low notes at the left, high ones at the right."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from avpipe.train.runs.localizer import Localizer
from media_factory import write_clip

RATE_HZ = 22050


class Pitch:
    """Hears low notes at the left and high notes at the right; stands in for a run."""

    recipe = SimpleNamespace(spectrogram="257x276")
    window_s = 3.0

    def localize(
        self, frame: Any, waveform: Any, rate_hz: int, *, size: tuple[int, int], geometry: str
    ) -> Any:
        spectrum = np.abs(np.fft.rfft(waveform)) ** 2
        pitch_hz = np.fft.rfftfreq(len(waveform), 1 / rate_hz)
        share = spectrum[pitch_hz > 1000].sum() / spectrum.sum()
        columns = np.arange(size[1]) / (size[1] - 1)
        row = (1 - share) * (1 - columns) + share * columns
        return np.broadcast_to(row, size).astype(np.float32)


PITCH = cast("Localizer", Pitch())


def low_then_high(path: Path) -> Path:
    """Write a clip: a low note in its first half, a high one in its second."""
    seconds = 8.0
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    hertz = np.where(time_s < seconds / 2, 300, 3000)
    note = (0.3 * np.sin(2 * np.pi * hertz * time_s)).astype(np.float32)
    return write_clip(path, seconds=seconds, fps=10, rate_hz=RATE_HZ, waveform=note, gains=(1,))
