"""Nothing heavy is loaded before it is needed."""

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from fake_clips import make_cache
from heavy import HEAVY
from warm import Warm

NEEDS_GRADIO = pytest.mark.skipif(find_spec("gradio") is None, reason="no gradio")


Loaded = Callable[..., set[str]]
TELL = (
    "import atexit, sys\n"
    "atexit.register(lambda: print('\\n@' + ' '.join(sys.modules), file=sys.stderr))\n"
)


def found(said: str, told: str) -> set[str]:
    """Return the top-level modules that a program told at its end, whose error holds `told`."""
    assert "Traceback" not in said, said
    error, _, loaded = said.rpartition("@")
    assert told in error
    return {name.partition(".")[0] for name in loaded.split()}


def loaded_by(code: str, folder: Path) -> set[str]:
    """Run code in a fresh process and return the top-level modules it has loaded at its end."""
    command = [sys.executable, "-c", TELL + code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=540)
    return found(done.stderr, "")


@pytest.fixture
def loaded_by_command(light: Warm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """Run a command, and return what it and the command line have loaded."""
    return loaded_in(light, tmp_path, monkeypatch)


@pytest.fixture
def loaded_beside_the_cache(
    stored: Warm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Loaded:
    """Run a command, and return what it and the reading of caches have loaded."""
    return loaded_in(stored, tmp_path, monkeypatch)


def loaded_in(server: Warm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    monkeypatch.chdir(tmp_path)

    def run(*words: str, told: str = "") -> set[str]:
        server.start(TELL + COMMAND, words, log=tmp_path / "log").wait()
        return found((tmp_path / "log").read_text(), told)

    return run


COMMAND = "from avpipe.pipeline.main import main\nsys.exit(main(sys.argv[1:]))"


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
def test_small_commands_load_nothing_heavy(words: list[str], loaded_by_command: Loaded) -> None:
    assert loaded_by_command(*words) & HEAVY == set()


def test_a_heavy_import_would_be_seen(tmp_path: Path) -> None:
    assert "numpy" in loaded_by("import numpy", tmp_path)


def test_a_command_loads_no_more_in_a_process_of_its_own(tmp_path: Path) -> None:
    assert loaded_by(f"sys.argv[1:] = ['--help']\n{COMMAND}", tmp_path) & HEAVY == set()


@pytest.mark.parametrize("words", [["status"], ["extract", "missing"], ["verify"]])
def test_the_extract_side_runs_without_torch(
    words: list[str], loaded_beside_the_cache: Loaded
) -> None:
    loaded = loaded_beside_the_cache(*words)
    assert loaded & {"torch", "torchvision", "torchaudio", "transformers", "faiss"} == set()


@pytest.mark.parametrize(
    "words",
    [
        "train --cache cache --recipe gone",
        "train --cache cache --set gone=1",
        "train --cache gone",
        "train --cache cache --ids gone",
        "train --cache cache --run gone.txt",
        "evaluate gone",
        "evaluate run --cache gone",
        "evaluate run --cache cache --annotations gone",
        "evaluate run --cache cache --annotations run --benchmark gone",
        "evaluate run --cache cache --annotations run --protocol gone",
        "report gone",
        "report run --cache cache --annotations run --benchmark gone",
        "localize x.mp4 --run gone",
        "localize gone.mp4 --run run",
        "localize --ids gone --run run",
        "cases --run gone",
        "cases --run run --annotations gone",
        "export gone",
        "import-checkpoint gone --from slavc --run new",
        "import-checkpoint run/run.json --from gone --run new",
        "import-checkpoint run/run.json --from slavc --run new --set gone=1",
        pytest.param("serve gone", marks=NEEDS_GRADIO),
        pytest.param("serve run --cache gone --port 0", marks=NEEDS_GRADIO),
        "embed-teachers --cache gone",
        "embed-teachers --cache cache --visual gone",
        "knn --cache cache --ids gone",
        "cluster --cache cache --encoder gone",
    ],
)
def test_a_mistyped_name_is_told_before_anything_heavy_is_loaded(
    words: str, tmp_path: Path, loaded_beside_the_cache: Loaded
) -> None:
    make_cache(tmp_path / "cache", ["a"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").touch()
    (tmp_path / "gone.txt").touch()
    loaded = loaded_beside_the_cache(*words.split(), told="gone")
    assert loaded & {"torch", "torchvision", "transformers", "gradio"} == set()


def test_cache_is_public_and_lazy() -> None:
    import avpipe
    from avpipe.cache.store import Cache

    assert avpipe.Cache is Cache
    assert "Cache" in dir(avpipe)
    with pytest.raises(AttributeError, match="no attribute 'Cash'"):
        avpipe.Cash  # noqa: B018 - the access is the test
