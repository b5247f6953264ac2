"""The commands that bring weights in and out."""

from pathlib import Path
from typing import Annotated

import typer

from ...errors import UsageError
from .. import output
from ..options import Json
from ..settings import ONE_RUN


def import_checkpoint(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The released file; it is never unpickled.")
    ],
    peer: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="NAME", help="Whose it is: slavc, ez-vsl, lvs, ssl-alignment."
        ),
        ONE_RUN,
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="DIR", help="The folder that becomes a run."),
        ONE_RUN,
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            "--variant",
            metavar="NAME",
            show_default="by the file's name",
            help="Which file of ssl-alignment: sup, selfsup, sup-previs.",
        ),
        ONE_RUN,
    ] = None,
    trained_on: Annotated[
        Path | None,
        typer.Option(
            "--trained-on",
            metavar="LIST",
            help="The clips it was trained on, so that evaluate can name those that leaked.",
        ),
        ONE_RUN,
    ] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Use it otherwise than released; may be repeated."
        ),
        ONE_RUN,
    ] = None,
    json: Json = False,
) -> None:
    """Make a run of another laboratory's released weights."""
    if peer is None or run is None:
        raise UsageError(
            "say whose weights they are and which folder becomes the run: --from, --run"
        )
    from ..exchange import imported

    document = imported(file, peer, run, variant, trained_on, tuple(set or ()))
    output.show(document, json, output.fields_text)


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run."), ONE_RUN],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", show_default="RUN/export", help="Where the files go."),
        ONE_RUN,
    ] = None,
    json: Json = False,
) -> None:
    """Write a run as safetensors and JSON that load without avpipe."""
    from ..exchange import exported

    output.show(exported(run, out), json, output.fields_text)
