"""Nothing heavy is loaded before it is needed."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    *(
        "torch",
        "torchvision",
        "torchaudio",
        "transformers",
        "numpy",
        "scipy",
        "h5py",
        "av",
        "faiss",
    ),
    *("librosa", "matplotlib", "PIL", "soxr", "joblib", "rich", "pooch"),
}


def loaded_by(code: str, folder: Path) -> set[str]:
    """Run code in a fresh process and return the top-level modules it has loaded at its end."""
    program = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('\\n@' + ' '.join(sys.modules), file=sys.stderr))\n" + code
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in done.stderr, done.stderr
    return {name.partition(".")[0] for name in done.stderr.rpartition("@")[2].split()}


def command(*words: str) -> str:
    return f"import sys\nfrom avpipe.pipeline.main import main\nsys.exit(main({list(words)!r}))"


def test_import_loads_nothing(tmp_path: Path) -> None:
    assert loaded_by("import avpipe", tmp_path) & (HEAVY | {"typer", "dataclasses"}) == set()


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["extract", "--help"],
        ["train", "--help"],
        ["embed-teachers", "--help"],
        ["demo", "--help"],
        ["config"],
        ["init"],
        ["bogus"],
    ],
)
def test_small_commands_load_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    assert loaded_by(command(*words), tmp_path) & HEAVY == set()


def test_a_heavy_import_would_be_seen(tmp_path: Path) -> None:
    assert "numpy" in loaded_by("import numpy", tmp_path)


@pytest.mark.parametrize("words", [["status"], ["extract", "missing"], ["verify"]])
def test_the_extract_side_runs_without_torch(words: list[str], tmp_path: Path) -> None:
    loaded = loaded_by(command(*words), tmp_path)
    assert loaded & {"torch", "torchvision", "torchaudio", "transformers", "faiss"} == set()


def test_cache_is_public_and_lazy() -> None:
    import avpipe
    from avpipe.cache.store import Cache

    assert avpipe.Cache is Cache
    assert "Cache" in dir(avpipe)
    with pytest.raises(AttributeError, match="no attribute 'Cash'"):
        avpipe.Cash  # noqa: B018 - the access is the test
