"""Imports point one way, read from the source with `ast`."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from avpipe.pipeline.cli import commands

ROOT = Path(__file__).parents[2]
LEAVES = {
    "advice",
    "devices",
    "drafts",
    "errors",
    "machine",
    "printable",
    "reading",
    "stopping",
    "weights",
}
FOLDERS = ("cache", "pipeline", "stages", "train")
MAY_IMPORT = {
    "cache": {"cache"},
    "stages": {"stages", "cache"},
    "train": {"train", "cache"},
    "pipeline": {"pipeline", "stages", "train", "cache"},
}
EXCEPTIONS = {("train", "stages.spectrogram"), ("train", "stages.teachers.live")}
EXTRACT_PATH = [
    "pipeline/extract/scan.py",
    "pipeline/extract/run.py",
    "pipeline/tally.py",
    "stages/workers/decoder.py",
    "stages/extract.py",
    "stages/features.py",
    "stages/media/__init__.py",
    "stages/media/decoders/ffmpeg.py",
    "stages/spectrogram.py",
    "stages/synth/run.py",
    "cache/store.py",
    "cache/verify.py",
]
"""Files that the extract path starts from; the test follows what they import."""


def sources() -> list[Path]:
    folders = [
        path for name in (*FOLDERS, "weights") for path in sorted((ROOT / name).rglob("*.py"))
    ]
    return [*sorted(ROOT.glob("*.py")), *folders]


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield each imported module, as (dotted name, whether relative): `("stages.media", True)`."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or "", False
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            prefix = ".".join(part for part in base if part)
            if exists(prefix) and prefix not in FOLDERS:
                yield prefix, True
                continue
            for alias in node.names:
                name = f"{prefix}.{alias.name}".lstrip(".")
                yield (name if exists(name) else prefix), True


def exists(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return bool(name) and (path.with_suffix(".py").exists() or (path / "__init__.py").exists())


def broken_rules(path: Path) -> list[str]:
    here = path.relative_to(ROOT).parts
    layer = here[0] if len(here) > 1 else here[0].removesuffix(".py")
    broken = []
    for name, relative in imports(path):
        top = name.partition(".")[0]
        if not relative and top == "avpipe":
            broken.append(f"{'/'.join(here)} imports {name} absolutely")
        if not relative or top in LEAVES or not name:
            continue
        if layer in LEAVES or (layer in MAY_IMPORT and top not in MAY_IMPORT[layer]):
            if (layer, name) in EXCEPTIONS:
                continue
            broken.append(f"{'/'.join(here)} imports {name}")
    return broken


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    assert broken_rules(path) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("cache/planted.py", "from ..stages.media import decode_clip"),
        ("cache/planted.py", "from .. import stages"),
        ("stages/planted.py", "from ..pipeline.config import ExtractSettings"),
        ("train/planted.py", "from ..stages.media import decode_clip"),
        ("train/planted.py", "from ..stages import media"),
        ("errors.py", "from .cache.store import Cache"),
        ("stages/planted.py", "import avpipe.cache"),
        ("stages/planted.py", "from avpipe.cache.store import Cache"),
    ],
)
def test_a_planted_import_is_found(
    file: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "stages/media/__init__.py",
        "pipeline/extract/settings.py",
        "cache/store.py",
        file,
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in FOLDERS:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / file).write_text(line)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert len(broken_rules(tmp_path / file)) == 1


def test_the_trainer_may_hear_with_the_stages_spectrogram(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stages", "train"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "stages/spectrogram.py").touch()
    planted = tmp_path / "train/planted.py"
    planted.write_text("from ..stages.spectrogram import log_spectrogram")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert broken_rules(planted) == []


def test_the_cache_knows_no_command() -> None:
    """It says what is wrong; which command fixes that, and by which option, others add."""
    words = re.compile(rf"avpipe (?:{'|'.join(commands())})\b|(?<![\w-])--[a-z]")
    found = [
        f"{path.name}:{number}: {line.strip()}"
        for path in sorted((ROOT / "cache").rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if words.search(line)
    ]
    assert found == []
    assert words.search("run `avpipe verify --repair`") and words.search("give --k 3")


def test_extract_never_reaches_torch() -> None:
    todo, seen, outside = [ROOT / name for name in EXTRACT_PATH], set(), {}
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        for name, relative in imports(path):
            if relative:
                module = ROOT.joinpath(*name.split("."))
                todo.append(
                    module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
                )
            else:
                outside[name.partition(".")[0]] = path.relative_to(ROOT)
    heavy = {"torch", "torchvision", "torchaudio", "transformers", "faiss", "librosa"}
    assert {name: str(path) for name, path in outside.items() if name in heavy} == {}
