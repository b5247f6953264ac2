"""Write docs/commands.md from every command's --help, so that it cannot differ from the program."""

from __future__ import annotations

import typer

from .cli import app

HEAD = """\
# Commands

Made by `make docs` from the commands themselves; a test compares the two.

## Completion

`avpipe --install-completion` writes it for the shell that runs (bash, zsh, fish), once; open a new
shell. `avpipe --show-completion` prints it instead, for those who keep such files themselves.
Commands, options and the values of options with few values are completed (`avpipe tr<TAB>`,
`avpipe train --re<TAB>`, `avpipe evaluate --branch <TAB>`), paths by the shell.
"""


def page() -> str:
    """Render the page, at the same width on every terminal."""
    command = typer.main.get_command(app)
    root = typer.Context(
        command, info_name="avpipe", terminal_width=100, **command.context_settings
    )
    parts = [HEAD, _block("avpipe", command.get_help(root))]
    for name, sub in command.commands.items():  # type: ignore[attr-defined]  # the root is a group
        context = typer.Context(sub, parent=root, info_name=name)
        parts.append(_block(f"avpipe {name}", sub.get_help(context)))
    return "\n".join(parts)


def _block(title: str, text: str) -> str:
    return f"## {title}\n\n```text\n{text.strip()}\n```\n"


if __name__ == "__main__":
    print(page(), end="")
