"""`ray`: the workers of a Ray cluster; `--scheduler` is its address, or `auto`: on this host."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .. import Workers
from . import CONNECT_S, WorkerKilledError, gone, no_answer, not_installed

ON_OTHER_HOSTS = True
TAKES_JOBS = False
_ASK_S = 60.0
"""What a node may take to start a process and answer."""


def open_runner(workers: Workers, gpus: int) -> Ray:
    """Reach the cluster.

    Raises:
        MissingDependencyError: Ray is missing, or nobody answers.
    """
    try:
        import ray
    except ImportError as error:
        raise not_installed(workers) from error
    try:
        _require_answer(workers.scheduler or "")
        ray.init(
            address=workers.scheduler,
            ignore_reinit_error=True,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            configure_logging=False,
        )
    except (OSError, ValueError, RuntimeError, ConnectionError) as error:
        raise no_answer(workers, error) from error
    return Ray(workers, gpus)


def _require_answer(address: str) -> None:
    """Check that somebody listens: Ray itself waits longer, and says more than a line."""
    place = address.removeprefix("ray://")
    host, sign, port = place.rpartition(":")
    if sign and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()


class Ray:
    """Submits tasks one by one; Ray tries those of a killed worker again."""

    def __init__(self, workers: Workers, gpus: int) -> None:
        """Take the cluster that this process has reached."""
        import ray

        self._ray, self._workers = ray, workers
        self._call = ray.remote(_call)
        self._needs = {"num_cpus": 1, "num_gpus": gpus, "max_retries": 3}
        self._number: dict[Any, int] = {}

    @property
    def slots(self) -> int:
        """CPUs, or GPUs where tasks need those."""
        kind = "GPU" if self._needs["num_gpus"] else "CPU"
        return max(1, int(self._ray.cluster_resources().get(kind, 0)))

    def submit(self, number: int, work: Callable[[Any], Any], task: Any) -> None:
        """Send a task to the cluster."""
        self._number[self._call.options(**self._needs).remote(work, task)] = number

    def next(self) -> tuple[int, Any]:
        """Wait for a task; one that killed its workers again and again is known by its number."""
        from ray import exceptions

        (ended,), _ = self._ray.wait(list(self._number), num_returns=1)
        number = self._number.pop(ended)
        try:
            return number, self._ray.get(ended)
        except exceptions.RayTaskError as error:
            raise error.cause from error
        except (exceptions.WorkerCrashedError, exceptions.OutOfMemoryError) as error:
            raise WorkerKilledError(number) from error
        except exceptions.RayError as error:
            raise gone(self._workers) from error

    def everywhere(self, work: Callable[[], Any]) -> dict[str, Any]:
        """Call it in a process of every node."""
        from ray import exceptions
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        asked = {
            f"{node['NodeManagerAddress']}, node {node['NodeID'][:8]}": self._call.options(
                num_cpus=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            ).remote(_without_task, work)
            for node in self._ray.nodes()
            if node["Alive"]
        }
        found: dict[str, Any] = {}
        for where, one in asked.items():
            try:
                found[where] = self._ray.get(one, timeout=_ASK_S)
            except exceptions.RayTaskError as error:
                found[where] = error.cause
            except exceptions.RayError as error:
                found[where] = error
        return found

    def cancel(self) -> None:
        """Forget what waits; a task that runs is interrupted."""
        for one in self._number:
            with suppress(Exception):
                self._ray.cancel(one)

    def close(self) -> None:
        """Leave the cluster."""
        with suppress(Exception):
            self._ray.shutdown()


def _call(work: Callable[[Any], Any], task: Any) -> Any:
    return work(task)


def _without_task(work: Callable[[], Any]) -> Any:
    return work()
