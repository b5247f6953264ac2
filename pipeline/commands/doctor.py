"""`avpipe doctor`: what this machine has and lacks."""

from typing import TYPE_CHECKING, Annotated

import typer

from .. import output
from ..options import ALL_CORES, DEFAULT_CACHE, Cache, Jobs, Json, inputs_argument
from ..settings import PLACES, Example

if TYPE_CHECKING:
    from ..main import State


def doctor(
    ctx: typer.Context,
    inputs: Annotated[
        list[str] | None,
        inputs_argument("As for extract: is there room for these?"),
        PLACES,
        Example(["videos"]),
    ] = None,
    cache: Cache = DEFAULT_CACHE,
    jobs: Jobs = ALL_CORES,
    json: Json = False,
) -> None:
    """Say what this machine has and lacks, and what mends it."""
    from ..doctor.finding import Check
    from ..doctor.run import check_text, doctor, verdict_text

    def tell(check: Check) -> None:
        output.say(check_text(check))

    if not json:
        output.note("the packages are imported meanwhile, which takes some seconds")
    state: State = ctx.find_root().obj
    document = doctor(
        cache,
        jobs=jobs,
        inputs=tuple(inputs or []),
        settings_file=state.settings_file,
        settings_error=state.settings_error,
        tell=None if json else tell,
    )
    output.show(document, json, lambda document: f"\n{verdict_text(document)}")
    if document["exit_code"]:
        raise typer.Exit(document["exit_code"])
