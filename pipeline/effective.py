"""`avpipe config`: the settings in force and where each came from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .settings import Commands

if TYPE_CHECKING:
    import typer


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
        required = ["0"] * sum(param.required for param in command.params)
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
