"""Every avpipe command that stands anywhere in a page is one that the program takes."""

from pathlib import Path

import pytest
import typer
from avpipe.pipeline.cli import GROUPS, app
from command_pages import fenced_commands, inline_commands, parse

ROOT = Path(__file__).parents[2]
PAGES = [
    path
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").glob("*.md")),
    )
    if path.name != "commands.md"
]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_its_commands_parse(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    for words in [*fenced_commands(page), *inline_commands(page)]:
        try:
            parse(words)
        except Exception as error:
            if not (words in inline_commands(page) and "Missing" in str(error)):
                pytest.fail(f"{path.name}: avpipe {words}: {error}")


@pytest.mark.parametrize(
    "words", ["train --recip slavc", "evaluate run --geometry square", "fly", "knn --k many"]
)
def test_a_wrong_command_would_be_noticed(words: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no such|not one of|should be"):
        parse(words)


def test_nothing_acts_while_it_is_parsed() -> None:
    with pytest.raises(ValueError, match="would act"):
        parse("--install-completion")


def test_options_may_stand_before_the_command() -> None:
    assert parse("--config a.toml knn --k 3")[1]["k"] == 3
    assert parse("train --set a=1 --set b=2 --debug")[1]["set"] == ["a=1", "b=2"]


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    pages = [path.name for path in (ROOT / "docs").glob("*.md") if path.name != "README.md"]
    examples = [f"examples/{path.name}" for path in (ROOT / "docs/examples").glob("*.py")]
    assert [name for name in [*pages, *examples] if f"]({name})" not in index] == []


def test_the_first_steps_name_every_command() -> None:
    first_steps = (ROOT / "docs/first-steps.md").read_text(encoding="utf-8")
    names = [name for members in GROUPS.values() for name in members]
    assert [name for name in names if f"avpipe {name}" not in first_steps] == []


def test_the_help_says_of_every_command_what_it_does() -> None:
    command = typer.main.get_command(app)
    told = command.get_help(typer.Context(command, info_name="avpipe", terminal_width=80))
    words = " ".join(told.split())
    for name, one in command.commands.items():  # type: ignore[attr-defined]  # the root is a group
        assert f"{name} {one.help.splitlines()[0]}" in words
