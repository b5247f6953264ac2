"""The kinds of spectrogram: how each is cut from sound. Nothing heavy is imported here."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..cache.defaults import SPECTROGRAM

SEGMENT = 512
"""Samples per segment, hence 257 frequencies."""
NUM_BINS = SEGMENT // 2 + 1
FLOOR = 1e-7
"""Added before the logarithm, as SLAVC, EZ-VSL and LVS do: silence becomes -16.118."""
NUM_BANDS = 64
LEAST = 1e-10
"""What decibels of mel bands are taken of at least: silence is -100 dB."""

# Kept on each side of a 3 s window for the time-shift view: 1.004 s at 22.05 kHz and hop 238.
_MARGIN_COLUMNS = 93


@dataclass(frozen=True)
class FrontEnd:
    """How one kind of spectrogram is cut from sound.

    Attributes:
        name: The kind, `257x276` for example.
        rate_hz: Sampling rate the sound is brought to.
        hop: Samples from one column to the next.
        num_columns: Columns of the centred window.
        window_s: Length of the centred window in seconds.
        margin: Columns stored on each side of the window.
        mel: Whether it is of mel bands in decibels, not of the density's natural logarithm.
    """

    name: str
    rate_hz: int
    hop: int
    num_columns: int
    window_s: float
    margin: int
    mel: bool = False

    @property
    def num_bins(self) -> int:
        """Rows: frequencies, or mel bands."""
        return NUM_BANDS if self.mel else NUM_BINS

    @property
    def silence(self) -> float:
        """What silence becomes, the lowest value there is."""
        return 10 * math.log10(LEAST) if self.mel else math.log(FLOOR)

    @property
    def window_samples(self) -> int:
        """Samples of the centred window at `rate_hz`."""
        return round(self.rate_hz * self.window_s)

    @property
    def wide_columns(self) -> int:
        """Columns of the wide spectrogram: the window and both margins."""
        return self.num_columns + 2 * self.margin

    @property
    def wide_samples(self) -> int:
        """Samples under the wide spectrogram at `rate_hz`."""
        return self.window_samples + 2 * self.margin * self.hop


FRONT_ENDS = {
    front_end.name: front_end
    for front_end in (
        FrontEnd(
            SPECTROGRAM, 22050, 238, 276, 3.0, _MARGIN_COLUMNS
        ),  # SLAVC, EZ-VSL, audio-visual distillation
        FrontEnd(
            "257x300", 22050, 219, 300, 3.0, _MARGIN_COLUMNS
        ),  # the size the SLAVC paper states
        FrontEnd("16k-257x200", 16000, 238, 200, 3.0, _MARGIN_COLUMNS),  # FNAC at 16 kHz
        FrontEnd("16k-257x299", 16000, 159, 299, 3.0, _MARGIN_COLUMNS),  # multi-positive alignment
        FrontEnd("16k-257x671", 16000, 238, 671, 10.0, 0),  # LVS hears the whole 10 s
        FrontEnd(
            "16k-257x1004", 16000, 159, 1004, 10.0, 0
        ),  # VGGSound's classifier hears the whole 10 s
        FrontEnd(
            "16k-mel64", 16000, 80, 201, 1.0, 0, mel=True
        ),  # DSOL and sound promotion hear 1 s
    )
}
