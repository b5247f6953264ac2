"""The commands: a table of contents. They are defined in `commands/`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..advice import asking
from ..errors import UsageError
from .commands import (
    cases,
    cluster,
    config,
    demo,
    doctor,
    drop,
    embed_teachers,
    evaluate,
    export,
    export_cache,
    extract,
    import_checkpoint,
    init,
    inspect,
    knn,
    localize,
    plan,
    report,
    serve,
    status,
    synth,
    train,
    verify,
    weights,
)
from .refusals import check_asked
from .settings import FILE_NAME, Commands, read_settings, settings_of
from .verified.asked import given_options

if TYPE_CHECKING:
    from .main import State


class GroupedCommands(typer.core.TyperGroup):
    """Lists commands under headings, each with its whole first sentence."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the lists into the help."""
        for title, members in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name, self.commands[name].get_short_help_str(200)) for name in members]
                )


class Command(typer.core.TyperCommand):
    """Tells what it was called with: whose a refused file is, how results are made again."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        state: State = ctx.obj
        state.parameters = ctx.params
        check_asked(FUNCTIONS[ctx.info_name], ctx)
        with asking(self.name or "", given_options(ctx)):
            return super().invoke(ctx)


app = typer.Typer(
    name="avpipe",
    cls=GroupedCommands,
    help="Folders of video become a feature cache, the cache trained sound-source localizers.",
    rich_markup_mode=None,  # plain help: fast, and the same in a terminal and in docs/commands.md
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="--config and --debug may also follow the command.",
)


def commands() -> Commands:
    """List every command's settings, from the signatures below."""
    return {
        info.name: settings_of(info.callback)
        for info in app.registered_commands
        if info.name is not None and info.callback is not None
    }


@app.callback(invoke_without_command=True)
def avpipe(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            envvar="AVPIPE_CONFIG",
            help=f"Settings file. [default: ./{FILE_NAME}, if there]",
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Turn folders of video into a feature cache, the cache into sound-source localizers."""
    state: State = ctx.obj
    state.debug = debug
    if version:
        from .. import __version__

        typer.echo(f"avpipe {__version__}")
    elif ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
        raise typer.Exit(2)
    elif not state.wants_help and ctx.invoked_subcommand != "init":
        if config is None and Path(FILE_NAME).exists():
            config = Path(FILE_NAME)
        state.settings_file = config
        if config is not None:
            try:
                ctx.default_map = dict(read_settings(config, commands()))
            except UsageError as error:
                if ctx.invoked_subcommand != "doctor":
                    raise
                state.settings_error = str(error)


GROUPS: dict[str, dict[str, Callable[..., None]]] = {
    "Begin": {
        "demo": demo.demo,
        "plan": plan.plan,
        "doctor": doctor.doctor,
        "init": init.init,
        "config": config.config,
        "synth": synth.synth,
        "weights": weights.weights,
    },
    "Fill the cache": {
        "extract": extract.extract,
        "embed-teachers": embed_teachers.embed_teachers,
        "knn": knn.knn,
        "cluster": cluster.cluster,
    },
    "Keep the cache": {
        "status": status.status,
        "verify": verify.verify,
        "drop": drop.drop,
    },
    "Train and score": {
        "train": train.train,
        "evaluate": evaluate.evaluate,
        "report": report.report,
        "import-checkpoint": import_checkpoint.import_checkpoint,
        "export": export.export,
        "export-cache": export_cache.export_cache,
    },
    "Look": {
        "localize": localize.localize,
        "inspect": inspect.inspect,
        "cases": cases.cases,
        "serve": serve.serve,
    },
}
FUNCTIONS = {name: one for members in GROUPS.values() for name, one in members.items()}
for name, function in FUNCTIONS.items():
    app.command(name, cls=Command)(function)
