"""Run `avpipe` commands that are watched, or that wait for each other at every call: one server.

`Witness` compiles `faults/witness.c`, starts this file with it preloaded, and asks it for commands,
each in a process of its own. A recorded one leaves all that it changed below a folder, in order;
several that are stepped go on one at a time, as a schedule says. Decoding is a stand-in's, which
makes a clip of its id, and training saves after each step: what is looked at is what is written.
"""

from __future__ import annotations

import ctypes
import gc
import io
import json
import os
import select
import signal
import struct
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, Self

from injected import build
from warm import HEAVY, STORED, leave

KINDS = (
    "open", "create", "write", "truncate", "fsync", "rename", "link", "unlink", "mkdir", "rmdir",
    "list", "stat", "lock", "mark",
)  # fmt: skip
"""As `witness.c` numbers them."""
CHANGES = (
    "create", "write", "truncate", "fsync", "rename", "link", "unlink", "mkdir", "rmdir", "mark",
)  # fmt: skip
MEETINGS = ("open", "create", "rename", "link", "unlink", "mkdir", "rmdir", "list", "lock")
"""Calls at which processes that share a folder can see or undo what another one did."""
_ASLEEP, _RECORD, _STEP = 0, 1, 2
_ENTRY = struct.Struct("=iiqqqii")
_SOURCE = Path(__file__).with_name("faults") / "witness.c"
_HANGS_S = 120
BREAKS = "bad"
"""Clips whose ids begin so cannot be decoded."""


