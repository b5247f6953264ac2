"""`sequential`: tasks run here, one by one, when their result is wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from .. import Workers

ON_OTHER_HOSTS = False
TAKES_JOBS = False


def open_runner(workers: Workers, gpus: int) -> Sequential:
    """Return a runner; there is nothing to start."""
    return Sequential()


class Sequential:
    """Runs tasks in this process."""

    slots = 1

    def __init__(self) -> None:
        """Begin without tasks."""
        self._waiting: deque[tuple[int, Callable[[Any], Any], Any]] = deque()

    def submit(self, number: int, work: Callable[[Any], Any], task: Any) -> None:
        """Remember a task."""
        self._waiting.append((number, work, task))

    def next(self) -> tuple[int, Any]:
        """Run a task."""
        number, work, task = self._waiting.popleft()
        return number, work(task)

    def everywhere(self, work: Callable[[], Any]) -> dict[str, Any]:
        """Call it here."""
        return {"this machine": work()}

    def cancel(self) -> None:
        """Forget the tasks."""
        self._waiting.clear()

    def close(self) -> None:
        """Do nothing."""
