"""The map of the house is true: what it names is there, and each step is called by one before."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
TO_BE_WRITTEN = re.compile(r"(^|/)x\.py$")
"""The file that somebody adds."""
NAMED = re.findall(r"`([\w./-]+\.(?:py|md|toml))(?::([\w.]+))?`", PAGE)
FOLDERS = re.findall(r"`([\w/]+/)`", PAGE)
WAYS = {
    title: re.findall(r"`([\w./]+\.py):([\w.]+)`", re.sub(r"(?m)^\n[A-Z].*", "", steps))
    for title, steps in re.findall(r"(?ms)^## (A .*?)\n\n(1\. .*?)(?=\n\n[^ \d])", PAGE)
}
"""The numbered lists: a file and a name of it for each step."""


README = (ROOT / "README.md").read_text(encoding="utf-8")
GLOSSARY = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
OWN_PATH = re.compile(r"`((?:cache|pipeline|stages|tests|train|weights)/[\w./-]+\.(?:py|toml|csv))")
"""A file of the project, as pages write it."""


def definitions(path: Path) -> set[str]:
    """Return what a file defines: `name` at its top, `Class.name` of a class."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.ClassDef):
            inside = (part for part in node.body if isinstance(part, ast.FunctionDef))
            found |= {f"{node.name}.{part.name}" for part in inside}
    return found


def mentions(path: Path) -> set[str]:
    """Return the names that a file uses, those of attributes too."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {node.id for node in nodes if isinstance(node, ast.Name)}
    return plain | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def package_folders() -> set[str]:
    found = {path.parent.relative_to(ROOT) for path in ROOT.glob("[a-z]*/**/__init__.py")}
    others = {"tests", "bench", "docs", "build", "dist"}
    return {f"{folder.as_posix()}/" for folder in found if folder.parts[0] not in others}


@pytest.mark.parametrize(("file", "name"), NAMED, ids=lambda part: part)
def test_what_is_named_is_there(file: str, name: str) -> None:
    if TO_BE_WRITTEN.search(file) or "/" not in file:
        return  # of a file without its folder the next test takes care
    assert (ROOT / file).is_file(), f"{file} is missing"
    assert not name or name in definitions(ROOT / file), f"{file} defines no {name}"


def test_each_folder_has_a_file_to_begin_with() -> None:
    table = PAGE.partition("## Where to begin")[2].partition("\n## ")[0]
    seen = set()
    for cells in re.findall(r"(?m)^\| (`.*?) \| (.*) \|$", table):
        folders = re.findall(r"`([\w/]+/)`", " ".join(cells))
        files = re.findall(r"`(\w+\.py)`", cells[1])
        for folder in folders:
            assert (ROOT / folder).is_dir(), f"{folder} is missing"
            own = [file for file in files if (ROOT / folder / file).is_file()]
            one_each = "one file a network" in cells[1] and folder != "stages/teachers/"
            assert own or one_each or folder == "pipeline/commands/", f"{folder}: none of {files}"
        for file in files:
            assert any((ROOT / folder / file).is_file() for folder in folders), file
        seen |= {*folders}
    assert seen == package_folders()


@pytest.mark.parametrize("title", WAYS)
def test_each_step_is_called_by_one_before(title: str) -> None:
    (first, _), *steps = WAYS[title]
    used = mentions(ROOT / first)
    for file, name in steps:
        assert name.rpartition(".")[2] in used, f"{title}: nothing before {file} calls {name}"
        used |= mentions(ROOT / file)


def test_there_are_three_ways_and_every_folder_named_exists() -> None:
    assert [len(steps) > 8 for steps in WAYS.values()] == [True] * 3, WAYS
    assert all((ROOT / folder).is_dir() for folder in FOLDERS)


def test_it_is_one_page() -> None:
    assert len(PAGE.splitlines()) < 120


def test_truncated_comes_from_where_the_page_says() -> None:
    paragraph = PAGE.partition("**`truncated`**")[2].partition("\n\n")[0]
    named = {file for file, _ in re.findall(r"`([\w./]+\.py):([\w.]+)`", paragraph)}
    raising = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "stages").rglob("*.py")
        if "Reason.TRUNCATED" in path.read_text(encoding="utf-8")
    }
    assert named == raising


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_files_that_pages_name_are_there(path: Path) -> None:
    named = OWN_PATH.findall(path.read_text(encoding="utf-8"))
    lacking = [name for name in named if not re.search(r"/x\.\w+$", name)]
    assert [name for name in lacking if not (ROOT / name).is_file()] == []


def test_the_tree_of_the_readme_is_that_of_the_checkout() -> None:
    tree = README.partition("## What lies where\n\n```\n")[2].partition("```")[0]
    top, below = "", set()
    for line in tree.splitlines():
        names = re.findall(r"(\w+)/(?=[\s,)])", line)
        if line.startswith("  "):
            below |= {f"{top}/{name}" for name in names}
        else:
            top = names[0] if names else ""
            assert all((ROOT / name).is_dir() for name in names[:1]), line
        for file in re.findall(r"\w+\.py", line):
            assert (ROOT / file).is_file(), file
    folders = {name.rstrip("/") for name in package_folders()}
    deep = ("stages/teachers", "pipeline/pages", "stages/media")
    two = {name for name in folders if name.count("/") == 1}
    assert two <= below, f"README's tree lacks {sorted(two - below)}"
    for name in below - two:  # three levels down, on the line of their folder
        last = name.partition("/")[2]
        assert any(f"{folder}/{last}" in folders for folder in deep), name


def test_each_word_of_the_glossary_stands_once() -> None:
    entries = [line for line in GLOSSARY.splitlines() if line.startswith("- ")]
    words = [word for line in entries for word in re.findall(r"\*\*(.+?)\*\*", line)]
    assert {word for word in words if words.count(word) > 1} == set()
    assert all(line.startswith("- **") for line in entries) and len(words) > 80
    wanted = "clip row shard hint teacher embedding neighbours cluster view cell geometry protocol"
    assert {*wanted.split(), "similarity map", "cIoU", "LocAcc", "adaptive", "leak"} <= {*words}
