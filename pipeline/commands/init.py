"""`avpipe init`: a settings file that shows every setting, commented out, with its real default."""

import json
import os
from pathlib import Path
from typing import Any, get_args, get_origin

from ...drafts import remove_orphans, write_whole
from ...errors import UsageError
from .. import output
from ..settings import FILE_NAME, Commands, Setting

HEAD = """\
# Settings for the avpipe commands run in this folder. Take away the "# " before a line to set it.
# A flag beats a variable (AVPIPE_CACHE, AVPIPE_JOBS, AVPIPE_DEVICE), that beats this file, that
# beats the default. Keys above the first [command] reach every command that has the option.
# Relative paths start at this file's folder. `avpipe config` shows what is in force and why.
"""


def init() -> None:
    """Write a commented avpipe.toml into this folder."""
    from ..cli import commands

    output.say(f"wrote {write_template(Path(FILE_NAME), commands())}")


def write_template(path: Path, commands: Commands) -> Path:
    """Write the file.

    Raises:
        UsageError: There is one already.
        CacheUnwritableError: It cannot be written.
    """
    remove_orphans(path.parent)
    if os.path.lexists(path):
        raise UsageError(f"{path} is there already; remove it to get a fresh one")
    write_whole(path, template(commands).encode())
    return path


def template(commands: Commands) -> str:
    """Render the file: first the settings that several commands share, then a table per command.

    Options of one name with different defaults are not shared.
    """
    takers: dict[str, list[str]] = {}
    defaults: dict[str, set[str]] = {}
    for name, settings in commands.items():
        for key, setting in settings.items():
            takers.setdefault(key, []).append(name)
            defaults.setdefault(key, set()).add(repr((setting.default, setting.default_text)))
    shared = {key for key, names in takers.items() if len(names) > 1 and len(defaults[key]) == 1}
    parts = [HEAD]
    for key, names in takers.items():
        if key in shared:
            told_by = "extract" if "extract" in names else names[0]  # doctor refers to it
            parts.append(_entry(commands[told_by][key], f" ({', '.join(names)})"))
    for name, settings in commands.items():
        own = [setting for key, setting in settings.items() if key not in shared]
        if own:
            parts.append(f"[{name}]\n" + "".join(_entry(setting, "") for setting in own))
    return "\n".join(parts)


def _entry(setting: Setting, commands: str) -> str:
    note = ""
    if setting.default is None or setting.default_text:
        note = f"  # an example; default: {setting.default_text or 'not set'}"
    choices = f" One of {', '.join(get_args(setting.kind))}." if _is_choice(setting.kind) else ""
    return (
        f"# {setting.help}{choices}{commands}\n# {setting.key} = {_toml(setting.example)}{note}\n"
    )


def _is_choice(kind: Any) -> bool:
    return get_origin(kind) is not list and bool(get_args(kind))


def _toml(value: Any) -> str:
    """Write a value as TOML: for these kinds JSON's notation is TOML's."""
    return json.dumps(str(value) if isinstance(value, Path) else value)
