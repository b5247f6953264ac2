"""`avpipe weights`: the pretrained files that are known, fetched and compared with their hashes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cache.schema import OBJECTS
from ..errors import MissingDependencyError, UsageError
from ..stages.teachers.protocol import MODALITIES, choices, load_teacher, network_of
from ..weights import WeightFile, fetch, look, weights_dir
from ..weights.store import Lack, MissingFilesError, by_reason, difference, missing, repair
from . import output
from .downloads import watch_downloads


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
    return _document([_entry(known) for known in known_files(names)])


def verify_weights(names: Sequence[str] = ()) -> dict[str, Any]:
    """Look at the pretrained files that are there; a named one that is not is an error."""
    entries = []
    for known in known_files(names):
        entry = _entry(known)
        wanted = known.file.name in names or (bool(names) and not known.is_other)
        if wanted and entry["state"] == "missing" and entry["why"] is None:
            entry |= _trouble(known, look(known.file).path, "is not there")
        if wanted or entry["state"] != "missing" or entry["why"]:
            entries.append(entry)
    return _document(entries)


def fetch_weights(names: Sequence[str] = ()) -> dict[str, Any]:
    """Fetch the pretrained files that are missing; one that does not come keeps no other back.

    A file that no network is built from by default is fetched only when it is named itself.

    Returns:
        The `avpipe.weights/1` document; each file also says whether it was `fetched` now.

    Raises:
        CacheUnwritableError: The disk is full.
    """
    entries = []
    with watch_downloads():
        for known in known_files(names):
            if known.is_other and known.file.name not in names:
                continue
            was_there, trouble = look(known.file).path.exists(), _NO_TROUBLE
            try:
                fetch(known.networks[0], known.file)
            except MissingFilesError as error:
                (lack,) = error.lacks
                trouble = _trouble(known, lack.path, lack.why)
            fetched = trouble == _NO_TROUBLE and not was_there
            entries.append({**_entry(known), **trouble, "fetched": fetched})
    return _document(entries)


def raise_for_bad_files(document: output.Document) -> None:
    """Make an error of what `verify` or `fetch` found; of several, each reason has a line.

    Raises:
        MissingDependencyError: A file is missing, differs, or did not come.
    """
    bad = [entry for entry in document["files"] if entry["error"]]
    if len(bad) == 1:
        raise MissingDependencyError(bad[0]["error"])
    lacks = [Lack(one["networks"][0], Path(one["path"]), one["why"], "") for one in bad]
    for line in by_reason(lacks):
        output.note(line)
    if bad:
        raise MissingDependencyError(f"{len(bad)} files cannot be used; {repair(lacks)}")


def list_text(document: output.Document) -> str:
    """Render `avpipe weights list`."""
    parts = [f"in {document['folder']} (AVPIPE_WEIGHTS_DIR names another folder)"]
    for entry in document["files"]:
        size = "" if entry["bytes"] is None else f", {output.size_text(entry['bytes'])}"
        hash_text = f"{entry['hash']} ({entry['hash_origin']})"
        networks = ", ".join(entry["networks"])
        if entry["other"]:
            networks += f", with --weights {entry['networks'][0]}={entry['path']}"
        lines = [
            f"{entry['file']}  {entry['state']}{size}",
            f"  for   {networks}",
            f"  from  {entry['url']}",
            f"  hash  {hash_text if entry['hash'] else 'not known, recorded at first use'}",
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def checked_text(document: output.Document) -> str:
    """Render `avpipe weights verify` and `fetch`: a line for each file."""
    if not document["files"]:
        return f"{document['folder']} holds no pretrained file"
    rows = []
    for entry in document["files"]:
        size = "-" if entry["bytes"] is None else output.size_text(entry["bytes"])
        rows.append((entry["file"], size, "fetched" if entry.get("fetched") else entry["state"]))
    return output.table(("file", "size", "state"), rows)


def _entry(known: Known) -> dict[str, Any]:
    found = look(known.file)
    trouble = _NO_TROUBLE
    if found.state == "differs" or found.record_is_damaged:
        trouble = _trouble(known, found.path, difference(found))
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


_NO_TROUBLE: dict[str, str | None] = {"why": None, "error": None}


def _trouble(known: Known, path: Path, why: str) -> dict[str, str | None]:
    return {"why": why, "error": str(missing(known.networks[0], known.file, path, why))}


def _document(files: list[dict[str, Any]]) -> dict[str, Any]:
    return {"schema": "avpipe.weights/1", "folder": str(weights_dir()), "files": files}


ACTIONS: dict[str, tuple[Callable[[Sequence[str]], dict[str, Any]], Callable[..., str]]] = {
    "list": (list_weights, list_text),
    "fetch": (fetch_weights, checked_text),
    "verify": (verify_weights, checked_text),
}
