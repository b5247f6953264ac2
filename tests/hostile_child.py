"""A decoder process whose clips misbehave in C, by the name of their file. Run as the child."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import sys
import time
from pathlib import Path
from typing import Any

from avpipe.errors import ClipError, Reason
from avpipe.stages import features
from avpipe.stages.workers import decoder

honest = features.make_row
kept: list[mmap.mmap] = []


def misbehave(path: str, **options: Any) -> features.Row:
    match Path(path).name:
        case "abort":
            os.abort()
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(3)
        case "hang":
            ctypes.PyDLL(None).sleep(1000)  # holds the lock of the interpreter
        case "eat":
            return {"frame_jpeg": bytes(1 << 40)}  # type: ignore[typeddict-item]
        case "eat in C":
            pieces = [bytearray(1 << 26) for _ in range(1000)]
            return {"frame_jpeg": bytes(len(pieces))}  # type: ignore[typeddict-item]
        case "take":
            for size in (1 << 24, 1 << 20, 1 << 16):  # as a file that FFmpeg does not let go of
                with contextlib.suppress(OSError):
                    while True:
                        kept.append(mmap.mmap(-1, size))
            raise ClipError(Reason.DECODE_ERROR, "it took all")
        case "print":
            print("a stray line")
            os.write(1, b"another one, past Python\n")
            sys.stdout.flush()
        case "bug":
            raise KeyError("a mistake of ours")
        case "garbage":
            for number in range(3, 20):
                try:
                    os.write(number, b"\xff" * 4096)
                except OSError:
                    continue
            time.sleep(1000)
    return honest(path.replace("/print", ""), **options)


features.make_row = misbehave

if __name__ == "__main__":
    decoder.main()
