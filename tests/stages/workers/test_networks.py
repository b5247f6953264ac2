"""Teachers and searches over worker processes: the bytes of one process."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from avpipe.errors import MissingDependencyError, UsageError
from avpipe.pipeline.commands.embed_teachers import embed_teachers
from avpipe.pipeline.commands.knn import knn
from avpipe.pipeline.networks import fan_out
from avpipe.pipeline.networks.fan_out import FanOut
from avpipe.stages.embed import shard
from avpipe.stages.workers import Workers
from cache_factory import make_cache
from called import document_of
from fake_clips import file_bytes

HEARS = {"audio": "efficientat-mn04", "weights": ["random"], "device": "cpu", "threads": "1"}


@pytest.mark.parametrize("parts", [(None,), ("1/2", "0/2")])
def test_shards_and_searches_are_tasks(
    parts: tuple[str | None, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(tmp_path / "cache", 9, shard_clips=2).path
    copy = tmp_path / "copy"
    shutil.copytree(cache, copy)
    asked = ((embed_teachers, {"visual": "none"}), (knn, {"image": "none", "k": 3}))
    for command, more in asked:
        document_of(command, cache=cache, **HEARS, **more)
    tasks = FanOut(Workers(1, "sequential"), "cpu", "1")
    monkeypatch.setattr(FanOut, "chosen", lambda *_: tasks)
    for command, more in asked:
        made = [document_of(command, cache=copy, part=one, **HEARS, **more) for one in parts]
        assert sum(one["done"] for one in made) == 9
    assert file_bytes(copy) == file_bytes(cache)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["loky", "dask"])
def test_teachers_and_neighbors_in_workers(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    there: dict[str, Any] = {"jobs": 2}
    if backend == "dask":
        pytest.importorskip("distributed", reason="needs avpipe[dask]")
        from dask_cluster import dask_cluster

        there = {"backend": "dask"}
        running = dask_cluster(tmp_path, workers=1, threads=2)
        there["scheduler"] = running.__enter__().address
        request.addfinalizer(lambda: running.__exit__(None, None, None))
    cache = make_cache(tmp_path / "cache", 9, shard_clips=2).path
    copy = tmp_path / "copy"
    shutil.copytree(cache, copy)
    for command, more in ((embed_teachers, {"visual": "none"}), (knn, {"image": "none", "k": 3})):
        here = document_of(command, cache=cache, **HEARS, **more)
        made = document_of(command, cache=copy, **HEARS, **more, **there)
        assert made["done"] == here["done"] == 9
        assert made["weights"] == here["weights"]
        again = document_of(command, cache=copy, **HEARS, **more, **there)
        assert (again["done"], again["skipped"]) == (0, 9)
    assert file_bytes(copy) == file_bytes(cache)


def test_other_weights_of_a_worker_are_refused(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache", 2, shard_clips=2).path
    task = shard.EmbedTask(cache, "hints/efficientat-mn04", 0, 2, ("random",), "another", "cpu", 2)
    with pytest.raises(MissingDependencyError, match="has other weights of efficientat-mn04 than"):
        shard.embed_shard(task)


def test_there_are_no_more_workers_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_out, "usable_device", lambda name: name)
    monkeypatch.setattr(fan_out, "chosen_device", lambda name: "cuda")
    monkeypatch.setattr(fan_out, "num_gpus", lambda: 2)
    found = FanOut.chosen(Workers(8), "auto", "auto")
    assert found and found.workers.jobs == 2
    monkeypatch.setattr(fan_out, "num_gpus", lambda: 1)
    assert FanOut.chosen(Workers(8), "auto", "auto") is None


def test_a_device_that_is_not_here_is_told_before_workers_start() -> None:
    with pytest.raises(UsageError, match="--device cuda:77 cannot be used here"):
        FanOut.chosen(Workers(2), "cuda:77", "auto")
