"""`avpipe config`: the settings in force and where each came from."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from .. import output
from ..options import Json
from ..output import Document, short_text
from ..settings import Commands

_WIDTH = 80
_GAP = "  "
_LONGEST_VALUE = 24
"""A longer one has a line of its own."""


def config(ctx: typer.Context, json: Json = False) -> None:
    """Show every setting, its value, and where the value comes from."""
    from ..cli import commands

    output.show(effective_settings(ctx, commands()), json, config_text)


def effective_settings(ctx: typer.Context, commands: Commands) -> dict[str, Any]:
    """Let every command's own parser decide its settings, no option given, and note the sources.

    Args:
        ctx: the context of the running command, below the one of `avpipe` itself.
        commands: the settings that exist.

    Returns:
        The `avpipe.config/1` document: `file`, and `settings`, a list of `key`, `value`, `origin`
        and `commands`.
    """
    root = ctx.find_root()
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for name, settings in commands.items():
        command = root.command.commands[name]  # type: ignore[attr-defined]  # the root is a group
        required = [
            word
            for param in command.params
            if param.required
            for word in (*param.opts[: param.param_type_name == "option"], "1")
        ]
        context = command.make_context(name, required, parent=root)
        for key in settings:
            value = _plain(context.params[key])
            origin = _origin(context, key, root.obj.settings_file)
            row = {"key": key, "value": value, "origin": origin, "commands": []}
            rows.setdefault((key, repr(value), origin), row)["commands"].append(name)
    return {
        "schema": "avpipe.config/1",
        "file": _plain(root.obj.settings_file),
        "settings": list(rows.values()),
    }


def _origin(context: typer.Context, key: str, file: Path | None) -> str:
    source = context.get_parameter_source(key)
    name = source.name if source is not None else "DEFAULT"
    if name == "DEFAULT_MAP":
        return str(file)
    if name == "ENVIRONMENT":
        (parameter,) = (param for param in context.command.params if param.name == key)
        return str(parameter.envvar)
    return "default"


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def config_text(document: Document) -> str:
    """Render `avpipe config`: each key once, at most 80 columns wide where its values allow."""
    by_key: dict[str, list[Document]] = {}
    for row in document["settings"]:
        by_key.setdefault(row["key"], []).append(row)
    rows = [
        ("" if number else key, short_text(row["value"]), _shown(row, document), row["commands"])
        for key, found in by_key.items()
        for number, row in enumerate(found)
    ]
    head = ("setting", "value", "from")
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    widths[1] = min(widths[1], _LONGEST_VALUE)
    start = sum(widths) + len(_GAP) * len(widths)
    lines = [_line(head, widths, "commands"), "-" * _WIDTH]
    for *cells, commands in rows:
        if len(cells[1]) > _LONGEST_VALUE:
            lines.append(_line(cells[:2], widths[:2], ""))
            cells = ["", "", cells[2]]
        wrapped = textwrap.wrap(", ".join(commands), _WIDTH - start, break_on_hyphens=False)
        firsts = [cells, *[[""] * len(cells)] * (len(wrapped) - 1)]
        lines += [_line(cells, widths, part) for cells, part in zip(firsts, wrapped, strict=True)]
    file = document["file"] or "none; `avpipe init` writes one"
    return "\n".join([f"settings file: {file}", "", *lines])


def _shown(row: Document, document: Document) -> str:
    """Name an origin; the file, whose path stands above the table, by its name."""
    origin = str(row["origin"])
    return Path(origin).name if origin == document["file"] else origin


def _line(cells: Sequence[str], widths: Sequence[int], commands: str) -> str:
    shown = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    return _GAP.join([*shown, commands]).rstrip()
