"""A decoder's process that does what must not happen, as its argument says. Run as the child."""

from __future__ import annotations

import ctypes
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from avpipe.errors import ClipError, Reason
from avpipe.stages import features
from avpipe.stages.workers import decoder

honest = features.make_row


def misbehave(path: str, **options: Any) -> features.Row:
    """Do it, then decode the clip."""
    row = honest(path, **options)
    match sys.argv[1]:
        case "segfault":
            ctypes.string_at(0)
        case "bug":
            raise KeyError("a mistake of ours")
        case "bait":
            Path(path).with_name("bait.mp4").read_bytes()
        case "write":
            Path(path).with_name("left-behind").touch()
        case "no JPEG":
            row["frame_jpeg"] = b"none"
        case "NaN":
            row["spectrogram_wide"] = row["spectrogram_wide"] * np.float16(np.nan)
        case "missing":
            raise ClipError(Reason.MISSING, "gone")
        case "path":
            raise ClipError(Reason.DECODE_ERROR, f"at {path}")
        case "greedy":
            np.ones(64 << 20).sum()
        case "busy":
            begun = time.process_time()
            while time.process_time() < begun + 0.5:
                pass
    return row


features.make_row = misbehave

if __name__ == "__main__":
    decoder.main()
