"""What a worker on another host must have: the same versions, the clips, and a cache to write."""

from __future__ import annotations

import platform
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

from ... import __version__
from ...cache.addresses import is_address
from ...cache.schema import MANIFEST
from ...cache.writer import remove_orphans, temporary
from ...errors import (
    AvpipeError,
    CacheUnwritableError,
    InputError,
    MissingDependencyError,
    UsageError,
)
from ..sources.staging import require_there, sweep_staged

Task = TypeVar("Task")
Result = TypeVar("Result")

_fit: set[Fitness] = set()
"""What this process was found to have."""


@dataclass(frozen=True)
class Software:
    """What the bytes of a stage depend on, beside its inputs.

    Attributes:
        packages: Libraries that its headers name.
        decoder: What decodes clips, if it does.
    """

    packages: tuple[str, ...]
    decoder: str | None = None

    def versions(self) -> dict[str, str]:
        """Return what is what in this process."""
        found = {"avpipe": __version__, "Python": ".".join(platform.python_version_tuple()[:2])}
        for name in self.packages:
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                found[name] = "not installed"
        if self.decoder is not None:
            from ..extract import STAGE_VERSION
            from ..media import decoder_version

            found["stage version of extract"] = str(STAGE_VERSION)
            found["decoder"] = decoder_version(self.decoder)
        return found

    def require(self) -> None:
        """Check what is no version, of stages that need more."""


@dataclass(frozen=True)
class Fitness:
    """What a process must have to work for this one.

    Attributes:
        software: What is compared.
        versions: What this process has of it, name and version.
        cache: The cache, absolute.
        folders: Where clips lie; of those at an address, the address of one.
        stages: Folders of the cache that are written.
        gpus: GPUs that a worker needs for itself.
    """

    software: Software
    cache: Path
    folders: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    gpus: int = 0
    versions: tuple[tuple[str, str], ...] = field(default=())

    @classmethod
    def of_this_process(
        cls,
        software: Software,
        cache: Path,
        *,
        folders: tuple[str, ...] = (),
        stages: tuple[str, ...] = (),
        gpus: int = 0,
    ) -> Fitness:
        """Ask of others what this process has; of folders only those that it can list itself."""
        there = tuple(folder for folder in folders if not _unreadable(folder))
        versions = tuple(software.versions().items())
        return cls(software, cache.absolute(), there, stages, gpus, versions)


def require_fit(fitness: Fitness) -> None:
    """Check that this process, on whatever host, can work for the one that asks; sweep its host.

    Raises:
        MissingDependencyError: It has other versions.
        InputError: It lacks the clips or the cache.
        CacheUnwritableError: It cannot write the cache.
    """
    host = f"host {socket.gethostname()}"
    try:
        have = fitness.software.versions()
    except AvpipeError as error:
        raise type(error)(f"{host}: {error}") from error
    for name, wanted in fitness.versions:
        if have.get(name) != wanted:
            raise MissingDependencyError(
                f"{host} has {name} {have.get(name)}, this process {wanted}: install the same on "
                "both, or their shards would not be the same"
            )
    for folder in fitness.folders:
        if why := _unreadable(folder):
            if is_address(folder):
                raise InputError(f"{host} cannot fetch {folder} ({why})")
            raise InputError(f"{host} cannot read {folder} ({why}): mount it there too")
    manifest = fitness.cache / MANIFEST
    if not any(manifest.glob("*.jsonl")):
        raise InputError(f"{host} does not see the cache {fitness.cache}: mount it there too")
    try:
        with temporary(manifest / "writable"):
            pass
    except CacheUnwritableError as error:
        raise CacheUnwritableError(f"{host}: {error}") from error
    try:
        fitness.software.require()
    except UsageError as error:
        raise UsageError(f"{host}: {error}") from error
    sweep(fitness)


def sweep(fitness: Fitness) -> None:
    """Remove what killed processes of this host left of shards, and of clips that were fetched."""
    sweep_staged()
    for stage in fitness.stages:
        folder = fitness.cache / stage
        remove_orphans(folder)
        for below in folder.glob("*/"):  # a family's stages: `neighbors/...`
            remove_orphans(below)


def work_if_fit(task: Task, work: Callable[[Task], Result], fitness: Fitness) -> Result:
    """Do a task; before the first one this process is checked, as it may have come later.

    Raises:
        Errors as `require_fit`, and what `work` raises.
    """
    if fitness not in _fit:
        require_fit(fitness)
        _fit.add(fitness)
    return work(task)


def _unreadable(folder: str) -> str:
    if is_address(folder):
        try:
            require_there(folder)
        except AvpipeError as error:
            return str(error)
        return ""
    try:
        next(Path(folder).iterdir(), None)
    except OSError as error:
        return error.strerror or str(error)
    return ""
