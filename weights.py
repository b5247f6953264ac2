"""Where pretrained files come from, and how they are read: never unpickled, never guessed."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

PRETRAINED = "pretrained"
RANDOM = "random"
_SPEC_WITH_NAME = re.compile(r"([a-z0-9-]+)=(.+)", re.DOTALL)
_RECORD = "hashes.json"
_HASH_BLOCK = 1 << 20
_TIMEOUT_S = 30


@dataclass(frozen=True)
class WeightFile:
    """A file that a network needs.

    Attributes:
        name: Where it lies below the weights folder.
        url: Where it comes from.
        known_hash: `md5:...` or `sha256:...` as its authors or we published it, else None: then the
            sha256 of the first download is recorded and compared from then on.
    """

    name: str
    url: str
    known_hash: str | None = None


@dataclass(frozen=True)
class Weights:
    """The weights chosen for one network.

    Attributes:
        paths: Its files, in the order the network lists them; empty for random weights.
        digest: sha256 of the files, or `random:<seed>`; part of every fingerprint.
        seed: Seed of random weights, else None.
    """

    paths: tuple[Path, ...]
    digest: str
    seed: int | None = None


def weights_dir() -> Path:
    """Return the folder of pretrained files: AVPIPE_WEIGHTS_DIR, else one in the user's cache."""
    if folder := os.environ.get("AVPIPE_WEIGHTS_DIR"):
        return Path(folder)
    import platformdirs

    return Path(platformdirs.user_cache_dir("avpipe")) / "weights"


def check_specs(specs: Iterable[str], names: Iterable[str]) -> None:
    """Refuse a `name=...` that speaks of no network of this run.

    Raises:
        UsageError: Naming the spec and the networks.
    """
    known = sorted(names)
    for spec in specs:
        named = _SPEC_WITH_NAME.fullmatch(spec)
        if named and named[1] not in known:
            raise UsageError(f"--weights {spec}: this run has no {named[1]} ({', '.join(known)})")


def resolve(
    name: str,
    files: Sequence[WeightFile],
    specs: Sequence[str] = (PRETRAINED,),
    *,
    seed: int = 0,
) -> Weights:
    """Find the weights of one network.

    Args:
        name: The network, for example `detr-r50`.
        files: What it needs.
        specs: `pretrained`, `random`, a folder that holds the files under their names, or
            `name=` one of these, or `name=FILE`. The one that names the network wins over those
            for all; of several, the last.
        seed: For random weights.

    Raises:
        MissingDependencyError: A file is missing, cannot be fetched, or is not the one we know;
            one line with its origin, its hash if known, and where to put it.
    """
    choice = PRETRAINED
    own = [named[2] for spec in specs if (named := _SPEC_WITH_NAME.fullmatch(spec))
           and named[1] == name]  # fmt: skip
    for_all = [spec for spec in specs if not _SPEC_WITH_NAME.fullmatch(spec)]
    choice = (own or for_all or [PRETRAINED])[-1]
    if choice == RANDOM:
        return Weights((), f"{RANDOM}:{seed}", seed)
    if choice == PRETRAINED:
        paths = [_fetch(name, file) for file in files]
    else:
        paths = [_find(name, file, Path(choice).expanduser(), len(files)) for file in files]
    return Weights(tuple(paths), file_digest(paths))


def file_digest(paths: Sequence[Path]) -> str:
    """Return the sha256 (hex) of a file; of several, that of their sha256s in order."""
    found = [_hashes(path)["sha256"] for path in paths]
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()


def _hashes(path: Path) -> dict[str, str]:
    states = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            for state in states.values():
                state.update(block)
    return {kind: state.hexdigest() for kind, state in states.items()}


def _find(name: str, file: WeightFile, place: Path, num_files: int) -> Path:
    """Return the file in a folder the user named, or the file itself."""
    candidates = [place / file.name, place / Path(file.name).name]
    if place.is_file() and num_files == 1:
        return place
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    wanted = candidates[0] if place.is_dir() else place
    raise _missing(name, file, wanted, "is not there")


def _fetch(name: str, file: WeightFile) -> Path:
    """Return the file in the weights folder, downloaded if need be, and checked."""
    folder = weights_dir()
    path = folder / file.name
    if not path.exists():
        import pooch

        fetcher = pooch.create(
            path=folder,
            base_url="",
            registry={file.name: file.known_hash},
            urls={file.name: file.url},
            retry_if_failed=2,
        )
        try:
            fetcher.fetch(file.name, downloader=pooch.HTTPDownloader(timeout=_TIMEOUT_S))
        except (OSError, ValueError) as error:  # requests' errors are OSErrors; a hash: ValueError
            why = " ".join(str(error).split())[:160]
            raise _missing(name, file, path, f"could not be fetched ({why})") from error
    _check(name, file, path, folder / _RECORD)
    return path


