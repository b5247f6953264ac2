"""The `ffmpeg` program: which one there is, and running it so that it touches nothing else."""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

import imageio_ffmpeg

from ...drafts import temporary_folder
from ...errors import MissingDependencyError

_ADDRESS = re.compile(r" @ (0x)?[0-9a-f]{4,}")  # differs from run to run
_SAYS_NOTHING = re.compile(
    "^Last message repeated|^Conversion failed|Nothing was written into|Terminating thread"
    "|Task finished with error"
)
_NUM_LAST = 2  # of what it says
_MAX_WORDS = 160


@dataclass(frozen=True)
class Ran:
    """What a run of the program left.

    Attributes:
        output: Its standard output.
        messages: What it said.
        words: The last of that in one line, with no address and no path; "" if it said nothing.
        signal: Name of the signal that ended it; "" if none did.
    """

    output: bytes
    messages: bytes
    words: str
    signal: str


@functools.cache
def program() -> str:
    """Return the `ffmpeg` of the system, else the one inside the package imageio-ffmpeg.

    Raises:
        MissingDependencyError: There is neither.
    """
    found = shutil.which("ffmpeg")
    if found is not None:
        return os.path.abspath(found)  # noqa: PTH100 - links stay
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:
        raise MissingDependencyError(
            "no ffmpeg program: install ffmpeg, or use --decoder pyav"
        ) from None


@functools.cache
def version() -> str:
    """Return the program's version.

    Raises:
        MissingDependencyError: There is no program, or it does not run.
    """
    try:
        done = subprocess.run(
            [program(), "-version"], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except OSError as error:
        raise unusable(error.strerror or "") from None
    words = done.stdout.decode(errors="replace").split()
    if done.returncode or len(words) < 3:
        raise unusable(_signal(done.returncode) or _last_words(done.stderr, "") or "no version")
    return f"ffmpeg program {words[2]}"


def unusable(why: str) -> MissingDependencyError:
    """Return the error of a program that is at fault itself."""
    return MissingDependencyError(
        f"{program()} cannot be used ({why}): install another ffmpeg, 4.4 or newer, or use "
        "--decoder pyav"
    )


def run_program(arguments: Sequence[str], path: str) -> Ran:
    """Run the program in an empty folder, where nothing is left of what it may write.

    Args:
        arguments: Its arguments, without its name.
        path: The file it reads, absolute; left out of `words`.

    Raises:
        MissingDependencyError: There is no program, or it does not run.
    """
    with temporary_folder() as nowhere:
        try:
            done = subprocess.run(
                [program(), *arguments],
                cwd=nowhere,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
        except OSError as error:
            raise unusable(error.strerror or "") from None
    words = _last_words(done.stderr, path)
    return Ran(done.stdout, done.stderr, words, _signal(done.returncode))


def _signal(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else ""


def _last_words(messages: bytes, path: str) -> str:
    """Return the last lines of what a program said, as one that is the same each time."""
    if path:
        messages = messages.replace(os.fsencode(path), b"the file")
    lines = messages.decode(errors="replace").split("\n")
    lines = [_ADDRESS.sub("", line).strip().rstrip(".") for line in lines]
    told = [line for line in lines if line and not _SAYS_NOTHING.search(line)]
    words = "; ".join(told[-_NUM_LAST:])
    return words if len(words) <= _MAX_WORDS else told[-1][:_MAX_WORDS]
