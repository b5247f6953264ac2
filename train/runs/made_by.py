"""`commands.json`: with which options the files of a run were made, so that they are made again.

The file is of this machine, like the cache's folder in `run.json`: `export` leaves it out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ...advice import CommandOptions, asked
from ...drafts import remove_orphans, write_whole
from .sealed import seal, unseal

FILE = "commands.json"
SCHEMA = "avpipe.commands/1"


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


def note(folder: Path, *made: str, arguments: Sequence[str] = ()) -> None:
    """Note how the command was called that runs; nothing where Python code calls.

    Args:
        folder: The run's.
        made: What it made, as `command_of` takes it; all of one command.
        arguments: Of the command, but for the run.

    Raises:
        CacheUnwritableError: It cannot be written.
    """
    command = command_of(made[0])
    options = asked(command, "report") if command == "evaluate" else asked(command)
    if options is None:
        return
    before = _read(folder)
    now = before | dict.fromkeys(made, (*((one,) for one in arguments), *options))
    remove_orphans(folder)
    if now != before:
        content = json.dumps(seal({"schema": SCHEMA, "made": dict(sorted(now.items()))}), indent=1)
        write_whole(folder / FILE, (content + "\n").encode())


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
        made = unseal((folder / FILE).read_bytes())[0]["made"]
        return {
            str(name): tuple(tuple(map(str, option)) for option in options)
            for name, options in made.items()
        }
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def value_of(options: CommandOptions, name: str) -> str | None:
    """Return the last value that an option was given."""
    return next((one[-1] for one in reversed(options) if one[0] == name and len(one) > 1), None)
