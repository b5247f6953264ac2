"""Commands that stand in pages, read by the real command line without being run."""

from __future__ import annotations

import re
import shlex
from functools import cache
from typing import Any

import typer
from avpipe.pipeline.cli import app
from avpipe.pipeline.main import normalized

ACTS_AT_ONCE = {"--install-completion", "--show-completion", "--help", "-h"}
PLACEHOLDERS = re.compile(r"\b[A-Z]{2,}\b|\.\.\.")


def section(page: str, title: str) -> str:
    """Return what stands below a heading `## TITLE`, up to the next one of its rank."""
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def fenced_commands(page: str) -> list[str]:
    """Return the avpipe commands of a page's blocks, without `$` and remarks.

    A line that ends in a backslash goes on in the next one; two spaces begin a remark.
    """
    blocks = re.findall(r"```(?:console|text)\n(.*?)```", page, re.DOTALL)
    text = re.sub(r"\s*\\\n\s*", " ", "\n".join(blocks))
    found = re.findall(r"(?m)^(?:\$ )?avpipe ([a-z].*)$", text)
    return [re.split(r"\s{2,}|\s#", words)[0].strip() for words in found]


def inline_commands(page: str) -> list[str]:
    """Return the avpipe commands in backquotes, outside blocks, that hold no placeholder."""
    prose = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    found = re.findall(r"`avpipe ([a-z][^`]*)`", prose)
    return [" ".join(words.split()) for words in found if not PLACEHOLDERS.search(words)]


def parse(words: str) -> tuple[str, dict[str, Any]]:
    """Parse a command as `avpipe` would; nothing runs.

    Returns:
        The command's name, and its values by parameter.

    Raises:
        Exception: What the command line raises where an option or a value is wrong.
    """
    arguments = normalized(shlex.split(words))
    if ACTS_AT_ONCE.intersection(arguments):
        raise ValueError(f"{words}: would act while it is parsed")
    program = _program()
    at = next((i for i, word in enumerate(arguments) if word in program.commands), 0)
    whole = program.make_context("avpipe", arguments[: at + 1])
    if arguments[at].startswith("-"):
        return "", dict(whole.params)
    name, command, rest = program.resolve_command(whole, arguments[at:])
    return name, dict(command.make_context(name, list(rest), parent=whole).params)


@cache
def _program() -> Any:
    return typer.main.get_command(app)
