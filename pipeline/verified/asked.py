"""Options that a command was given, as far as its results depend on them: to run it again."""

from __future__ import annotations

from typing import Any

from ...advice import CommandOptions

_WITHOUT_EFFECT = {"json", "jobs", "list_recipes", "out", "run", "seeds"}
"""What is printed, who computes, and where results lie: their folder itself says that."""


def given_options(context: Any) -> CommandOptions:
    """Return the options of a command that are not their defaults, wherever they were set.

    Arguments are left out: they name what is made, or are told by who makes it. So are weights
    above all tables of a settings file, which need not be of this command's networks.

    Args:
        context: Typer's, of the command that runs.
    """
    found: list[tuple[str, ...]] = []
    for option in context.command.params:
        value = context.params.get(option.name)
        if option.param_type_name != "option" or option.name in _WITHOUT_EFFECT:
            continue
        if value is None or value is False or _texts(value) in ((), _texts(option.default)):
            continue
        flag = max(option.opts, key=len)
        if option.is_flag:
            found.append((flag,))
        elif option.multiple:
            own = _not_shared(value) if option.name == "weights" else value
            found += [(flag, text) for text in _texts(own)]
        else:
            found.append((flag, *_texts(value)))
    return tuple(found)


def _not_shared(specs: list[str]) -> list[str]:
    from ...weights import SharedSpec

    return [one for one in specs if not isinstance(one, SharedSpec)]


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list | tuple) else (str(value),)
