"""`avpipe import-checkpoint`: another laboratory's released weights become a run."""

from pathlib import Path
from typing import Annotated

import typer

from ...errors import UsageError
from .. import output
from ..options import Json
from ..settings import ONE_RUN


def import_checkpoint(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The released file; nothing in it is run.")
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
    from ...train.runs.peers import import_checkpoint
    from ..id_lists import read_ids_to_take

    ids = read_ids_to_take(trained_on, "--trained-on")
    record, was_there = import_checkpoint(
        file, peer, run, variant=variant, settings=tuple(set or ()), trained_on=ids or ()
    )
    assert record.imported is not None
    recipe = record.recipe
    document = {
        "schema": "avpipe.import-checkpoint/1",
        "run": str(run),
        **record.imported,
        "objective": recipe.objective,
        "spectrogram": recipe.spectrogram,
        "image_test": recipe.image_test,
        "test_weights": recipe.test_weights,
        "trained_on": "unknown" if ids is None else f"{len(ids)} clips",
        "done": int(not was_there),
        "skipped": int(was_there),
    }
    output.show(document, json, output.fields_text)