@dataclass(frozen=True)
class Event:
    """A recorded call.

    Attributes:
        kind: One of `CHANGES`; `mark` where a file was told to be published.
        path: Of the file or folder; of a rename or link, where it was.
        target: Of a rename or link; "" for others. Of unlink, mkdir, rmdir it is `path`.
        inode: Of an open file.
        at: Where a write begins, or the length of a truncate.
        flag: Of create: the file is emptied. Of truncate: it only grows.
        content: What was written.
    """

    kind: str
    path: str
    target: str = ""
    inode: int = -1
    at: int = 0
    flag: bool = False
    content: bytes = b""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, and what it printed."""

    code: int
    stdout: str
    stderr: str

    def problem(self) -> str:
        """Say what is wrong with such an end; "" if it is as a user may expect it."""
        errors = [line for line in self.stderr.splitlines() if line.startswith("avpipe: error:")]
        if "Traceback" in self.stderr or "Exception ignored" in self.stderr:
            return f"a traceback: {self.stderr}"
        if self.code not in (0, 2, 3, 4, 5, 7):
            return f"exit code {self.code}: {self.stderr}"
        if len(errors) != (self.code != 0):
            return f"{len(errors)} lines of error with exit code {self.code}: {self.stderr}"
        return ""


@dataclass(frozen=True)
class Meeting:
    """Commands that were stepped.

    Attributes:
        ended: How each ended, in the order in which they were named.
        trace: Who did what: number of the command, kind of the call, path, and target.
        hang: Why they did not come to their ends; "" if they did.
    """

    ended: tuple[Ended, ...]
    trace: tuple[tuple[int, str, str, str], ...] = field(repr=False)
    hang: str = ""


class Witness:
    """Runs commands in processes of their own; a context manager."""

    def __init__(self, folder: Path, below: Path, modules: Sequence[str] = STORED) -> None:
        """Compile the library.

        Args:
            folder: Where the library and what commands print go.
            below: Calls on files below this folder are watched.
            modules: What the processes have loaded.
        """
        self._library, self._folder, self._below = folder / "witness.so", folder, below
        self._modules = modules
        build(_SOURCE, self._library)

    def __enter__(self) -> Self:
        """Start the server."""
        environment = {**os.environ, "LD_PRELOAD": str(self._library), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, str(self._library), str(self._folder)]
        self._server = subprocess.Popen(
            [*command, *self._modules],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        """End the server."""
        self._server.communicate()

    def run(self, arguments: Sequence[str | Path]) -> Ended:
        """Run `avpipe` with those arguments, unwatched."""
        return self._asked(_ASLEEP, [arguments]).ended[0]

    def record(self, arguments: Sequence[str | Path]) -> tuple[Ended, list[Event]]:
        """Run `avpipe` with those arguments; return also all that it changed."""
        ended = self._asked(_RECORD, [arguments]).ended[0]
        return ended, list(read_events(self._folder / "recording"))

    def step(
        self, commands: Sequence[Sequence[str | Path]], schedule: Sequence[tuple[int, int]] = ()
    ) -> Meeting:
        """Run commands beside each other, one at a time.

        Args:
            commands: Their arguments.
            schedule: Who makes how many calls, in turn; then each runs to its end, in the order of
                their numbers.
        """
        return self._asked(_STEP, commands, schedule)

    def _asked(
        self,
        mode: int,
        commands: Sequence[Sequence[str | Path]],
        schedule: Sequence[tuple[int, int]] = (),
    ) -> Meeting:
        words = [[*map(str, arguments)] for arguments in commands]
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps([mode, str(self._below), words, [*schedule]]) + "\n")
        self._server.stdin.flush()
        answer = json.loads(self._server.stdout.readline())
        ended = tuple(
            Ended(
                code,
                (self._folder / f"{number}.out").read_text(errors="replace"),
                (self._folder / f"{number}.err").read_text(errors="replace"),
            )
            for number, code in enumerate(answer["codes"])
        )
        return Meeting(ended, tuple(map(tuple, answer["trace"])), answer["hang"])


def read_events(recording: Path) -> Iterator[Event]:
    """Yield what `witness.c` recorded."""
    content, at = recording.read_bytes(), 0
    while at < len(content):
        kind, flag, inode, where, size, first, second = _ENTRY.unpack_from(content, at)
        at += _ENTRY.size
        paths = os.fsdecode(content[at : at + first]), os.fsdecode(content[at + first :][:second])
        at += first + second
        name = KINDS[kind]
        data = content[at : at + size] if name == "write" else b""
        at += len(data)
        path, target = paths if paths[0] else (paths[1], "")
        yield Event(name, path, target, inode, where, bool(flag), data)


class _Driver:
    """A command that asks before each call."""

    def __init__(self, number: int, start: Any) -> None:
        """Fork it; it runs until its first call."""
        asks, self._asked = os.pipe(), b""
        goes = os.pipe()
        if (pid := os.fork()) == 0:
            os.close(asks[0])
            os.close(goes[1])
            start(number, asks[1], goes[0])
        os.close(asks[1])
        os.close(goes[0])
        self.pid, self._from, self._to = pid, asks[0], goes[1]
        self.code: int | None = None

    def asked(self) -> list[str] | None:
        """Wait for its next call, and return it; None if it has ended."""
        while self.code is None and b"\n" not in self._asked:
            if not select.select([self._from], [], [], _HANGS_S)[0]:
                raise TimeoutError
            got = os.read(self._from, 65536)
            self._asked += got
            if not got:
                self.end()
        return None if self.code is not None else os.fsdecode(self._asked[:-1]).split("\t")

    def go(self) -> None:
        """Let it make the call."""
        self._asked = b""
        os.write(self._to, b".")

    def end(self, kill: bool = False) -> None:
        """Wait for its end."""
        if self.code is None:
            if kill:
                os.kill(self.pid, signal.SIGKILL)
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self._from)
            os.close(self._to)


def _stepped(
    drivers: Sequence[_Driver], schedule: Sequence[Sequence[int]], trace: list[Any]
) -> str:
    """Let drivers go on as the schedule says, then to their ends; return why they cannot."""

    def step(who: int) -> bool:
        """Make one call; whether it was made, and not stopped by another's lock."""
        call = drivers[who].asked()
        if call is None:
            return False
        trace.append([who, *call])
        drivers[who].go()
        return call[0] != "lock"

    rest = [(who, 1 << 40) for who in range(len(drivers))]
    stuck = 0
    for who, count in [*schedule, *rest]:
        while count > 0 and drivers[who].asked() is not None:
            if step(who):
                count, stuck = count - 1, 0
                continue
            others = [step(other) for other in range(len(drivers)) if other != who]
            stuck = 0 if any(others) else stuck + 1
            if stuck > 3:
                return "each waits for a lock of the other"
    return ""


