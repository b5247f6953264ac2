"""`avpipe export`: a run as files that load without avpipe."""

from pathlib import Path
from typing import Annotated

import typer

from .. import output
from ..options import Json
from ..settings import ONE_RUN


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run."), ONE_RUN],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", show_default="RUN/export", help="Where the files go."),
        ONE_RUN,
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--license", metavar="NAME", help="Of the weights, for the card: mit, cc-by-4.0, ..."
        ),
        ONE_RUN,
    ] = None,
    json: Json = False,
) -> None:
    """Write a run as safetensors and JSON that load without avpipe, with a card."""
    from ...train.notices import collected
    from ...train.runs.made_by import note
    from ...train.runs.record import one_run, read_record

    folder = one_run(run)
    read_record(folder)
    from ...train.runs.export import export_run  # torch: no damaged page has to wait for it

    with collected() as notices:
        target = folder / "export" if out is None else out
        files = export_run(folder, target, licence)
    if target.resolve().parent == folder.resolve():
        note(folder, f"{target.name}/")
    document = {
        "schema": "avpipe.export/1",
        "run": str(folder),
        **{name: str(path) for name, path in files.items()},
        "bytes": sum(path.stat().st_size for path in files.values()),
        "notices": notices,
    }
    output.show(document, json, output.run_text)
