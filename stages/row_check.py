"""The gate in front of the cache: a damaged file may decode to nonsense, which is no clip."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import ClipError, Reason
from .media.moments import SHORT_SIDE

if TYPE_CHECKING:
    from .features import Row

_LEAST = {False: -16.2, True: -100.1}  # log(1e-7) and -100 dB, rounded to float16
_LARGEST = {False: 10.0, True: 80.0}
"""More than 60 dB above a tone of full scale; by whether a spectrogram is of mel decibels."""
_INFINITE, _NEGATIVE = 0x7C00, 0x8000
"""Bits of float16's infinity, and of its minus zero."""


def require_sane(row: Row, *, wide_columns: int, max_samples: int, decibels: bool = False) -> None:
    """Refuse a row that no clip can have.

    Args:
        row: What a clip became.
        wide_columns: Of its spectrogram.
        max_samples: Of its waveform.
        decibels: Whether the spectrogram is in decibels, not in natural logarithms.

    Raises:
        ClipError: no_audio when no sample of the waveform is left; else decode_error.
    """
    if not len(row["waveform"]):
        raise ClipError(Reason.NO_AUDIO, "no sound is left around the picture")
    frame_s, duration_s = row["frame_pts_s"], row["duration_s"]
    low, high = row["valid_cols"]
    wide = row["spectrogram_wide"]
    finite, least, largest = bounds(wide)
    wrong = {
        f"a picture at {frame_s:.3f} s of {duration_s:.3f} s": not (
            math.isfinite(duration_s) and -1e-3 <= frame_s <= duration_s
        ),
        f"a picture of {row['frame_hw']}": min(row["frame_hw"]) != SHORT_SIDE,
        "an empty JPEG": not row["frame_jpeg"],
        "sound too loud to compute with": not finite or largest > _LARGEST[decibels],
        "a spectrogram below silence": least < _LEAST[decibels],
        f"columns {low} to {high} of {wide_columns}": not (
            wide.shape[1] == wide_columns and 0 <= low < high <= wide_columns
        ),
        f"{len(row['waveform'])} samples of sound": len(row["waveform"]) > max_samples,
        f"its moment at sample {row['frame_sample']}": not (
            -max_samples <= row["frame_sample"] <= 2 * max_samples
        ),
    }
    for what, is_wrong in wrong.items():
        if is_wrong:
            raise ClipError(Reason.DECODE_ERROR, what)


def bounds(values: NDArray[np.float16]) -> tuple[bool, float, float]:
    """Return whether all values are finite, and the lowest below 0 and the highest above 0, else 0.

    Of numbers of one sign the bits are in the order of their sizes, and integers are compared ten
    times as fast as float16.

    Args:
        values: Of any shape.
    """
    bits = values.view(np.int16)
    positive = max(int(bits.max()), 0)  # those below 0 are below 0 as integers too
    negative = max(int(bits.view(np.uint16).max()), _NEGATIVE)  # these above all others
    finite = positive < _INFINITE and negative < _NEGATIVE + _INFINITE
    low, high = np.array([negative, positive], np.uint16).view(np.float16).tolist()
    return finite, low, high
