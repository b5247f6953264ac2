"""Which weights a network gets: what `--weights` means."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..errors import UsageError
from .hashes import file_hash, record, recorded
from .store import Lack, MissingFilesError, WeightFile, fetch, missing, weights_dir

PRETRAINED = "pretrained"
RANDOM = "random"
Item = TypeVar("Item")
Result = TypeVar("Result")


class SharedSpec(str):
    """A spec of a settings file that several commands read: not every one has its network."""


@dataclass(frozen=True)
class Weights:
    """The weights chosen for one network.

    Attributes:
        paths: Its files, in the order the network lists them; empty for random weights.
        digest: sha256 of the files, or `random:<seed>`; part of every fingerprint.
        seed: Seed of random weights, else None.
        unknown: Those of the files whose hash nobody published and no earlier use recorded.
    """

    paths: tuple[Path, ...]
    digest: str
    seed: int | None = None
    unknown: tuple[Path, ...] = ()


def check_specs(specs: Iterable[str], names: Iterable[str]) -> None:
    """Refuse a `--weights` that speaks of no network of this run, or of nothing.

    A `SharedSpec` of another network is none of this run's business.

    Raises:
        UsageError: Naming the spec, and the networks or what it may be.
    """
    known = sorted(names)
    for spec in specs:
        name, value = _parts(spec)
        if name is not None and name not in known:
            if isinstance(spec, SharedSpec):
                continue
            raise UsageError(
                f"--weights {spec}: this run has no {name or repr(name)} "
                f"({', '.join(known) or 'nor another network'})"
            )
        if "://" in value:
            raise UsageError(
                f"--weights {spec}: an address: fetch the file, and name it where it lies"
            )
        is_path = "/" in value or "." in value or (value and Path(value).exists())
        if not is_path and value not in (PRETRAINED, RANDOM):
            raise UsageError(
                f"--weights {spec}: {value!r} is neither {PRETRAINED} nor {RANDOM}, nor a file or "
                "folder that is there"
            )


def _parts(spec: str) -> tuple[str | None, str]:
    """Split `name=value`; a spec for all networks has no name. A path may hold `=` after a `/`."""
    name, sign, value = spec.partition("=")
    return (name, value) if sign and "/" not in name else (None, spec)


def absolute_specs(specs: Iterable[str]) -> tuple[str, ...]:
    """Return the same for processes in other folders: files by their whole paths."""
    found = []
    for spec in specs:
        name, value = _parts(spec)
        if value not in (PRETRAINED, RANDOM):
            value = str(Path(value).expanduser().absolute())
        found.append(value if name is None else f"{name}={value}")
    return tuple(found)


def resolve(
    name: str,
    files: Sequence[WeightFile],
    specs: Sequence[str] = (PRETRAINED,),
    *,
    seed: int = 0,
) -> Weights:
    """Find the weights of one network; fetch them if they are the pretrained ones and not there.

    Args:
        name: The network, for example `detr-r50`.
        files: What it needs.
        specs: `pretrained`, `random`, a folder that holds the files under their names, or
            `name=` one of these, or `name=FILE`. The one that names the network wins over those
            for all; of several, the last.
        seed: For random weights.

    Raises:
        MissingDependencyError: Files are missing, cannot be fetched, or are not those we know; one
            line with their origin, their hash if known, and where to put them.
        CacheUnwritableError: The disk is full, or the folder of weights cannot be written.
        UsageError: AVPIPE_WEIGHTS_DIR names a file.
    """
    choice = _choice(name, specs)
    if choice == RANDOM:
        return Weights((), f"{RANDOM}:{seed}", seed)
    if choice != PRETRAINED:
        paths = _find(name, files, Path(choice).expanduser())
        return Weights(tuple(paths), file_digest(paths))
    paths = _each(lambda file: fetch(name, file), files)
    unknown = tuple(
        path
        for file, path in zip(files, paths, strict=True)
        if file.known_hash is None and recorded(path) is None
    )
    return Weights(tuple(paths), file_digest(paths), unknown=unknown)


def require(networks: Mapping[str, Sequence[WeightFile]], specs: Sequence[str]) -> None:
    """Fetch whatever some networks lack, so that all that does not come is told at once.

    Files that are there are not looked into; `resolve` does.

    Args:
        networks: What each needs.
        specs: As `resolve` takes them.

    Raises:
        Errors as `resolve` does.
    """

    def have(wanted: tuple[str, Sequence[WeightFile]]) -> None:
        name, files = wanted
        choice = _choice(name, specs)
        if choice == PRETRAINED:
            lacking = [file for file in files if not (weights_dir() / file.name).is_file()]
            _each(lambda file: fetch(name, file), lacking)
        elif choice != RANDOM:
            _find(name, files, Path(choice).expanduser())

    _each(have, list(networks.items()))


def remember(weights: Weights) -> None:
    """Record the hashes of files that a network was built from, where none was known before."""
    for path in weights.unknown:
        record(path, file_hash(path, "sha256"))


def _choice(name: str, specs: Sequence[str]) -> str:
    parts = [_parts(spec) for spec in specs]
    own = [value for named, value in parts if named == name]
    for_all = [value for named, value in parts if named is None]
    return (own or for_all or [PRETRAINED])[-1]


def _each(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Do all, then raise what some lacked, as one error."""
    done: list[Result] = []
    lacks: list[Lack] = []
    for item in items:
        try:
            done.append(work(item))
        except MissingFilesError as error:
            lacks += error.lacks
    if lacks:
        raise MissingFilesError(lacks)
    return done


def file_digest(paths: Sequence[Path]) -> str:
    """Return the sha256 (hex) of a file; of several, that of their sha256s in order."""
    found = [file_hash(path, "sha256") for path in paths]
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()


def _find(name: str, files: Sequence[WeightFile], place: Path) -> list[Path]:
    """Return the files in a folder the user named, or the file itself."""
    if place.is_file() and len(files) == 1:
        return [place]
    if place.is_file():
        needed = " and ".join(Path(file.name).name for file in files)
        raise missing(name, files[0], place, f"is one file; {name} takes a folder with {needed}")
    if not place.is_dir():
        raise missing(name, files[0], place, "is not there")

    def find(file: WeightFile) -> Path:
        candidates = [place / file.name, place / Path(file.name).name]
        for path in candidates:
            if path.is_file():
                return path
        raise missing(name, file, candidates[0], "is not there")

    return _each(find, files)
