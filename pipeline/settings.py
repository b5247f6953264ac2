"""`avpipe.toml`: which keys exist, which values fit, and where each value in force came from.

A command's signature is the only place where an option is defined; this file reads it from there.
"""

from __future__ import annotations

import difflib
import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from ..cache.addresses import is_address, is_other_address
from ..errors import UsageError
from ..train.runs.hub import is_hub_address
from ..train.toml_file import line_of, read_toml

FILE_NAME = "avpipe.toml"
ONE_RUN = object()
"""Marks an option, in its `Annotated[...]`, that belongs to one run and may not stand in a file."""
HUB = object()
"""Marks an option that takes a run of the Hugging Face Hub, `hf://USER/RUN`, besides a folder."""
PLACES = object()
"""Marks a list of paths or addresses, which stay as they are typed: a path loses slashes."""


@dataclass(frozen=True)
class Example:
    """Marks an option without a fixed default, in its `Annotated[...]`, with a value to show."""

    value: Any


@dataclass(frozen=True)
class With:
    """Marks an option, in its `Annotated[...]`, that does nothing without another parameter.

    Attributes:
        other: That one.
        when: Whether a value of the option is one of those.
    """

    other: str
    when: Callable[[Any], bool] = lambda value: True


@dataclass(frozen=True)
class Without:
    """Marks an option, in its `Annotated[...]`, that does nothing where another is given.

    Attributes:
        other: That one.
        when: Whether a value of the option does nothing beside a value of the other.
    """

    other: str
    when: Callable[[Any, Any], bool] = lambda value, other: bool(other)


class Shared(list[Any]):
    """A list that stands above all tables of a file: every command that has the option gets it."""


@dataclass(frozen=True)
class Setting:
    """One key a file may set."""

    key: str
    kind: Any
    """The annotation without `Annotated` and `None`: bool, int, float, str, Path, Literal, list."""
    default: Any
    example: Any
    help: str
    default_text: str | None
    """What the default is called where it is not a fixed value, as in "all cores"."""


Commands = Mapping[str, Mapping[str, Setting]]
"""Command name -> key -> setting."""


def settings_of(function: Callable[..., Any]) -> dict[str, Setting]:
    """Read one command's settings from its signature: all but required and `ONE_RUN` options."""
    found = {}
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        if get_origin(parameter.annotation) is not Annotated:
            continue
        kind, info, *marks = get_args(parameter.annotation)
        default = parameter.default
        if ONE_RUN in marks or default is inspect.Parameter.empty:
            continue
        example = next((mark.value for mark in marks if isinstance(mark, Example)), default)
        text = info.show_default if isinstance(info.show_default, str) else None
        kind = list[Path] if PLACES in marks else _without_none(kind)
        found[name] = Setting(name, kind, default, example, info.help or "", text)
    return found


def read_settings(path: Path, commands: Commands) -> dict[str, dict[str, Any]]:
    """Read a settings file into one mapping of option values per command.

    Top-level keys reach every command that has the option; the keys of a table named like a command
    reach that command and win. Relative paths are made relative to the file's folder.

    Raises:
        UsageError: the file cannot be read or is no file (a device never ends), a key is unknown
            or a value has the wrong type; names file, line and key.
    """
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: not a regular file")
    try:
        document, text = read_toml(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path}: {reason}") from error
    values: dict[str, dict[str, Any]] = {name: {} for name in commands}
    shared = {key: value for key, value in document.items() if not isinstance(value, dict)}
    for key, value in shared.items():
        takers = [name for name, settings in commands.items() if key in settings]
        if not takers:
            known = {key for settings in commands.values() for key in settings}
            raise UsageError(f"{path}: {line_of(text, key)}{_unknown(key, known)}")
        for name in takers:
            found = _checked(path, text, "", key, value, commands[name][key])
            values[name][key] = Shared(found) if isinstance(found, list) else found
    for name, table in document.items():
        if not isinstance(table, dict):
            continue
        if name not in commands:
            told = _unknown(f"[{name}]", {f"[{command}]" for command in commands})
            raise UsageError(f"{path}: {line_of(text, table=name)}{told}")
        for key, value in table.items():
            if key not in commands[name]:
                told = _unknown(f"[{name}] {key}", {f"[{name}] {key}" for key in commands[name]})
                raise UsageError(f"{path}: {line_of(text, key, name)}{told}")
            values[name][key] = _checked(path, text, name, key, value, commands[name][key])
    return values


def kind_text(kind: Any) -> str:
    """Say what kind of TOML value fits an annotation."""
    if get_origin(kind) is list:
        return {Path: "a list of paths in quotes", str: "a list of texts in quotes"}[
            get_args(kind)[0]
        ]
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(f'"{choice}"' for choice in get_args(kind))
    return {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "a text in quotes",
        Path: "a path in quotes",
    }[kind]


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        (kind,) = (part for part in get_args(kind) if part is not type(None))
    return kind


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_fits(item, get_args(kind)[0]) for item in value)
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if isinstance(value, bool) or kind is bool:  # True is an int in Python, not in a settings file
        return isinstance(value, bool) and kind is bool
    if kind is Path:
        return isinstance(value, str)
    return isinstance(value, (int, float) if kind is float else kind)


def _checked(path: Path, text: str, table: str, key: str, value: Any, setting: Setting) -> Any:
    if not _fits(value, setting.kind):
        place = f"{path}: {line_of(text, key, table)}{f'[{table}] ' if table else ''}"
        raise UsageError(f"{place}{key} = {value!r}: should be {kind_text(setting.kind)}")
    if setting.kind is Path:
        return _anchored(value, path.parent)
    if setting.kind == list[Path]:
        return [_anchored(item, path.parent) for item in value]
    return value


def _anchored(value: str, folder: Path) -> str:
    """Start a relative path at the file's folder; of `N=DIR` (--root) the part after the sign.

    Addresses stay as they are: those of clips, and of runs on the Hugging Face Hub.
    """
    if is_hub_address(value) or is_address(value) or is_other_address(value):
        return value
    number, sign, rest = value.partition("=")
    if sign and number.isdigit():
        return f"{number}={_anchored(rest, folder)}"
    return str(folder / Path(value).expanduser())


def _unknown(key: str, known: set[str]) -> str:
    close = difflib.get_close_matches(key, sorted(known), n=1)
    hint = f"did you mean {close[0]}?" if close else "`avpipe config` lists the settings"
    return f"unknown setting {key}: {hint}"
