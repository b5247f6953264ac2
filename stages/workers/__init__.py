"""Processes beside this one: workers that run tasks, and children that decode."""

from dataclasses import dataclass
from typing import Final

BACKEND: Final = "loky"
"""Who runs workers: a file of `runners/`."""
TIMEOUT_S = 60.0
"""What a request to a child may take."""


@dataclass(frozen=True)
class Workers:
    """Who runs tasks.

    Attributes:
        jobs: Worker processes, of runners that start them; 1: none, tasks run in this process.
        backend: A file of `runners/`.
        scheduler: Address of the cluster, of runners that ask one.
    """

    jobs: int = 1
    backend: str = BACKEND
    scheduler: str | None = None
