"""The command that looks after pretrained files."""

from typing import Annotated, Literal

import typer

from .. import output
from ..options import Json
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
    from ..weights import ACTIONS, raise_for_bad_files

    work, text = ACTIONS[action]
    document = work(names or [])
    output.show(document, json, text)
    if action != "list":
        raise_for_bad_files(document)
