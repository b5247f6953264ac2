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
    found = {path: texts_of(path) for path in sources()}
    endings = found[ROOT / "pipeline/fixes.py"]  # what is added to the errors of the cache
    facts = [text for path, texts in found.items() if path.parent.name == "cache" for text in texts]
    found[ROOT] = [f"{fact}; {ending}" for fact in facts for ending in endings]
    texts = (text for texts in found.values() for text in texts)
    return [text.replace("`", "") for text in texts if "\n" not in text]


def sources() -> list[Path]:
    folders = ("cache", "pipeline", "stages", "train", "weights")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted([*ROOT.glob("*.py"), *paths])


def texts_of(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = (v.value if isinstance(v, ast.Constant) else HELD for v in node.values)
            found.append("".join(str(part) for part in parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


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
