"""`avpipe export-cache`: a cache's clips as WebDataset or Parquet, for programs without avpipe."""

from pathlib import Path
from typing import Annotated

import typer

from ...stages.exchange import WORKERS, ExchangeFormat
from .. import output
from ..options import DEFAULT_CACHE, Cache, Json
from ..settings import ONE_RUN

NONE = "none"


def export_cache(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to fill."), ONE_RUN],
    cache: Cache = DEFAULT_CACHE,
    format: Annotated[
        ExchangeFormat, typer.Option("--format", help="What is written."), ONE_RUN
    ] = "webdataset",
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="NAME",
            show_default="the hints of every teacher",
            help="What goes along with frame and sound, as extract/spectrogram_wide; may be "
            "repeated; none for nothing.",
        ),
        ONE_RUN,
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option("--ids", metavar="LIST", help="Take only the clips of this list or CSV."),
        ONE_RUN,
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            "--workers", metavar="N", min=1, help="At least as many files, one a loader worker."
        ),
        ONE_RUN,
    ] = WORKERS,
    json: Json = False,
) -> None:
    """Write clips as WebDataset or Parquet; run it again to resume."""
    from ...cache.store import Cache
    from ...stages.exchange.run import export_cache
    from ..id_lists import read_ids_to_take
    from ..watch import watch

    columns = [name for name in column if name != NONE] if column else None
    with watch("export-cache") as progress:
        done = export_cache(
            Cache(cache), out, format, ids=read_ids_to_take(ids), columns=columns, workers=workers,
            progress=progress,
        )  # fmt: skip
    document = {
        "schema": "avpipe.export-cache/1",
        "out": str(done.out),
        "files": done.files,
        "clips": done.clips,
        "done": done.done,
        "skipped": done.skipped,
        "seconds": round(done.seconds, 3),
        "notices": list(done.notices),
    }
    output.show(document, json, output.run_text)