class Server:
    """Starts what standard input asks for, a line each; answers with a line each."""

    def __init__(self, library: str, folder: Path) -> None:
        """Open the library that is preloaded."""
        self._library, self._folder = ctypes.CDLL(library), folder
        self._mode, self._below, self._words = 0, "", [[""]]

    def serve(self) -> None:
        """Serve."""
        for text in sys.stdin:
            self._mode, self._below, self._words, schedule = json.loads(text)
            numbers, trace, hang = range(len(self._words)), [], ""
            if self._mode == _STEP:
                drivers = [_Driver(number, self._become) for number in numbers]
                try:
                    hang = _stepped(drivers, schedule, trace)
                except TimeoutError:
                    hang = f"no call for {_HANGS_S} s"
                for driver in drivers:
                    driver.end(kill=bool(hang))
                codes = [driver.code for driver in drivers]
            else:
                if (pid := os.fork()) == 0:
                    self._become(0, -1, -1)
                codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]
            print(json.dumps({"codes": codes, "trace": trace, "hang": hang}), flush=True)

    def _become(self, number: int, asks: int, goes: int) -> NoReturn:
        """Run a command as a process of its own would, to its very end."""
        from avpipe.pipeline.main import main

        signal.alarm(10 * _HANGS_S)
        os.chdir(self._below)
        names = ((0, os.devnull), (1, f"{number}.out"), (2, f"{number}.err"))
        for fd, name in names:
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC
            os.dup2(os.open(self._folder / name, flags, 0o600), fd)
        kinds: Sequence[str] = MEETINGS
        if self._mode == _RECORD:
            kinds = CHANGES
            asks = os.open(self._folder / "recording", os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
            _tell_published(self._library)
        bits = sum(1 << KINDS.index(kind) for kind in kinds)
        self._library.witness(os.fsencode(self._below), self._mode, asks, goes, bits)
        code: object = 1
        try:
            code = main(self._words[number])
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
        leave(code)


def _tell_published(library: ctypes.CDLL) -> None:
    """Mark in the recording where a file is said to be whole and durable: its writer goes on."""
    from avpipe import drafts

    plain = drafts._draft

    @contextmanager
    def marked(path: Path, **how: Any) -> Iterator[Path]:
        with plain(path, **how) as draft:
            yield draft
        library.witness_mark(os.fsencode(path.absolute()))

    drafts._draft = marked


def _stand_in() -> None:
    """Decode nothing; save often."""
    from avpipe.pipeline.extract import run
    from fake_clips import FakeDecoder

    class Decoder(FakeDecoder):
        """Fails for some ids, for ever."""

        def row(self, line: Any) -> Any:
            if line["id"].startswith(BREAKS):
                self.failures = {line["id"]: ["decode_error"]}
            return super().row(line)

    run.decoder_child = lambda *_: Decoder()  # type: ignore[assignment]
    if "avpipe.train.loop" in sys.modules:
        defaults = sys.modules["avpipe.train.loop"].train.__kwdefaults__
        defaults["checkpoint_every_s"] = 0.0
        from narrow_peers import narrow

        narrow()
        _draw_here()


def _draw_here() -> None:
    """Let films be drawn by the process that is watched, not by a child of its own."""
    from avpipe.pipeline.localize import files
    from avpipe.stages.film import steps
    from avpipe.stages.film.run import RenderChild

    class Renderer(RenderChild):
        """Answers itself."""

        def __init__(self, **how: Any) -> None:
            super().__init__(**how)
            self.ask = steps._prepare({})  # type: ignore[method-assign,assignment]

    files.RenderChild = Renderer  # type: ignore[misc]


def _warm_up() -> None:
    """Let the command line be built, and what it converts, once for all."""
    import typer
    from avpipe.pipeline.main import main

    typer.main.get_command = cache(typer.main.get_command)
    for words in ("status", "verify", "drop x", "extract /nowhere/a.mp4 --dry-run"):
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            main([*words.split(), "--cache", "/nowhere/cache"])


_EVERY = (
    "avpipe.pipeline.main", "avpipe.pipeline.downloads", "avpipe.stages.media.decoders.pyav",
    "avpipe.weights.choice", "pydantic", "typer", "zoneinfo", "h5py",
)  # fmt: skip
LEARNERS = HEAVY
"""What processes that train, embed or evaluate have loaded."""

if __name__ == "__main__":
    for module in sys.argv[3:]:
        __import__(module)
    for module in _EVERY:
        __import__(module)
    _stand_in()
    _warm_up()
    gc.freeze()  # forks share what is loaded: no collection of theirs touches it
    Server(sys.argv[1], Path(sys.argv[2])).serve()
