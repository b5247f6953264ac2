"""A command's signature is the only place where its options are defined, read with `ast`."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from avpipe.pipeline import cli
from avpipe.pipeline.settings import settings_of

ROOT = Path(__file__).parents[2]
FOLDERS = ("cache", "pipeline", "stages", "train", "weights")
COMMANDS = {name: call for group in cli.GROUPS.values() for name, call in group.items()}
ALIASES = {"k": "neighbors", "kind": "spectrogram", "scales": "blend"}
"""Other names of an option, where code below says it otherwise."""
TRAVELS = {("pipeline/extract/settings.py", "ExtractSettings")}
"""Classes of options that go through several layers: planning, workers and the estimate."""
OTHER_FACTS = {
    ("train/nets/encoders.py", "IMAGENET_NETWORK"),  # whose file image_init=imagenet takes
    ("train/objectives/slavc.py", "HEADS"),  # in the order of the network's outputs
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Yield each file of the package, by its path."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


FILES = dict(sources())


def common_name(name: str) -> str:
    """Return what an option, a parameter or a constant speaks of: NUM_CLIPS is `clips`."""
    plain = name.lower().lstrip("_").removeprefix("default_").removeprefix("num_")
    plain = plain.removesuffix("_s")
    return ALIASES.get(plain, plain)


def defaults() -> dict[tuple[str, str | int | float], set[str]]:
    """Return the commands of each option's default; a switch or a seed of 0 is nobody's choice."""
    found: dict[tuple[str, str | int | float], set[str]] = {}
    for command, call in COMMANDS.items():
        for name, parameter in inspect.signature(call).parameters.items():
            value = parameter.default
            if isinstance(value, str | int | float) and value not in ("", 0, 1):
                found.setdefault((common_name(name), value), set()).add(command)
    return found


DEFAULTS = defaults()
TELLING = {value for _, value in DEFAULTS if isinstance(value, str) and not value.isalpha()}
"""Texts like `257x276` and `rf-centred`, which mean the option under any name."""


def given_values(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Yield the defaults of parameters and of the fields of classes, with their names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            plain = [*node.args.posonlyargs, *node.args.args]
            pairs = zip(reversed(plain), reversed(node.args.defaults), strict=False)
            yield from ((argument.arg, value) for argument, value in pairs)
            for argument, value in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
                if value is not None:
                    yield argument.arg, value
        elif isinstance(node, ast.ClassDef):
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and field.value is not None:
                    yield ast.unparse(field.target), field.value


def constants(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Yield what stands at the top of a file, with its name."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            yield ast.unparse(node.targets[0]), node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield ast.unparse(node.target), node.value


def default_of(name: str, value: ast.expr) -> tuple[str, Any] | None:
    """Return the option's default that a named literal spells, None where it is another thing."""
    if not isinstance(value, ast.Constant) or isinstance(value.value, bool | bytes | None):
        return None
    if value.value in TELLING:
        return "", value.value
    spelled = common_name(name), value.value
    return spelled if spelled in DEFAULTS else None


def spelled_again(tree: ast.Module) -> list[str]:
    """Return the parameters and fields of a file that spell an option's default as a literal."""
    return [name for name, value in given_values(tree) if default_of(name, value) is not None]


def lists_of_choices(tree: ast.Module) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield what lists texts, `Literal` too, with the name it is given."""
    named = {id(part): name for name, value in constants(tree) for part in ast.walk(value)}
    for node in ast.walk(tree):
        parts = node.keys if isinstance(node, ast.Dict) else getattr(node, "elts", ())
        texts = [part.value for part in parts if isinstance(part, ast.Constant)]
        if len(texts) == len(parts) > 1 and all(isinstance(text, str) for text in texts):
            yield named.get(id(node), ""), frozenset(texts)


def choices() -> set[frozenset[str]]:
    """Return the lists of choices of all options."""
    found = set()
    for call in COMMANDS.values():
        for parameter in inspect.signature(call, eval_str=True).parameters.values():
            kinds = [parameter.annotation, *get_args(parameter.annotation)]
            kinds += [part for kind in kinds for part in get_args(kind)]
            found |= {frozenset(get_args(kind)) for kind in kinds if get_origin(kind) is Literal}
    return found


def test_a_file_is_a_command() -> None:
    stems = {path.stem for path in (ROOT / "pipeline/commands").glob("[a-z]*.py")}
    assert {name.replace("-", "_") for name in COMMANDS} == stems
    for name, call in COMMANDS.items():
        stem = name.replace("-", "_")
        assert (call.__name__, call.__module__) == (stem, f"avpipe.pipeline.commands.{stem}")
        assert call.__doc__ and settings_of(call) is not None


def test_no_class_says_again_what_a_signature_says() -> None:
    found = set()
    for path, tree in FILES.items():
        for node in tree.body if path.startswith("pipeline/") else ():
            if isinstance(node, ast.ClassDef):
                fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
                names = {common_name(ast.unparse(field.target)) for field in fields}
                for call in COMMANDS.values():
                    options = {common_name(name) for name in inspect.signature(call).parameters}
                    if len(names & options) > max(2, 0.6 * len(names)):
                        found.add((path, node.name))
                if (path, node.name) in TRAVELS:
                    assert all(field.value is None for field in fields), "a default stands twice"
    assert found == TRAVELS


def test_a_default_stands_once() -> None:
    again = {
        path: names
        for path, tree in FILES.items()
        if not path.startswith("pipeline/commands/") and (names := spelled_again(tree))
    }
    assert again == {}, "use the constant that the signature uses, or ask for the value"
    homes: dict[tuple[str, Any], list[str]] = {}
    for path, tree in FILES.items():
        for name, value in constants(tree):
            if (path, name) not in OTHER_FACTS and (found := default_of(name, value)):
                homes.setdefault(found, []).append(f"{path}:{name}")
    for path, tree in FILES.items():
        for name, value in given_values(tree) if path.startswith("pipeline/commands/") else ():
            if found := default_of(name, value):
                homes.setdefault(found, []).append(f"{path}:{name}")
    assert {found: places for found, places in homes.items() if len(places) > 1} == {}


def test_a_list_of_choices_stands_once() -> None:
    homes: dict[frozenset[str], list[str]] = {}
    for path, tree in FILES.items():
        for name, texts in lists_of_choices(tree):
            if (path, name) not in OTHER_FACTS:
                homes.setdefault(texts, []).append(path)
    twice = {texts: homes[texts] for texts in choices() if len(homes.get(texts, ())) > 1}
    assert twice == {}


@pytest.mark.parametrize(
    "text",
    [
        "def f(kind='257x276'): ...",
        "def f(*, num_neighbors=1000): ...",
        "class A:\n    visual_teacher: str = 'detr-r50'",
        "g = lambda timeout_s=60.0: 0",
    ],
)
def test_a_default_that_is_spelled_again_is_found(text: str) -> None:
    assert len(spelled_again(ast.parse(text))) == 1


@pytest.mark.parametrize("text", ["def f(k=3): ...", "def f(seed=0): ...", "def f(kind=KIND): ..."])
def test_what_is_another_default_is_not(text: str) -> None:
    assert spelled_again(ast.parse(text)) == []


def test_lists_are_seen_in_every_form() -> None:
    text = "A = Literal['a', 'b']\nB = {'a': 1, 'b': 2}\nif x in ('a', 'b'): pass"
    found = list(lists_of_choices(ast.parse(text)))
    assert {name for name, _ in found} == {"A", "B", ""}
    assert {texts for _, texts in found} == {frozenset("ab")}
