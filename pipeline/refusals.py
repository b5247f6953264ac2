"""What is refused in one line: what a command was asked as a whole, and what the system refuses.

Code that expects a refusal of the system says more about it; here ends what nobody expected, with
the exit code of its side. Of a command: options that would be passed over in silence, and addresses
in place of folders.
"""

from __future__ import annotations

import errno
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, get_args

from ..cache.addresses import is_address, is_other_address
from ..errors import AvpipeError, CacheUnwritableError, InputError, UsageError, remedy
from ..train.runs.hub import is_hub_address
from .settings import HUB, With, Without

_OURS = frozenset({"cache", "out", "run", "runs"})
"""Parameters of commands that name what avpipe writes; what others name is the user's."""
_TEXTS = frozenset({"inputs", "root"})
"""Parameters that hold paths as they were typed: they may be addresses."""
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
        for named in _paths_in([Path(text) for text in value or ()] if name in _TEXTS else value)
        if Path(path).absolute().is_relative_to(named.absolute())
    ]
    _, is_ours = max(found, default=(0, True))  # the innermost of folders in each other
    return not is_ours


def check_asked(function: Callable[..., None], context: Any) -> None:
    """Check the parameters of a command beside each other.

    Args:
        function: The command's; its signature says which option goes with which.
        context: The parser's, with the values and where each came from.

    Raises:
        UsageError: Naming the option.
    """
    parameters = inspect.signature(function, eval_str=True).parameters
    marks = {name: get_args(one.annotation)[1:] for name, one in parameters.items()}
    called = {one.name: _called(one) for one in context.command.params}
    for name, value in context.params.items():
        _require_local(called[name], value, takes_runs=HUB in marks[name])
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":  # a file speaks to many commands
            _require_partners(name, marks[name], context.params, called)


def _paths_in(value: object) -> Iterator[Path]:
    """Yield the paths that a parameter holds: itself, or those of a list."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _paths_in(item)


def _called(parameter: Any) -> str:
    """Return what the help calls a parameter."""
    option = str(parameter.opts[0])
    return option if option.startswith("-") else str(parameter.metavar or option)


def _require_local(option: str, value: object, *, takes_runs: bool) -> None:
    """Refuse an address where a file or folder of this machine is wanted.

    What takes addresses of clips is kept as text. As a path an address would have lost a slash, and
    a folder of that name would be made.
    """
    for path in _paths_in(value):
        text = str(path)
        if not (is_address(text) or is_other_address(text)) or path.exists():
            continue
        if takes_runs and is_hub_address(path):
            continue
        what = (
            "a folder of this machine or hf://USER/RUN" if takes_runs else "what is on this machine"
        )
        scheme = text.partition(":")[0].lower()
        raise UsageError(f"{option} takes {what}, and no address such as {scheme}://...")


def _require_partners(
    name: str, marks: tuple[Any, ...], values: Mapping[str, Any], called: Mapping[str, str]
) -> None:
    """Refuse an option that would be passed over in silence."""
    option = called[name]
    for mark in marks:
        if isinstance(mark, With) and _is_absent(values[mark.other]) and mark.when(values[name]):
            other = called[mark.other]
            raise UsageError(f"{option} does nothing without {other}: add that, or leave it out")
        if isinstance(mark, Without) and mark.when(values[name], values[mark.other]):
            other = called[mark.other]
            if isinstance(values[mark.other], str):
                other = f"{other} {values[mark.other]}"
            raise UsageError(f"{option} does nothing with {other}: leave one of them out")


def _is_absent(value: object) -> bool:
    """Whether a parameter asks for nothing; teachers may be `none`."""
    return not value or value == "none"
