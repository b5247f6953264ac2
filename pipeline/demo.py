"""`make demo`: the whole way on synthetic clips, command by command, with what each took."""

from __future__ import annotations

import sys
import time

from .main import main

NUM_CLIPS = 60


def demo(out: str) -> int:
    """Make clips, extract them, and look at the cache, in the folder `out`; a second time resumes.

    Returns:
        The exit code of the first command that fails, else 0.
    """
    cache = f"{out}/avcache"
    start = time.monotonic()
    for words in (
        ["synth", f"{out}/synth", "--clips", str(NUM_CLIPS)],
        ["extract", f"{out}/synth/videos", "--cache", cache],
        ["status", "--cache", cache],
        ["verify", "--cache", cache],
    ):
        print(f"\n$ avpipe {' '.join(words)}", flush=True)
        began = time.monotonic()
        code = main(words)
        print(f"({time.monotonic() - began:.1f} s)", flush=True)
        if code:
            return code
    print(f"\nThe cache is {cache}: {time.monotonic() - start:.1f} s in all.")
    return 0


if __name__ == "__main__":
    sys.exit(demo(sys.argv[1]))
