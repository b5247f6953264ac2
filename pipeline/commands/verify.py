"""`avpipe verify`: every byte of the cache is read, and damaged files are named."""

from typing import Annotated

import typer

from ...errors import CacheCorruptError
from .. import output
from ..options import DEFAULT_CACHE, Cache, Json
from ..output import Document, size_text
from ..settings import ONE_RUN


def verify(
    cache: Cache = DEFAULT_CACHE,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Move damaged files to damaged/, restore the manifest."),
        ONE_RUN,
    ] = False,
    json: Json = False,
) -> None:
    """Read every byte of the cache and name each damaged file."""
    from ...cache.verify import verify
    from ..remake import verify_document

    found = verify(cache, repair=repair)
    output.show(verify_document(cache, found, repair=repair), json, verify_text)
    if not found.ok:
        mend = "what is lost stays lost" if repair else f"`avpipe verify --repair --cache {cache}`"
        number = len(found.damaged)
        files = "file" if number == 1 else "files"
        raise CacheCorruptError(f"{cache}: {number} damaged {files}; {mend}")


def verify_text(document: Document) -> str:
    """Render `avpipe verify`."""
    sizes = f"{document['files']} files, {size_text(document['bytes'])}"
    damaged = document["damaged"]
    lines = [f"{sizes}: {len(damaged) or 'none'} damaged"]
    lines += [_damaged_line(path, problem) for path, problem in damaged.items()]
    lines += [f"repaired  {text}" for text in document["repaired"]]
    lines += [f"lost      {text}" for text in document["lost"]]
    if document["commands"]:
        lines += ["", "to make the rest again:", *document["commands"]]
    return "\n".join(lines)


def _damaged_line(path: str, problem: str) -> str:
    """Name a damaged file once, though most problems begin with its whole path."""
    _, named, rest = problem.partition(path)
    return f"damaged   {path}{rest}" if named else f"damaged   {path}: {problem}"