def _check(name: str, file: WeightFile, path: Path, record: Path) -> None:
    """Compare a file of the weights folder with its published hash, or with its first use."""
    hashes = _hashes(path)
    known: dict[str, str] = json.loads(record.read_text()) if record.exists() else {}
    expected = file.known_hash or known.get(file.name)
    if expected is None:
        known[file.name] = f"sha256:{hashes['sha256']}"
        draft = record.with_name(f".{record.name}.{os.getpid()}")
        with suppress(OSError):  # a weights folder shared read-only cannot remember; no harm
            draft.write_text(json.dumps(known, indent=1, sort_keys=True))
            draft.replace(record)
    elif hashes[expected.partition(":")[0]] != expected.partition(":")[2]:
        raise _missing(name, file, path, f"is another file than {expected}; remove it")


def _missing(name: str, file: WeightFile, path: Path, why: str) -> MissingDependencyError:
    known = file.known_hash or "hash not known"
    return MissingDependencyError(
        f"{name}: {path} {why}; get it from {file.url} ({known}), put it there or give "
        f"--weights {name}=PATH (--weights random is for tests and demos)"
    )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a PyTorch or safetensors file without running anything that is in it.

    Returns:
        What it holds: tensors by name, in a .pth often below a key such as `model`.

    Raises:
        MissingDependencyError: If it is missing, damaged, or more than tensors and plain data.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        with torch.serialization.safe_globals(_numpy_globals()):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise MissingDependencyError(
            f"{path}: holds more than tensors and was not opened (a pickle can run any program); "
            "save its tensors as safetensors where you trust it"
        ) from error
    except Exception as error:  # the readers have no common error for a damaged file
        why = " ".join(str(error).split())[:160]
        raise MissingDependencyError(f"{path}: cannot be read as a checkpoint ({why})") from error
    if not isinstance(found, dict):
        raise MissingDependencyError(f"{path}: holds a {type(found).__name__}, not named tensors")
    return found


def _numpy_globals() -> list[Any]:
    """Return what rebuilds plain arrays: PANNs keep the sampler's indices beside the model."""
    import numpy as np
    from numpy._core import multiarray

    builders = [
        (getattr(multiarray, function), f"{module}.multiarray.{function}")
        for module in ("numpy.core", "numpy._core")
        for function in ("_reconstruct", "scalar")
    ]
    kinds = {type(np.dtype(kind)) for kind in ("?", "i1", "u1", "i4", "i8", "f4", "f8")}
    return [*builders, np.ndarray, np.dtype, *kinds]


def load_exact(
    module: nn.Module, state: Mapping[str, Tensor], path: Path, *, ignore: tuple[str, ...] = ()
) -> None:
    """Load tensors whose names and shapes are exactly those of the module.

    BatchNorm's `num_batches_tracked` may be absent: files older than it are still in use.

    Args:
        module: The network.
        state: Tensors by name.
        path: Their file, for messages.
        ignore: Beginnings of names that the module does without (a classifier's head).

    Raises:
        MissingDependencyError: One line with the first names that are missing, unknown or of
            another shape.
    """
    given = {name: value for name, value in state.items() if not name.startswith(ignore or "\0")}
    wanted = module.state_dict()
    counters = {name for name in wanted if name.endswith(".num_batches_tracked")}
    problems = {
        "lacks": sorted(wanted.keys() - given.keys() - counters),
        "has unknown": sorted(given.keys() - wanted.keys()),
        "has of another shape": sorted(
            f"{name} {tuple(given[name].shape)} instead of {tuple(wanted[name].shape)}"
            for name in wanted.keys() & given.keys()
            if given[name].shape != wanted[name].shape
        ),
    }
    told = [
        f"{what} {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if names[3:] else "")
        for what, names in problems.items()
        if names
    ]
    if told:
        network = type(module).__name__
        raise MissingDependencyError(f"{path}: not the weights of {network}: {'; '.join(told)}")
    module.load_state_dict(dict(given), strict=False)


def section(checkpoint: Mapping[str, Any], key: str, path: Path) -> dict[str, Tensor]:
    """Return the tensors that lie below `key` of a checkpoint.

    Raises:
        MissingDependencyError: If there is no such key.
    """
    found = checkpoint.get(key)
    if not isinstance(found, dict):
        have = ", ".join(sorted(map(str, checkpoint))[:5])
        raise MissingDependencyError(f"{path}: has no {key!r} (it has {have})")
    return found
