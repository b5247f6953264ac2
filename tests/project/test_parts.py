"""Code asks no part for its name: what others have to know of a part, its file declares."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAMILIES = (
    "train/objectives",
    "train/benchmarks",
    "stages/teachers/visual",
    "stages/teachers/audio",
    "stages/teachers/objects",
    "stages/media/decoders",
)
OTHER_MEANINGS = {
    ("pipeline/demo/run.py", "synth"): "the command",
    ("train/data/bank.py", "silence"): "a sound that is made",
    ("train/negatives/made.py", "silence"): "the same",
    ("train/nets/model.py", "mobilenet-v2"): "a choice of image_encoder",
    ("train/rules.py", "mobilenet-v2"): "the same",
    ("train/score/controls.py", "slavc"): "scales of blends",
    ("train/show/overlays.py", "slavc"): "the same",
}
"""Names of parts that name something else where they stand."""
ASKING = frozenset({"startswith", "endswith", "removeprefix", "removesuffix"})


def part_names(root: Path) -> set[str]:
    stems = (path.stem for family in FAMILIES for path in (root / family).glob("*.py"))
    return {stem.replace("_", "-") for stem in stems if stem not in ("__init__", "run")}


def asked(tree: ast.AST, names: set[str]) -> Iterator[str]:
    """Yield the names that a file compares something with, or looks for in a text."""
    for node in ast.walk(tree):
        is_method = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if not isinstance(node, ast.Compare | ast.MatchValue) and not (
            is_method and node.func.attr in ASKING  # type: ignore[union-attr]
        ):
            continue
        for part in ast.walk(node):
            if isinstance(part, ast.Constant) and part.value in names:
                yield part.value


def found(root: Path) -> set[tuple[str, str]]:
    names = part_names(root)
    return {
        (path.relative_to(root).as_posix(), name)
        for layer in ("cache", "pipeline", "stages", "train", "weights")
        for path in (root / layer).rglob("*.py")
        for name in asked(ast.parse(path.read_text(encoding="utf-8")), names)
        if path.stem.replace("_", "-") != name
    }


def test_no_part_is_asked_for_by_name() -> None:
    assert len(part_names(ROOT)) > 15
    assert found(ROOT) - OTHER_MEANINGS.keys() == set()


def test_the_exceptions_are_still_there() -> None:
    assert OTHER_MEANINGS.keys() - found(ROOT) == set()


@pytest.mark.parametrize(
    "line",
    [
        "if recipe.objective == 'new-one': pass",
        "if name in ('other', 'new-one'): pass",
        "match name:\n    case 'new-one': pass",
        "if path.startswith('new-one'): pass",
    ],
)
def test_a_planted_question_is_found(line: str, tmp_path: Path) -> None:
    for file, text in (("train/objectives/new_one.py", line), ("train/planted.py", line)):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    assert found(tmp_path) == {("train/planted.py", "new-one")}


BENCHMARKS = ROOT / "train/benchmarks"


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted names that a file imports, `from a import b` as a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module or ''}.{name.name}" for name in node.names)


def test_nothing_else_in_the_package_imports_a_benchmark() -> None:
    """They are loaded by the name that a user gives; what others share of them lies elsewhere."""
    stems = {path.stem for path in BENCHMARKS.glob("*.py")} - {"__init__"}
    foreign = {
        (path.relative_to(ROOT).as_posix(), name)
        for layer in ("cache", "pipeline", "stages", "train", "weights")
        for path in (ROOT / layer).rglob("*.py")
        if path.parent != BENCHMARKS
        for name in imported(ast.parse(path.read_text(encoding="utf-8")))
        for before, after in zip(name.split("."), name.split(".")[1:], strict=False)
        if before == "benchmarks" and after in stems
    }
    assert foreign == set()


@pytest.mark.parametrize(
    "path",
    sorted(set(BENCHMARKS.glob("*.py")) - {BENCHMARKS / "__init__.py"}),
    ids=lambda p: p.stem,
)
def test_a_benchmark_is_a_short_file(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 120
