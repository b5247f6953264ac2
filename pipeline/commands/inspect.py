"""`avpipe inspect`: what the cache knows of single clips."""

from pathlib import Path
from typing import Annotated

import typer

from ...errors import UsageError
from ...printable import printable
from .. import output
from ..options import DEFAULT_CACHE, Cache, Json
from ..output import Document
from ..settings import ONE_RUN, Without


def inspect(
    ids: Annotated[
        list[str] | None,
        typer.Option("--id", metavar="ID", help="A clip to draw; may be repeated."),
        ONE_RUN,
    ] = None,
    count: Annotated[
        int,
        typer.Option(
            "--n", metavar="N", min=1, max=100, help="Without --id: clips from all over the cache."
        ),
        ONE_RUN,
        Without("ids"),
        Without("failures"),
    ] = 3,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            show_default="inspect.png",
            help="A picture, .png, or a page with sound, .html.",
        ),
        ONE_RUN,
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="CSV",
            show_default="AudioSet's names",
            help="Other names for the tags, in a table like AudioSet's class_labels_indices.csv.",
        ),
        ONE_RUN,
        Without("failures"),
    ] = None,
    failures: Annotated[
        bool,
        typer.Option(
            "--failures",
            help="List the clips that failed instead; with --out FILE.html as a page too.",
        ),
        ONE_RUN,
    ] = False,
    reasons: Annotated[
        list[str] | None,
        typer.Option(
            "--reason", metavar="REASON", help="With --failures: only these; may be repeated."
        ),
        ONE_RUN,
    ] = None,
    cache: Cache = DEFAULT_CACHE,
    json: Json = False,
) -> None:
    """Draw clips with all the cache knows of them: hint, tags, neighbours."""
    from ..pages.cards.run import check_name, draw, write_result

    if failures:
        from ..pages.failures import failures_page, failures_text, list_failures

        if out is not None:
            check_name(out, ".html")
        document = list_failures(cache, reasons or (), ids or ())
        if out is not None:
            write_result(out, failures_page(document).encode())
        output.show(document, json, failures_text)
        return
    if reasons:
        raise UsageError("--reason belongs to --failures")
    document = draw(cache, ids or (), count, out or Path("inspect.png"), labels)
    output.show(document, json, inspect_text)


def inspect_text(document: Document) -> str:
    """Render `avpipe inspect`: the picture, and what is missing from it."""
    return "\n".join(map(printable, [document["picture"], *document["notices"]]))
