"""Rounds: a killed worker costs its task a second try, and the run ends in any case."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from avpipe.errors import AvpipeError, InputError
from avpipe.pipeline.extract import rounds
from avpipe.pipeline.extract.candidate import Candidate
from avpipe.pipeline.extract.pieces import pieces
from avpipe.pipeline.extract.rounds import run_rounds
from avpipe.pipeline.networks.fan_out import FanOut
from avpipe.stages.features import FeatureParams
from avpipe.stages.workers import Workers
from avpipe.stages.workers.runners import WorkerKilledError
from cache_factory import make_cache
from embedded_cache import embedded
from round_tasks import mark


def run(folder: Path, count: int, backend: str = "loky", jobs: int = 2) -> list[int]:
    results: list[int] = []
    run_rounds(
        lambda: [n for n in range(count) if not (folder / f"done-{n}").exists()],
        lambda number: number,
        partial(mark, folder),
        results.append,
        workers=Workers(jobs, backend),
    )
    return sorted(results)


@pytest.mark.parametrize("backend", ["loky", "sequential"])
def test_every_task_runs_once(tmp_path: Path, backend: str) -> None:
    assert run(tmp_path, 7, backend) == list(range(7))
    assert run(tmp_path, 7, backend) == []


def test_killed_worker_costs_a_round(tmp_path: Path) -> None:
    (tmp_path / "kill-once-3").touch()
    run(tmp_path, 8)
    assert len(list(tmp_path.glob("done-*"))) == 8


def test_task_that_always_kills_ends_the_run_with_the_others_done(tmp_path: Path) -> None:
    (tmp_path / "kill-0").touch()
    with pytest.raises(AvpipeError, match="killed at shard 0 "):
        run(tmp_path, 6)
    assert len(list(tmp_path.glob("done-*"))) == 5


@pytest.mark.parametrize("backend", ["loky", "sequential"])
def test_expected_error_of_a_task_stops_the_run(tmp_path: Path, backend: str) -> None:
    (tmp_path / "refuse-0").touch()
    with pytest.raises(InputError, match="task 0 cannot go on"):
        run(tmp_path, 50, backend)
    assert len(list(tmp_path.glob("done-*"))) < 49


@pytest.mark.parametrize("backend", ["loky", "sequential"])
def test_a_stopped_run_says_nothing_of_its_own(tmp_path: Path, backend: str) -> None:
    """Too many failures end a run from within; what joblib thinks of it is no user's business."""

    class StopError(Exception):
        pass

    def stop(_: int) -> None:
        raise StopError

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with pytest.raises(StopError):
            run_rounds(
                lambda: list(range(50)),
                lambda number: number,
                partial(mark, tmp_path),
                stop,
                workers=Workers(2, backend),
            )
    assert heard == []


def test_what_killed_a_worker_is_named_as_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **more: object) -> None:
        raise WorkerKilledError(0)

    monkeypatch.setattr(rounds, "run_in_workers", killed)
    settings: Any = SimpleNamespace(
        segment_s=2.0, cache=tmp_path, timeout_s=1.0, workers=Workers(1, "sequential")
    )
    files = [Candidate("a", str(tmp_path), "a.mp4", 1, "a")]
    with pytest.raises(AvpipeError, match="killed at group of files 0 "):
        list(pieces(settings, FeatureParams(), [], files))
    cache = make_cache(tmp_path / "cache", 4, shard_clips=4)
    embedded(cache, np.eye(4, dtype=np.float32), "embeddings/imagenet-resnet18")
    with pytest.raises(AvpipeError, match="killed at part of the search 0"):
        FanOut(Workers(1, "sequential"), "cpu", "1").neighbors(
            cache, "imagenet-resnet18", 2, ids=None, hold_out=(), overwrite=False,
            progress=lambda *_: None,
        )  # fmt: skip
