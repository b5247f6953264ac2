"""Rooms one can find things in: folders are small, say what they are for, and names stand once."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = ("cache", "pipeline", "stages", "train", "weights")
MOST_MODULES = 18
LARGER = {"pipeline/commands", "train/benchmarks"}
"""Folders that may be larger: a file for each command, or each test, is an index."""
SHARED_FILES = {"__init__", "run"}
TWICE_AS_FILES = {
    "pipeline": {"settings", "plan"},
    "stages": {"detr_r50"},
}
"""File names that repeat in a layer today: what a file sets, a command and what `extract` does
first,
and a network's two outputs."""
TWICE_AS_TYPES = {
    "Document": "JSON of a command, in three layers",
    "Benchmark": "the option of that name in pipeline/options.py, and what it names",
    "Cache": "the same",
    "Geometry": "the same",
    "Protocol": "the same",
    "Threads": "the same",
    "Weights": "the same",
}
"""Types that several files define, all of one idea; every other name means one thing."""


def modules(root: Path, layer: str) -> Iterator[Path]:
    """Yield the files of a layer."""
    yield from sorted((root / layer).rglob("*.py"))


def crowded(root: Path, layer: str) -> dict[str, int]:
    """Return the folders that hold too many modules, and how many they hold."""
    found: dict[str, int] = defaultdict(int)
    for path in modules(root, layer):
        found[path.parent.relative_to(root).as_posix()] += path.stem != "__init__"
    return {name: num for name, num in found.items() if num > MOST_MODULES}


def without_a_word(root: Path, layer: str) -> list[str]:
    """Return the folders with modules whose `__init__.py` is missing or says nothing."""
    found = []
    for folder in sorted({path.parent for path in modules(root, layer)}):
        init = folder / "__init__.py"
        text = init.read_text(encoding="utf-8") if init.is_file() else ""
        if not ast.get_docstring(ast.parse(text)):
            found.append(folder.relative_to(root).as_posix())
    return found


def repeated_files(root: Path, layer: str) -> set[str]:
    """Return the file names, without suffix, that stand in several folders of a layer."""
    stems = [path.stem for path in modules(root, layer) if path.stem not in SHARED_FILES]
    return {stem for stem in stems if stems.count(stem) > 1}


def types_of(path: Path) -> set[str]:
    """Return the names of the classes and of the types that a file defines, `Floats = ...`."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if re.fullmatch(r"_?[A-Z]\w*[a-z]\w*", name) and "TypeVar" not in ast.dump(node.value):
                found.add(name)
    return found


def repeated_types(root: Path) -> dict[str, list[str]]:
    """Return the types that several files define, and those files."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in [*sorted(root.glob("*.py")), *(p for one in LAYERS for p in modules(root, one))]:
        for name in types_of(path):
            found[name].append(path.relative_to(root).as_posix())
    return {name: files for name, files in sorted(found.items()) if len(files) > 1}


@pytest.mark.parametrize("layer", LAYERS)
def test_no_folder_is_crowded(layer: str) -> None:
    assert {name: num for name, num in crowded(ROOT, layer).items() if name not in LARGER} == {}


@pytest.mark.parametrize("layer", LAYERS)
def test_each_folder_says_what_it_is_for(layer: str) -> None:
    assert without_a_word(ROOT, layer) == []


@pytest.mark.parametrize("layer", LAYERS)
def test_a_file_name_stands_once_in_a_layer(layer: str) -> None:
    assert repeated_files(ROOT, layer) - TWICE_AS_FILES.get(layer, set()) == set()


def test_a_type_name_means_one_thing() -> None:
    found = repeated_types(ROOT)
    assert {name: files for name, files in found.items() if name not in TWICE_AS_TYPES} == {}
    assert TWICE_AS_TYPES.keys() - found.keys() == set()
    found = {name: files for name, files in found.items() if "pipeline/options.py" not in files}
    assert all(len(files) <= 3 for files in found.values())


def test_what_breaks_a_rule_is_found(tmp_path: Path) -> None:
    for number in range(MOST_MODULES + 1):
        (tmp_path / "stages/big").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"stages/big/m{number}.py").write_text("class Same: pass\n" * (number < 2))
    (tmp_path / "stages/big/__init__.py").write_text('"""Too many."""\n')
    (tmp_path / "stages/mute").mkdir()
    for name in ("__init__", "run", "m0"):
        (tmp_path / f"stages/mute/{name}.py").touch()
    (tmp_path / "stages/__init__.py").write_text('"""A layer."""\n')
    assert crowded(tmp_path, "stages") == {"stages/big": MOST_MODULES + 1}
    assert without_a_word(tmp_path, "stages") == ["stages/mute"]
    assert repeated_files(tmp_path, "stages") == {"m0"}
    (tmp_path / "train").mkdir()
    (tmp_path / "train/odd.py").write_text("Same = dict[str, int]\nT = TypeVar('T')\nEND = 1\n")
    files = ["stages/big/m0.py", "stages/big/m1.py", "train/odd.py"]
    assert repeated_types(tmp_path) == {"Same": files}


def test_tests_lie_in_the_folders_of_what_they_test() -> None:
    others = {"docs", "faults", "fuzz", "hostile", "project", "vectors"}
    folders = {path.parent.relative_to(ROOT / "tests") for path in ROOT.glob("tests/**/test_*.py")}
    strange = [
        folder.as_posix()
        for folder in sorted(folders)
        if folder.parts and folder.parts[0] not in others and not (ROOT / folder).is_dir()
    ]
    assert strange == []
