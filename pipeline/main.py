"""Run the command line: every way a run can end becomes its exit code and one line on stderr."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

from ..errors import AvpipeError, MissingDependencyError, UsageError
from ..printable import printable
from .fixes import shown
from .refusals import as_refusal

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
RETRY_ALL = "--retry-failed="
CLOSED_PIPE = 128 + signal.SIGPIPE
_LONGEST_LINE = 2000


@dataclass
class State:
    """What the commands and the end of the run tell each other."""

    wants_help: bool
    debug: bool = False
    settings_file: Path | None = None
    settings_error: str = ""
    """What `doctor` tells instead of ending with it."""
    terminated: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Of the command that runs, by name."""


def main(argv: Sequence[str]) -> int:
    """Run one command.

    Args:
        argv: the arguments after the program's name.

    Returns:
        The exit code: 0 done; 1 internal; 2 usage or settings; 3 clips failed; 4 input; 5 cache
        corrupt or made with other parameters; 6 weights or a dependency missing; 7 cache not
        writable; 130, 143 interrupted; 141 nobody reads the output any more.
    """
    arguments = normalized(argv)
    state = State(wants_help=any(word in ("-h", "--help") for word in arguments))
    try:
        with _sigterm_as_interrupt(state):
            code = _run(arguments, state)
            print(end="", flush=True)  # also where there is no standard output
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        return _closed_pipe()
    except SystemExit as stop:  # Typer's own answer to a closed pipe
        if isinstance(stop.__context__, BrokenPipeError):
            return _closed_pipe()
        raise
    except Exception as error:
        return _failed(error, state)
    if code == INTERRUPTED:
        code = TERMINATED if state.terminated else INTERRUPTED
        _print_error("interrupted; the same command resumes")
    return code


def normalized(argv: Sequence[str]) -> list[str]:
    """Bring arguments into the form the parser takes.

    `--config FILE` and `--debug` may stand anywhere; `--retry-failed` may come without a reason.
    """
    first: list[str] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            return [*first, *rest, word, *words]
        if word == "--config" and (value := next(words, None)) is not None:
            first += [word, value]
        elif word == "--debug" or word.startswith("--config="):
            first.append(word)
        else:
            rest.append(RETRY_ALL if word == "--retry-failed" else word)
    return first + rest


def _run(arguments: list[str], state: State) -> int:
    for word in arguments:
        if not word or (word.startswith("--") and word.endswith("=") and word != RETRY_ALL):
            raise UsageError(f"{word or 'an argument'} is empty: is a variable of the shell unset?")
    from ..train.notices import collected
    from . import output
    from .downloads import tell_downloads

    for stream in (sys.stdout, sys.stderr):  # file names need not be UTF-8
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    command = _parser()
    with tell_downloads(), collected(output.note):
        code = command.main(arguments, prog_name="avpipe", standalone_mode=False, obj=state)
    return code if isinstance(code, int) else 0


@cache
def _parser() -> Any:
    """Build the parser of all commands, once in a process."""
    import typer

    from .cli import app

    return typer.main.get_command(app)


def _failed(error: Exception, state: State) -> int:
    """Print an error, its traceback with --debug, and return its exit code."""
    if state.debug:
        print(printable("".join(traceback.format_exception(error)), "\n"), file=sys.stderr)
    error = _of_standard_output() or error
    expected = _as_expected(error, state)
    if expected is not None:
        _print_error(shown(expected))
        return expected.exit_code
    hint = "" if state.debug else " (--debug shows where)"
    _print_error(f"internal error: {type(error).__name__}: {error}{hint}")
    return 1


def _as_expected(error: Exception, state: State) -> AvpipeError | None:
    if isinstance(error, AvpipeError):
        return error
    if hasattr(
        error, "format_message"
    ):  # Typer's usage errors; their base class has no public name
        return UsageError(_usage_message(error, state))
    if refusal := as_refusal(error, state.parameters):
        return refusal
    if _is_out_of_memory(error):
        return AvpipeError(
            "out of memory; less at a time takes less: in train --data stream, or --set batch_size="
            "64 (a change of the run), in other commands --batch-size or --jobs"
        )
    if _is_of_lost_process(error):
        return AvpipeError(
            "another process of this run has ended, and none learns without the others; the same "
            "torchrun command goes on from the last checkpoint"
        )
    if isinstance(error, ImportError):
        from .distributions import what_import_lacks

        lacks = what_import_lacks(error)
        return MissingDependencyError(lacks) if lacks else None
    return None


