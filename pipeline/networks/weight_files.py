"""The pretrained files that are known, and the state of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...cache.schema import OBJECTS
from ...errors import UsageError
from ...stages.teachers.protocol import MODALITIES, choices, load_teacher, network_of
from ...weights import WeightFile, look, weights_dir
from ...weights.store import difference, missing

NO_TROUBLE: dict[str, str | None] = {"why": None, "error": None}


@dataclass(frozen=True)
class Known:
    """A pretrained file and the networks that are built from it.

    Attributes:
        file: The file.
        networks: Names.
        is_other: Whether they are built from another file unless `--weights` names this one.
    """

    file: WeightFile
    networks: tuple[str, ...]
    is_other: bool = False


def known_files(names: Sequence[str] = ()) -> list[Known]:
    """List the pretrained files of every teacher, or those that are named.

    Args:
        names: Networks, for example `detr-r50`, or files; none means all.

    Raises:
        UsageError: One of the names is neither.
    """
    files: dict[str, WeightFile] = {}
    networks: dict[str, list[str]] = {}
    others: set[str] = set()
    for kind in (*MODALITIES, OBJECTS):
        for teacher in choices(kind):
            module = load_teacher(teacher, kind)
            other = getattr(module, "OTHER_FILES", ())
            others.update(file.name for file in other)
            for file in (*module.FILES, *other):
                files[file.name] = file
                networks.setdefault(file.name, []).append(network_of(teacher))
    found = [
        Known(files[name], tuple(dict.fromkeys(networks[name])), name in others)
        for name in sorted(files)
    ]
    words = {word for known in found for word in (known.file.name, *known.networks)}
    for name in names:
        if name not in words:
            raise UsageError(f"no pretrained file or network is called {name!r}: one of "
                             f"{', '.join(sorted(words))}")  # fmt: skip
    wanted = set(names) or words
    return [known for known in found if wanted & {known.file.name, *known.networks}]


def list_weights(names: Sequence[str] = ()) -> dict[str, Any]:
    """Look at pretrained files; return the `avpipe.weights/1` document. Nothing is written."""
    return document_of([entry_of(known) for known in known_files(names)])


def entry_of(known: Known) -> dict[str, Any]:
    """Look at a file; return its entry in the document."""
    found = look(known.file)
    trouble = NO_TROUBLE
    if found.state == "differs" or found.record_is_damaged:
        trouble = trouble_with(known, found.path, difference(found))
    published = "published" if known.file.known_hash else "recorded at first use"
    return {
        "file": known.file.name,
        "networks": list(known.networks),
        "other": known.is_other,
        "url": known.file.url,
        "path": str(found.path),
        "hash": found.expected,
        "hash_origin": published if found.expected else None,
        "bytes": found.num_bytes,
        "found": found.actual,
        "state": found.state,
        **trouble,
    }


def trouble_with(known: Known, path: Path, why: str) -> dict[str, str | None]:
    """Say why a file cannot be used, in short and as an error does."""
    return {"why": why, "error": str(missing(known.networks[0], known.file, path, why))}


def document_of(files: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the `avpipe.weights/1` document."""
    return {"schema": "avpipe.weights/1", "folder": str(weights_dir()), "files": files}
