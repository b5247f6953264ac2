"""What the system refuses, wherever it happens, becomes one line and the exit code of its side.

Code that expects a refusal says more about it; here ends what nobody expected.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import AvpipeError, CacheUnwritableError, InputError, remedy

_OURS = frozenset({"cache", "out", "run", "runs"})
"""Parameters of commands that name what avpipe writes; what others name is the user's."""
_IN_TEXTS = (errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ESTALE)
"""Numbers that libraries of C tell by their text alone."""
_NO_THREAD = "can't start new thread"  # Python's words for EAGAIN


def as_refusal(error: BaseException, parameters: Mapping[str, Any]) -> AvpipeError | None:
    """Return the error to end with if the system refused something, None if it is another.

    Args:
        error: What was raised.
        parameters: The command's, as it was called: they tell what is input.
    """
    refused = _system_error(error)
    if refused is None:
        return None
    path = _file_of(refused, error.__traceback__)
    where = f"{path}: " if path else ""
    why = refused.strerror or os.strerror(refused.errno or 0)
    if path and _is_input(path, parameters):
        return InputError(f"{where}{why}")
    does = remedy(refused, "make it writable or free some space")
    return CacheUnwritableError(f"{where}{why}; {does}, then run the same command again")


def _system_error(error: BaseException) -> OSError | None:
    """Return the system's error with its number."""
    if isinstance(error, OSError) and error.errno:
        return error
    if isinstance(error, RuntimeError) and _NO_THREAD in str(error):
        return OSError(errno.EAGAIN, str(error))
    if isinstance(error, ImportError | OSError):
        for number in _IN_TEXTS:
            if os.strerror(number) in str(error):
                return OSError(number, os.strerror(number))
    return None


def _file_of(error: OSError, trace: TracebackType | None) -> str:
    """Return the file that was refused.

    The system names one only where it was opened by name. Of a read, a write or a close the file is
    the one that the innermost function held.
    """
    if error.filename is not None:
        return os.fsdecode(error.filename) if not isinstance(error.filename, int) else ""
    frames = []
    while trace is not None:
        frames.append(trace.tb_frame.f_locals)
        trace = trace.tb_next
    return next((name for held in reversed(frames) for name in _names_in(held.values())), "")


def _names_in(values: Iterable[object]) -> Iterator[str]:
    for value in values:
        name = value if isinstance(value, Path) else getattr(value, "name", None)
        if isinstance(value, Path) or (hasattr(value, "fileno") and isinstance(name, str)):
            yield str(name)


def _is_input(path: str, parameters: Mapping[str, Any]) -> bool:
    """Whether a file lies below what the command was given to read, or cannot be read at all."""
    if Path(path).is_file() and not os.access(path, os.R_OK):
        return True
    found = [
        (len(named.absolute().parts), name in _OURS)
        for name, value in parameters.items()
        for named in _paths_in(value)
        if Path(path).absolute().is_relative_to(named.absolute())
    ]
    _, is_ours = max(found, default=(0, True))  # the innermost of folders in each other
    return not is_ours


def _paths_in(value: object) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _paths_in(item)
