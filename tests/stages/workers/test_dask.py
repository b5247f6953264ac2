"""Dask: the bytes of one process, whatever is killed, and one line for what is not in order."""

from __future__ import annotations

import logging
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from asked_to_extract import settings_for
from avpipe.cache.store import Cache
from avpipe.errors import AvpipeError, MissingDependencyError
from avpipe.pipeline.extract.rounds import run_rounds
from avpipe.pipeline.extract.run import extract
from avpipe.pipeline.extract.settings import ExtractSettings
from avpipe.stages.media.decoders import pyav
from avpipe.stages.synth.run import synth
from avpipe.stages.workers import Workers, runners
from fake_clips import file_bytes
from processes import drafts, kill
from round_tasks import mark

pytest.importorskip("distributed", reason="needs avpipe[dask]")
from dask_cluster import Cluster, dask_cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with dask_cluster(tmp_path_factory.mktemp("dask")) as running:
        yield running


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> ExtractSettings:
    """What one process is asked to do, and has done: eight clips, a shard each."""
    folder = tmp_path_factory.mktemp("here")
    world = synth(folder / "world", clips=6, classes=4, seed=2).videos
    settings = settings_for(
        (str(world),), folder / "cache", jobs=1, backend="sequential", shard_clips=1
    )
    extract(settings)
    return settings


@pytest.fixture
def there(here: ExtractSettings, cluster: Cluster, tmp_path: Path) -> ExtractSettings:
    """The same, asked of the cluster."""
    return replace(here, cache=tmp_path / "cache", backend="dask", scheduler=cluster.address)


def marks(folder: Path, count: int, cluster: Cluster) -> list[int]:
    results: list[int] = []
    run_rounds(
        lambda: [n for n in range(count) if not (folder / f"done-{n}").exists()],
        lambda number: number,
        partial(mark, folder),
        results.append,
        workers=Workers(2, "dask", cluster.address),
    )
    return sorted(results)


def test_two_threads_in_each_of_two_workers_make_the_same_bytes(
    here: ExtractSettings, there: ExtractSettings
) -> None:
    extract(there)
    assert file_bytes(there.cache) == file_bytes(here.cache)
    assert Cache(there.cache).ids == Cache(here.cache).ids


def test_a_killed_worker_costs_its_tasks_only(
    here: ExtractSettings, there: ExtractSettings, cluster: Cluster
) -> None:
    def strike() -> None:
        while not any((there.cache / "extract").glob("[!.]*.h5")):
            time.sleep(0.005)
        assert kill(cluster.workers()[:1]) == 1

    killer = threading.Thread(target=strike)
    killer.start()
    extract(there)
    killer.join()
    assert file_bytes(there.cache) == file_bytes(here.cache)
    assert list(drafts(there.cache)) == []


def test_tasks_run_once_and_a_deadly_one_is_named(tmp_path: Path, cluster: Cluster) -> None:
    assert marks(tmp_path, 5, cluster) == list(range(5))
    (tmp_path / "kill-6").touch()
    with pytest.raises(AvpipeError, match=r"killed at shard 6 \(out of memory"):
        marks(tmp_path, 8, cluster)
    assert len(list(tmp_path.glob("done-*"))) == 7


def test_an_error_of_a_task_is_raised_here(tmp_path: Path, cluster: Cluster) -> None:
    (tmp_path / "refuse-3").touch()
    with pytest.raises(AvpipeError, match="task 3 cannot go on"):
        marks(tmp_path, 30, cluster)


def test_workers_of_another_version_are_refused(
    there: ExtractSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyav, "version", lambda: "av 17.0.0, FFmpeg 7.1")
    with pytest.raises(MissingDependencyError) as caught:
        extract(there)
    line = str(caught.value)
    assert line.startswith(f"host {socket.gethostname()} has decoder av ")
    assert "this process av 17.0.0, FFmpeg 7.1: install the same on both" in line
    assert not any((there.cache / "extract").glob("*.h5"))


def test_an_address_without_a_scheduler_is_one_line(
    there: ExtractSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avpipe.stages.workers.runners.dask.CONNECT_S", 0.5)
    with pytest.raises(MissingDependencyError, match=r"tcp://127\.0\.0\.1:1: no dask cluster ans"):
        extract(replace(there, scheduler="tcp://127.0.0.1:1"))


@pytest.mark.parametrize("address", ["nonsense", "tcp://localhost", "bogus://a:1"])
def test_what_is_no_address_is_told_at_once(
    there: ExtractSettings, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By no client: one that could not begin waits half a minute to be closed, and says so."""
    monkeypatch.setattr("distributed.Client", lambda *words, **more: pytest.fail("a client"))
    with pytest.raises(MissingDependencyError, match=f"--scheduler {address}: no dask cluster"):
        extract(replace(there, scheduler=address))


def test_a_cluster_without_workers_is_one_line(
    there: ExtractSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avpipe.stages.workers.runners.dask.WORKERS_S", 0.2)
    with (
        dask_cluster(tmp_path, workers=0) as empty,
        pytest.raises(MissingDependencyError, match="the cluster has no worker after"),
    ):
        extract(replace(there, scheduler=empty.address))


@pytest.mark.parametrize("name", ["distributed", "distributed.client", "tornado.application"])
def test_what_dask_logs_is_no_user_s_business(cluster: Cluster, name: str) -> None:
    with runners.opened(Workers(1, "dask", cluster.address)):
        assert not logging.getLogger(name).isEnabledFor(logging.ERROR)


def test_what_answers_in_time_answers_within_half_a_minute() -> None:
    assert runners.CONNECT_S + runners.WORKERS_S < 30


def test_a_worker_that_sees_another_disk_is_refused(
    there: ExtractSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = there.cache / "manifest"
    from avpipe.pipeline.extract import run as module

    run = module.run_rounds

    def on_another_disk(*words: object, **named: object) -> None:
        shutil.rmtree(manifest)
        run(*words, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "run_rounds", on_another_disk)
    with pytest.raises(AvpipeError, match=f"host {socket.gethostname()} does not see the cache"):
        extract(there)
