"""What becomes of a run whose cluster ends, or has workers that cannot even be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from avpipe.errors import AvpipeError, InputError, MissingDependencyError
from avpipe.stages.workers import Workers, pool
from avpipe.stages.workers.fitness import Fitness, Software
from avpipe.stages.workers.runners import gone
from avpipe.stages.workers.runners.sequential import Sequential
from fake_clips import make_cache

WORKERS = Workers(1, "dask", "tcp://far:8786")


class Cluster(Sequential):
    """Runs tasks here; what its workers say when all are asked is given."""

    def __init__(self, *said: dict[str, Any] | Exception, ends: bool = False) -> None:
        super().__init__()
        self.said, self.ends = list(said), ends

    def everywhere(self, work: Callable[[], Any]) -> dict[str, Any]:
        said = self.said.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    def next(self) -> tuple[int, Any]:
        if self.ends:
            raise gone(WORKERS)
        return super().next()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return make_cache(tmp_path / "cache", ["a"])


def run(cluster: Cluster, cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    @contextmanager
    def opened(*_: object) -> Iterator[Cluster]:
        yield cluster

    monkeypatch.setattr(pool, "opened", opened)
    asked = Fitness.of_this_process(Software(("numpy",)), cache, stages=("extract",))
    results: list[int] = []
    try:
        pool.run_in_workers([-1, -2], abs, results.append, workers=WORKERS, fitness=asked)
    finally:
        assert not list((cache / "manifest").glob(".*"))
    return results


def test_all_is_done_where_a_worker_ended_while_it_was_asked(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = {"tcp://a:1": None, "tcp://b:1": OSError("timed out")}
    assert run(Cluster(lost, lost), cache, monkeypatch) == [1, 2]


def test_what_is_swept_last_does_not_hide_that_the_cluster_has_ended(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingDependencyError, match="the dask cluster has ended"):
        run(Cluster({}, OSError("no scheduler"), ends=True), cache, monkeypatch)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (ImportError("No module named 'avpipe'"), r"worker at tcp://b:1 cannot run .*'avpipe'\)"),
        (ValueError(), r"worker at tcp://b:1 cannot run avpipe \(ValueError\): install"),
        (InputError("host b has another cache"), "^host b has another cache$"),
    ],
)
def test_the_worker_that_cannot_work_is_named(
    cache: Path, monkeypatch: pytest.MonkeyPatch, said: Exception, line: str
) -> None:
    with pytest.raises(AvpipeError, match=line):
        run(Cluster({"tcp://a:1": None, "tcp://b:1": said}), cache, monkeypatch)
