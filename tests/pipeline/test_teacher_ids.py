"""`embed-teachers --ids`, and what neighbours and clusters do where teachers saw some clips."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from avpipe.cache.state import shard_numbers
from avpipe.pipeline.main import main
from cache_factory import make_cache

pytestmark = pytest.mark.usefixtures("one_thread")
Ask = Callable[[str], tuple[Any, str]]
SMALL = "--visual none --audio efficientat-mn04 --weights random"


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a command on a cache of five shards of four clips: its document, and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVPIPE_DEVICE", "cpu")
    make_cache(Path("avcache"), 20, shard_clips=4)
    Path("few.txt").write_text("clip005\nclip013\ngone\n")

    def run(words: str) -> tuple[Any, str]:
        capsys.readouterr()
        assert main([*words.split(), "--json"]) == 0
        captured = capsys.readouterr()
        return json.loads(captured.out), captured.err

    return run


def shards(stage: str) -> set[int]:
    return shard_numbers(Path("avcache"), stage)


def test_teachers_do_the_shards_of_the_listed_clips(ask: Ask) -> None:
    (row,) = ask(f"embed-teachers {SMALL} --ids few.txt --dry-run")[0]["stages"]
    assert row["clips"] == 8
    found, _ = ask(f"embed-teachers {SMALL} --ids few.txt")
    assert (found["done"], found["skipped"]) == (8, 0)
    assert shards("hints/efficientat-mn04") == {1, 3}
    assert found["notices"] == [
        "1 of 3 listed ids are not in the cache, gone first",
        "--ids: teachers do whole shards: 8 clips in 2, the 12 clips of other shards are not asked "
        "for",
    ]
    found, _ = ask(f"embed-teachers {SMALL}")  # the rest, with the bytes it would have had
    assert (found["done"], found["skipped"], found["notices"]) == (12, 8, [])


@pytest.mark.parametrize(
    "words",
    [
        "embed-teachers --visual none --audio efficientat-mn04 --dry-run",
        "knn --image none --audio efficientat-mn04 --dry-run",
        "cluster --encoder efficientat-mn04 --dry-run",
        "cluster --encoder efficientat-mn04",
    ],
)
def test_weights_of_a_network_that_does_not_run_are_refused(
    ask: Ask, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a dry run too, which looks for no file."""
    assert main([*words.split(), "--weights", "detr-r50=random"]) == 2
    assert "this run has no detr-r50 (efficientat-mn04)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "knn --k 1 --image none --audio efficientat-mn04",
        "cluster --k 2 --encoder efficientat-mn04",
    ],
)
def test_neighbours_and_clusters_of_a_list_take_what_is_there(ask: Ask, command: str) -> None:
    ask(f"embed-teachers {SMALL} --ids few.txt")
    found, said = ask(f"{command} --ids few.txt --weights random")
    assert (found["embedded"], found["done"]) == (0, 2)
    assert "embedded first" not in said
    assert shards("hints/efficientat-mn04") == {1, 3}

    Path("more.txt").write_text("clip005\nclip000\n")
    (row,) = ask(f"{command} --ids more.txt --dry-run")[0]["stages"]
    assert (row["stage"], row["clips"]) == ("hints/efficientat-mn04", 4)
    found, said = ask(f"{command} --ids more.txt --weights random")
    assert (found["embedded"], found["done"]) == (4, 2)
    assert (
        "hints/efficientat-mn04 has 4 of the 8 clips; the other 4 are embedded first (for fewer "
        "give --ids)" in said
    )
    assert shards("hints/efficientat-mn04") == {0, 1, 3}

    (row,) = ask(f"{command} --dry-run")[0]["stages"]
    assert row["clips"] == 8
    found, said = ask(f"{command} --weights random")
    assert (found["embedded"], found["done"]) == (8, 20)
    assert "has 12 of the 20 clips; the other 8 are embedded first" in said


def test_a_settings_file_does_not_narrow_what_teachers_see(ask: Ask) -> None:
    """Test clips need hints too: a list of training clips is for `train` and `knn`."""
    Path("avpipe.toml").write_text('ids = "few.txt"\n')
    assert ask(f"embed-teachers {SMALL}")[0]["done"] == 20
