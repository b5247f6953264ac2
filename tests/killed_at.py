"""Run `avpipe` and die by SIGKILL at one moment: `run`, with WHAT N ARGUMENT... in `sys.argv`.

`file` is the N-th file that is being made durable, half of it written; `maps` is the N-th call of
the network on frames. The processes it leaves behind are printed
behind the word `left`.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
from pathlib import Path
from typing import Any, NoReturn

from avpipe.pipeline.main import main
from processes import descendants


def die() -> NoReturn:
    """End without a chance to tidy up."""
    print("\nleft", *descendants(os.getpid()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def at_file(number: int) -> None:
    """Die when the N-th file is flushed to disk, after half of it is gone."""
    calls, fsync = iter(range(1, number)), os.fsync

    def flush(fd: int) -> None:
        if stat.S_ISREG(os.fstat(fd).st_mode) and next(calls, None) is None:
            os.truncate(f"/proc/self/fd/{fd}", Path(f"/proc/self/fd/{fd}").stat().st_size // 2)
            die()
        fsync(fd)

    os.fsync = flush


def at_maps(number: int) -> None:
    """Die when the network is given frames for the N-th time."""
    from avpipe.train.nets.model import AudioVisualModel

    calls, embed = iter(range(1, number)), AudioVisualModel.embed_frames

    def embed_frames(*given: Any) -> Any:
        return die() if next(calls, None) is None else embed(*given)

    AudioVisualModel.embed_frames = embed_frames  # type: ignore[method-assign]


def run() -> NoReturn:
    """Do what the command line says."""
    what, number, *arguments = sys.argv[1:]
    {"file": at_file, "maps": at_maps}[what](int(number))
    sys.exit(main(arguments))
