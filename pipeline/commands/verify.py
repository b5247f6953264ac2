"""`avpipe verify`: every byte of what commands leave is read; damaged files are named."""

from pathlib import Path
from typing import Annotated

import typer

from ...advice import quoted
from ...errors import CacheCorruptError, UsageError
from .. import output
from ..options import DEFAULT_CACHE, Cache, Json
from ..output import Document, size_text
from ..settings import ONE_RUN


def verify(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN",
            show_default="the cache",
            help="A run, a folder of seeds, an export of a run or cache, a world, or a cache.",
        ),
        ONE_RUN,
    ] = None,
    cache: Cache = DEFAULT_CACHE,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Move damaged files to damaged/, restore the manifest."),
        ONE_RUN,
    ] = False,
    json: Json = False,
) -> None:
    """Read every byte of the cache, or of a run, and name each damaged file."""
    from ...train.runs.record import is_cache

    if folder is not None and not is_cache(folder):
        if repair:
            raise UsageError("--repair is for caches; of a run, run the commands that are printed")
        _verify_other(folder, json)
        return
    from ...cache.verify import verify
    from ..verified.caches import verify_document

    cache = folder or cache
    found = verify(cache, repair=repair)
    output.show(verify_document(cache, found, repair=repair), json, verify_text)
    if not found.ok:
        mend = f"`avpipe verify --repair --cache {quoted(cache)}`"
        if repair:
            mend = _what_now(bool(found.spoilt), bool(found.lost))
        raise CacheCorruptError(f"{cache}: {_number(found.damaged)}; {mend}")


def _verify_other(folder: Path, json: bool) -> None:
    """Verify what is no cache.

    Raises:
        InputError: It is nothing else that commands leave either.
        CacheCorruptError: Something is damaged.
    """
    from ..verified.exported import EXPORTS, is_exported_cache
    from ..verified.worlds import WORLDS, is_world

    document: Document
    if is_world(folder):
        document = WORLDS.verify(folder)
    elif is_exported_cache(folder):
        document = EXPORTS.verify(folder)
    else:
        document = _of_runs(folder)
    output.show(document, json, verify_text)
    if not document["ok"]:
        line = _what_now(bool(document["commands"]), bool(document["lost"]))
        raise CacheCorruptError(f"{folder}: {_number(document['damaged'])}; {line}")


def _of_runs(folder: Path) -> Document:
    from ...train.runs.verify import is_run, verify_runs
    from ..run_folders import run_folders
    from ..verified.runs import runs_document

    if not is_run(folder):
        run_folders([folder])
    return runs_document(folder, verify_runs(folder))


def _what_now(has_commands: bool, has_lost: bool) -> str:
    """Say what is left to do where something is damaged."""
    if not has_commands:
        return "no command makes that again"
    if has_lost:
        return "the commands above make again what can be"
    return "the commands above, run in this order, make all again"


def _number(damaged: dict[str, str]) -> str:
    return f"{len(damaged)} damaged {'file' if len(damaged) == 1 else 'files'}"


def verify_text(document: Document) -> str:
    """Render `avpipe verify`."""
    sizes = f"{document['files']} files, {size_text(document['bytes'])}"
    damaged = document["damaged"]
    lines = [f"{sizes}: {len(damaged) or 'none'} damaged"]
    lines += [_damaged_line(path, problem) for path, problem in damaged.items()]
    lines += [f"repaired  {text}" for text in document["repaired"]]
    lines += [f"lost      {text}" for text in document["lost"]]
    lines += [f"notice    {text}" for text in document["notices"]]
    if document["commands"]:
        lines += ["", "to make the rest again:", *document["commands"]]
    return "\n".join(lines)


def _damaged_line(path: str, problem: str) -> str:
    """Name a damaged file once, though most problems begin with its whole path."""
    _, named, rest = problem.partition(path)
    return f"damaged   {path}{rest}" if named else f"damaged   {path}: {problem}"
