"""Every message that docs/troubleshooting.md quotes is one that the program can print."""

import ast
import re
from pathlib import Path

import pytest
from avpipe.errors import Reason

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
QUOTED = [" ".join(text.split()) for text in re.findall(r"\*\*`([^`]+)`\*\*", PAGE)]
HELD = "\0"


def texts_of_the_program() -> list[str]:
    """Return every text of one line in the source, NUL for what is filled in."""
    found = []
    folders = ("cache", "pipeline", "stages", "train", "weights")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    for path in sorted([*ROOT.glob("*.py"), *paths]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (v.value if isinstance(v, ast.Constant) else HELD for v in node.values)
                found.append("".join(str(part) for part in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return [text.replace("`", "") for text in found if "\n" not in text]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return texts_of_the_program()


def test_there_are_messages() -> None:
    assert len(QUOTED) >= 20 and len(set(QUOTED)) == len(QUOTED)


@pytest.mark.parametrize("message", QUOTED)
def test_the_program_says_so(message: str, texts: list[str]) -> None:
    pieces = [re.escape(piece) for piece in message.split("...")]
    pattern = re.compile(".*".join(pieces))
    assert any(pattern.search(text) for text in texts)


def test_another_message_would_be_noticed(texts: list[str]) -> None:
    pattern = re.compile(re.escape("every clip of this run was lost ("))
    assert not any(pattern.search(text) for text in texts)


def test_its_reasons_are_those_of_the_cache() -> None:
    rows = re.findall(r"(?m)^\| (`[a-z_]+`(?:, `[a-z_]+`)*) \|", PAGE)
    named = [name for row in rows for name in re.findall(r"`([a-z_]+)`", row)]
    assert len(named) >= 7 and set(named) <= set(Reason)