def _is_out_of_memory(error: Exception) -> bool:
    """Tell NumPy's, PyTorch's on a GPU, and PyTorch's on a CPU, which has no class of its own."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "DefaultCPUAllocator" in str(error)
    )


def _is_of_lost_process(error: Exception) -> bool:
    """Tell what gloo and NCCL raise in the processes that `torchrun` started, when one is gone."""
    is_one_of_several = os.environ.get("WORLD_SIZE", "1") != "1"
    names = {one.__name__ for one in type(error).__mro__}
    is_of_group = "DistError" in names or ("RuntimeError" in names and "gloo" in str(error).lower())
    return is_one_of_several and is_of_group


def _usage_message(error: Any, state: State) -> str:
    """Name the file or variable that a bad value came from; the parser knows only the option."""
    message = str(error.format_message()).replace("Value error, ", "")  # a word of the parser's
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    if context is not None and hasattr(error, "possibilities"):  # an unknown option
        return _misplaced(error.option_name, context) or _with_list(message, context)
    if context is not None and message.startswith("No such command"):
        return _with_list(message, context)
    if context is None or parameter is None:
        return message
    source = context.get_parameter_source(parameter.name)
    if source is not None and source.name == "DEFAULT_MAP":
        from ..train.toml_file import line_of

        text = Path(str(state.settings_file)).read_text("utf-8")
        place = line_of(text, parameter.name, context.info_name) or line_of(text, parameter.name)
        return f"{state.settings_file}: {place}{parameter.name}: {error.message}"
    if source is not None and source.name == "ENVIRONMENT":
        return f"{parameter.envvar}: {error.message}"
    return str(error.message) if error.message.startswith("--") else message


def _with_list(message: str, context: Any) -> str:
    """Say what lists the names that there are, where none is like the one that was typed."""
    if "Did you mean" in message or "Possible options" in message:
        return message
    return f"{message.rstrip('.')}; `{context.command_path} --help` lists what there is"


def _misplaced(option: str, context: Any) -> str:
    """Say where an option belongs that this command lacks; empty where it belongs nowhere."""
    if context.parent is None:
        commands = context.command.commands.values()
        known = any(option in parameter.opts for one in commands for parameter in one.params)
        return f"{option} follows the command: avpipe COMMAND {option} ..." if known else ""
    from ..train.recipe import Recipe

    key = option.lstrip("-").replace("-", "_")
    takes_keys = any("--set" in parameter.opts for parameter in context.command.params)
    if takes_keys and key in Recipe.__dataclass_fields__:
        return f"{option} is a key of the recipe: --set {key}=VALUE"
    return ""


def _of_standard_output() -> OSError | None:
    """Return why the results cannot be printed, if they cannot: into a file on a full disk."""
    try:
        print(end="", flush=True)
    except OSError as error:
        _discard_output()
        return OSError(error.errno, error.strerror, "standard output")
    return None


def _print_error(message: str) -> None:
    line = printable(" ".join(message.split()))
    if len(line) > _LONGEST_LINE:  # what it quotes may be a file of megabytes, and help stands last
        line = f"{line[: _LONGEST_LINE // 2]} ... {line[-_LONGEST_LINE // 2 :]}"
    with suppress(OSError):  # a log on a full disk: the exit code is left
        print(f"avpipe: error: {line}", file=sys.stderr)


def _closed_pipe() -> int:
    _discard_output()
    return CLOSED_PIPE


def _discard_output() -> None:
    """Let the interpreter's last flush go nowhere instead of failing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _sigterm_as_interrupt(state: State) -> Iterator[None]:
    """A batch system ends a job with SIGTERM: stop as on Ctrl-C, with the workers cleaned up."""

    def stop(signum: int, frame: FrameType | None) -> None:
        state.terminated = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
