"""`avpipe drop`: a stage is given up for disk space."""

from typing import Annotated

import typer

from .. import output
from ..options import DEFAULT_CACHE, Cache


def drop(
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="As `avpipe status` names it.")],
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Delete a stage's shards: `audio`, `hints/detr-r50`, ..."""
    from ...cache.state import drop_stage

    freed = drop_stage(cache, stage)
    output.say(f"dropped {stage} from {cache}: {output.size_text(freed)} freed")
