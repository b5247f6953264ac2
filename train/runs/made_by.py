"""`commands.json`: with which options the files of a run were made, so that they are made again.

The file is of this machine, like the cache's folder in `run.json`: `export` leaves it out.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import chain
from pathlib import Path

from ...advice import CommandOptions, asked
from ...drafts import remove_orphans, unwritable, write_whole
from ...reading import read_regular
from .sealed import seal, unseal

FILE = "commands.json"
SCHEMA = "avpipe.commands/1"
_NEVER_NOTED = {"--out", "--run", "--seeds"}
"""The folder itself says them: in a file that somebody else wrote they would name another."""


def command_of(made: str) -> str:
    """Return the command that makes what has this name in `commands.json`.

    Args:
        made: A path below the run's folder, that of an export with a slash at its end; of the run
            itself the command's name.
    """
    if made.startswith("evaluate/"):
        return "evaluate"
    if made.endswith(".html"):
        return "report"
    return "export" if made.endswith("/") else made


def note(folder: Path, *made: str, arguments: Sequence[str] = (), is_draft: bool = False) -> None:
    """Note how the command was called that runs; nothing where Python code calls.

    Of several processes at once one waits for the other: none loses the other's note.

    Args:
        folder: The run's.
        made: What it made, as `command_of` takes it; all of one command.
        arguments: Of the command, but for the run.
        is_draft: Whether the folder is a draft of this process, which holds it already.

    Raises:
        CacheUnwritableError: It cannot be written.
    """
    command = command_of(made[0])
    options = asked(command, "report") if command == "evaluate" else asked(command)
    if options is None:
        return
    with nullcontext() if is_draft else _held(folder):
        before = _read(folder)
        now = before | dict.fromkeys(made, (*((one,) for one in arguments), *options))
        remove_orphans(folder)
        if now != before:
            values = seal({"schema": SCHEMA, "made": dict(sorted(now.items()))})
            write_whole(folder / FILE, (json.dumps(values, indent=1) + "\n").encode())


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a run's folder, another process waits."""
    try:
        fd = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise unwritable(folder / FILE, error) from error
    try:
        with suppress(OSError):  # some file systems lock no folders
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def noted(folder: Path) -> dict[str, CommandOptions]:
    """Return the options behind what lies in a run's folder; none where that cannot be read."""
    try:
        return _read(folder)
    except OSError:
        return {}


def _read(folder: Path) -> dict[str, CommandOptions]:
    """Read what is noted; a damaged file says nothing.

    Raises:
        OSError: It is there and cannot be read now: it would be lost if it were written again.
    """
    try:
        made = unseal(read_regular(folder / FILE))[0]["made"]
        found = {
            str(name): tuple(tuple(map(str, option)) for option in options)
            for name, options in made.items()
        }
        return found if all(map(_is_option, chain(*found.values()))) else {}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _is_option(words: tuple[str, ...]) -> bool:
    """Whether words are one option with its values, or an argument: somebody may have made them."""
    name, *values = words or ("",)
    if not name.startswith("-"):
        return bool(name) and not values
    is_name = re.fullmatch("--[a-z0-9-]+", name) and name not in _NEVER_NOTED
    return bool(is_name) and not any(value.startswith("--") for value in values)


def value_of(options: CommandOptions, name: str) -> str | None:
    """Return the last value that an option was given."""
    return next((one[-1] for one in reversed(options) if one[0] == name and len(one) > 1), None)
