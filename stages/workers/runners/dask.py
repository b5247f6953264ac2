"""`dask`: the workers of a Dask cluster, wherever they run; `--scheduler` is its address."""

from __future__ import annotations

import logging
import secrets
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .. import Workers
from . import (
    CONNECT_S,
    WORKERS_S,
    WorkerKilledError,
    gone,
    no_answer,
    no_workers,
    not_installed,
)

ON_OTHER_HOSTS = True
TAKES_JOBS = False


def open_runner(workers: Workers, gpus: int) -> Dask:
    """Reach the cluster.

    Raises:
        MissingDependencyError: Dask is missing, nobody answers, or there is no worker.
    """
    try:
        import distributed
        from distributed.comm import resolve_address
    except ImportError as error:
        raise not_installed(workers) from error
    _hush()
    try:
        resolve_address(workers.scheduler)  # a client of a wrong one cannot be closed quietly
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # versions of Dask's own; `fitness` compares ours
            client = distributed.Client(
                workers.scheduler, timeout=CONNECT_S, set_as_default=False, name="avpipe"
            )
    except (OSError, ValueError, TypeError, ImportError, RuntimeError) as error:
        raise no_answer(workers, error) from error
    try:
        client.wait_for_workers(1, timeout=WORKERS_S)
    except (OSError, TimeoutError) as error:
        client.close(timeout=1)
        raise no_workers(workers) from error
    return Dask(client, workers)


def _hush() -> None:
    """Let Dask and its loop log nothing: what matters is raised. Some loggers have own levels."""
    for name in ("distributed", "tornado.application", *logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


class Dask:
    """Submits tasks one by one; the scheduler tries those of a killed worker on another."""

    def __init__(self, client: Any, workers: Workers) -> None:
        """Take a client of the cluster."""
        from distributed import as_completed

        self._client, self._workers = client, workers
        self._number: dict[Any, int] = {}
        self._ended = as_completed(loop=client.loop)
        self._run = secrets.token_hex(4)

    @property
    def slots(self) -> int:
        """Threads of the workers that are there now."""
        known = self._client.scheduler_info(n_workers=-1)["workers"]
        threads: int = sum(one["nthreads"] for one in known.values())
        return max(1, threads)

    def submit(self, number: int, work: Callable[[Any], Any], task: Any) -> None:
        """Send a task to the scheduler."""
        key = f"avpipe-{self._run}-{number}"
        future = self._client.submit(work, task, pure=False, key=key)
        self._number[future] = number
        self._ended.add(future)

    def next(self) -> tuple[int, Any]:
        """Wait for a task; one that killed its workers again and again is known by its number."""
        from distributed import KilledWorker

        future = next(self._ended)
        number = self._number.pop(future)
        if future.status == "finished":
            return number, future.result()
        if future.status != "error":  # cancelled or lost
            raise gone(self._workers)
        error = future.exception()
        if isinstance(error, KilledWorker):
            raise WorkerKilledError(number) from error
        raise error

    def everywhere(self, work: Callable[[], Any]) -> dict[str, Any]:
        """Call it in every worker process: those of one host may have other versions."""
        found: dict[str, Any] = self._client.run(work, on_error="return")
        return found

    def cancel(self) -> None:
        """Forget what waits; a task that runs goes on to its end, as nothing can stop a thread."""
        with suppress(Exception):
            self._client.cancel(list(self._number))

    def close(self) -> None:
        """Leave the cluster."""
        with suppress(Exception):
            self._client.close(timeout=5)
