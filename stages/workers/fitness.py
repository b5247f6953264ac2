"""What a worker on another host must have: the same versions, the clips, and a cache to write."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

from ... import __version__
from ...cache.addresses import is_address
from ...cache.schema import MANIFEST
from ...cache.writer import remove_orphans, temporary
from ...drafts import sweep_temporary
from ...errors import AvpipeError, InputError, MissingDependencyError
from ..sources.staging import require_there

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
            try:
                from ..extract import STAGE_VERSION
                from ..media import decoder_version

                found["stage version of extract"] = str(STAGE_VERSION)
                found["decoder"] = decoder_version(self.decoder)
            except ImportError as error:  # of a library whose version is another, most likely
                found["decoder"] = f"none ({error})"
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
        folders: Where clips lie, folders or tars; of those at an address, the address of one.
        stages: Folders of the cache that are written.
        gpus: GPUs that a worker needs for itself.
        token: Name of a file in the manifest's folder that is there while workers are asked.
    """

    software: Software
    cache: Path
    folders: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    gpus: int = 0
    versions: tuple[tuple[str, str], ...] = field(default=())
    token: str = ""

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
        """Ask of others what this process has; of folders only those where it finds something."""
        there = tuple(folder for folder in folders if not _unreadable(folder))
        versions = tuple(software.versions().items())
        return cls(software, cache.absolute(), there, stages, gpus, versions)

    @contextmanager
    def with_token(self) -> Iterator[Fitness]:
        """Put a file into the cache that workers have to see: it is not another of the same path.

        Raises:
            CacheUnwritableError: The cache cannot be written.
        """
        with temporary(self.cache / MANIFEST / "seen") as draft:
            yield replace(self, token=draft.name)


def require_fit(fitness: Fitness) -> None:
    """Check that this process, on whatever host, can work for the one that asks; sweep its host.

    Raises:
        MissingDependencyError: It has other versions.
        InputError: It lacks the clips or the cache.
        CacheUnwritableError: It cannot write the cache.
    """
    host = _host()
    with _told_by_host():
        have = fitness.software.versions()
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
    _require_cache(fitness)
    with _told_by_host():
        fitness.software.require()
    sweep(fitness)


def _require_cache(fitness: Fitness) -> None:
    """Check that this process sees the very cache, and can write wherever shards come.

    Raises:
        InputError: It does not see it.
        CacheUnwritableError: It cannot write it.
    """
    manifest = fitness.cache / MANIFEST
    try:
        is_cache = any(path.suffix == ".jsonl" for path in manifest.iterdir())
        why = "" if is_cache else "no manifest"
    except OSError as error:
        why = error.strerror or str(error)
    if why:
        raise InputError(
            f"{_host()} does not see the cache {fitness.cache} ({why}): mount it there too"
        )
    if fitness.token and not (manifest / fitness.token).exists():
        raise InputError(
            f"{_host()} has another cache at {fitness.cache}: mount the folder of this process "
            "there, or its shards would be lost"
        )
    written = (fitness.cache / stage for stage in fitness.stages)
    with _told_by_host():
        for folder in (manifest, *filter(Path.is_dir, written)):
            with temporary(folder / "writable"):
                pass


def sweep(fitness: Fitness) -> None:
    """Remove what killed processes of this host left of shards, and of clips that were fetched."""
    sweep_temporary()
    for stage in {MANIFEST, *fitness.stages}:
        folder = fitness.cache / stage
        remove_orphans(folder)
        for below in folder.glob("*/"):  # a family's stages: `neighbors/...`
            remove_orphans(below)


def work_if_fit(task: Task, work: Callable[[Task], Result], fitness: Fitness) -> Result:
    """Do a task; before the first one this process is checked, as it may have come later.

    Raises:
        Errors as `require_fit`, and what `work` raises, with this host's name.
    """
    if fitness not in _fit:
        require_fit(fitness)
        _fit.add(fitness)
    with _told_by_host():
        return work(task)


def _host() -> str:
    return f"host {socket.gethostname()}"


@contextmanager
def _told_by_host() -> Iterator[None]:
    """Say in an error on which host it was: who reads it sits at another."""
    try:
        yield
    except AvpipeError as error:
        if str(error).startswith(_host()):
            raise
        kind = next(
            kind for kind in type(error).__mro__ if kind.__module__ == AvpipeError.__module__
        )
        raise kind(f"{_host()}: {error}", fault=error.fault) from error


def _unreadable(place: str) -> str:
    """Return why a folder, a tar or an address gives no clips; nothing if it does."""
    if is_address(place):
        try:
            require_there(place)
        except AvpipeError as error:
            return str(error)
        return ""
    try:
        with os.scandir(place) as entries:
            return "" if next(entries, None) else "it is empty"
    except NotADirectoryError:  # a tar
        return "" if os.access(place, os.R_OK) else "Permission denied"
    except OSError as error:
        return error.strerror or str(error)
