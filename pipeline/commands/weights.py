"""`avpipe weights`: the pretrained files that are known, fetched and compared with their hashes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ...errors import MissingDependencyError
from .. import output
from ..options import Json
from ..output import Document
from ..settings import ONE_RUN


def weights(
    action: Annotated[
        Literal["list", "fetch", "verify"],
        typer.Argument(
            metavar="ACTION",
            help="Show every file and its state; download those that are missing; or hash those "
            "that are there and stop with exit code 6 if one differs.",
        ),
        ONE_RUN,
    ] = "list",
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME", show_default="all", help="Networks (detr-r50, ...) or files."
        ),
        ONE_RUN,
    ] = None,
    json: Json = False,
) -> None:
    """List, fetch or verify the pretrained files."""
    if action == "list":
        from ..networks.weight_files import list_weights

        output.show(list_weights(names or []), json, list_text)
        return
    work = fetch_weights if action == "fetch" else verify_weights
    document = work(names or [])
    output.show(document, json, checked_text)
    raise_for_bad_files(document)


def verify_weights(names: Sequence[str] = ()) -> dict[str, Any]:
    """Look at the pretrained files that are there; a named one that is not is an error."""
    from ...weights import look
    from ..networks.weight_files import document_of, entry_of, known_files, trouble_with

    entries = []
    for known in known_files(names):
        entry = entry_of(known)
        wanted = known.file.name in names or (bool(names) and not known.is_other)
        if wanted and entry["state"] == "missing" and entry["why"] is None:
            entry |= trouble_with(known, look(known.file).path, "is not there")
        if wanted or entry["state"] != "missing" or entry["why"]:
            entries.append(entry)
    return document_of(entries)


def fetch_weights(names: Sequence[str] = ()) -> dict[str, Any]:
    """Fetch the pretrained files that are missing; one that does not come keeps no other back.

    A file that no network is built from by default is fetched only when it is named itself.

    Returns:
        The `avpipe.weights/1` document; each file also says whether it was `fetched` now.

    Raises:
        CacheUnwritableError: The disk is full.
    """
    from ...weights import fetch, look
    from ...weights.store import MissingFilesError
    from ..downloads import watch_downloads
    from ..networks.weight_files import NO_TROUBLE, document_of, entry_of, known_files, trouble_with

    entries = []
    with watch_downloads():
        for known in known_files(names):
            if known.is_other and known.file.name not in names:
                continue
            was_there, trouble = look(known.file).path.exists(), NO_TROUBLE
            try:
                fetch(known.networks[0], known.file)
            except MissingFilesError as error:
                (lack,) = error.lacks
                trouble = trouble_with(known, lack.path, lack.why)
            fetched = trouble == NO_TROUBLE and not was_there
            entries.append({**entry_of(known), **trouble, "fetched": fetched})
    return document_of(entries)


def raise_for_bad_files(document: Document) -> None:
    """Make an error of what `verify` or `fetch` found; of several, each reason has a line.

    Raises:
        MissingDependencyError: A file is missing, differs, or did not come.
    """
    from ...weights.store import Lack, by_reason, repair

    bad = [entry for entry in document["files"] if entry["error"]]
    if len(bad) == 1:
        raise MissingDependencyError(bad[0]["error"])
    lacks = [Lack(one["networks"][0], Path(one["path"]), one["why"], "") for one in bad]
    for line in by_reason(lacks):
        output.note(line)
    if bad:
        raise MissingDependencyError(f"{len(bad)} files cannot be used; {repair(lacks)}")


def list_text(document: Document) -> str:
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


def checked_text(document: Document) -> str:
    """Render `avpipe weights verify` and `fetch`: a line for each file."""
    if not document["files"]:
        return f"{document['folder']} holds no pretrained file"
    rows = []
    for entry in document["files"]:
        size = "-" if entry["bytes"] is None else output.size_text(entry["bytes"])
        rows.append((entry["file"], size, "fetched" if entry.get("fetched") else entry["state"]))
    return output.table(("file", "size", "state"), rows)
