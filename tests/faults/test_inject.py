"""One system call fails, or the process ends at it: one line, its code, and the rerun finishes."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from avpipe.cache.schema import Header, shard_path
from avpipe.cache.store import Cache
from avpipe.cache.writer import Rows, write_shard
from cache_factory import make_cache
from evaluation_factory import TINY, write_world
from fake_clips import make_cache as make_plain_cache
from injected import EXITED, FAULTS, KINDS, Injector, Outcome, compiler

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(compiler() is None, reason="no C compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="the library is preloaded as Linux does"),
]
_DRAFT = re.compile(r"\..+\.\d+\.[0-9a-f]{8}")
_MOVES = ("read", "write", "pwrite")
"""Calls that may do less than they were asked."""


@dataclass(frozen=True)
class Bench:
    """A folder with what commands need, and what runs them: `case` is theirs to change."""

    folder: Path
    injector: Injector
    _calm: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def case(self) -> Path:
        """The folder of this case."""
        return self.folder / "case"

    def begin(self, command: str) -> list[str | Path]:
        """Give a command a fresh start; return how it is called."""
        shutil.rmtree(self.case, ignore_errors=True)
        self.case.mkdir()
        source, words = COMMANDS[command]
        if source:
            shutil.copytree(self.folder / source, self.case / source, copy_function=os.link)
        return words(self)

    def calm(self, command: str) -> dict[str, str]:
        """Return the files that a command leaves that nothing disturbs; it runs once."""
        if command not in self._calm:
            assert self.injector.run(self.begin(command)).code == 0
            self._calm[command] = self.files()
        return self._calm[command]

    def files(self) -> dict[str, str]:
        """Return the digest of each file of the case.

        TensorBoard's are left out: their names and their lines hold the time of day.
        """
        found = (path for path in self.case.rglob("*") if path.is_file())
        return {
            path.relative_to(self.case).as_posix(): sha256(path.read_bytes()).hexdigest()
            for path in found
            if "tfevents" not in path.name
        }


Words = Callable[[Bench], list[str | Path]]


def _train(bench: Bench) -> list[str | Path]:
    words: list[str | Path] = ["train", "--recipe", "compact", "--run", bench.case / "run"]
    words += ["--cache", bench.folder / "cache", "--ids", bench.folder / "train.txt"]
    return [*words, *(word for key in TINY for word in ("--set", key))]


def _evaluate(bench: Bench) -> list[str | Path]:
    words: list[str | Path] = ["evaluate", bench.case / "run", "--cache", bench.folder / "cache"]
    return [*words, "--annotations", bench.folder / "annotations"]


def _localize(bench: Bench) -> list[str | Path]:
    words: list[str | Path] = ["localize", "--run", bench.case / "run", "--out", bench.case / "out"]
    return [*words, "--ids", bench.folder / "ids.txt", "--cache", bench.folder / "cache"]


COMMANDS: dict[str, tuple[str, Words]] = {
    "drop": ("small", lambda bench: ["drop", "hints/x", "--cache", bench.case / "small"]),
    "drop audio": ("small", lambda bench: ["drop", "audio", "--cache", bench.case / "small"]),
    "repair": ("hurt", lambda bench: ["verify", "--repair", "--cache", bench.case / "hurt"]),
    "export": ("run", lambda bench: ["export", bench.case / "run"]),
    "localize": ("run", _localize),
    "evaluate": ("run", _evaluate),
    "train": ("", _train),
}
"""Command to the folder that it changes, of which each case has a copy, and its arguments."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    world = folder / "world"
    cache = make_cache(world / "cache", 28)
    (world / "train.txt").write_text("\n".join(cache.ids[:14]))
    (world / "ids.txt").write_text("clip014\n")
    (world / "annotations").mkdir()
    write_world(world / "annotations")
    small = Cache(make_plain_cache(world / "small", ["a", "b", "c", "d", "e"]))
    for number in range(small.manifest.num_shards):
        rows = small.shard("extract", number).rows
        header = Header("hints/x", 1, number, {}, {}, n=len(rows), done=len(rows), weights="made")
        values = Rows.array(np.zeros((len(rows), 4), np.float16))
        columns = {"row": Rows.array(rows), "value": values}
        write_shard(shard_path(small.path, "hints/x", number), header, columns)
    shutil.copytree(small.path, world / "hurt")
    for name in ("hints/x/0000001.h5", "manifest/0000.jsonl"):
        content = bytearray((world / "hurt" / name).read_bytes())
        content[-20] ^= 4
        (world / "hurt" / name).write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVPIPE_DEVICE", "cpu")
        patch.setenv("AVPIPE_WEIGHTS_DIR", str(folder / "no-weights"))
        with Injector(folder, below=world) as injector:
            bench = Bench(world, injector)
            assert injector.run(bench.begin("train")).code == 0
            (bench.case / "run").rename(world / "run")
            yield bench


def require_survived(bench: Bench, command: str, found: Outcome, calm: dict[str, str]) -> None:
    """See that a command ended as it should, and that the same command finishes the same bytes."""
    where = f"{command}: {found.hit}: {found.stderr}"
    assert found.problem() == "", where
    again = bench.injector.run(COMMANDS[command][1](bench))
    assert (again.code, again.problem()) == (0, ""), f"{where} rerun: {again.stderr}"
    left = bench.files()
    assert not any(_DRAFT.fullmatch(name.rpartition("/")[2]) for name in left), f"{where}{left}"
    if command != "repair":
        assert left == calm, where
    else:  # a shard that cannot be read is moved away, none is lost
        kept = {name.replace("hurt/damaged/", "hurt/"): left[name] for name in left} | left
        assert calm.items() <= kept.items(), where


@pytest.mark.parametrize(
    ("command", "fault", "kind", "at", "codes"),
    [
        ("drop", "EIO", "rmdir", 1, {7}),
        ("drop", "exit", "rmdir", 1, {EXITED}),
        ("drop", "EMFILE", "open", 4, {7}),
        ("drop audio", "EIO", "unlink", 2, {7}),
        ("repair", "EIO", "rename", 1, {7}),
        ("repair", "EIO", "read", 14, {0, 7}),
        ("repair", "EDQUOT", "write", 1, {7}),
        ("repair", "exit", "rename", 2, {EXITED}),
        ("export", "EMFILE", "open", 2, {7}),
        ("export", "ENOSPC", "write", 1, {7}),
        ("export", "short", "write", 1, {0}),
        ("export", "exit", "fsync", 1, {EXITED}),
        ("localize", "EMFILE", "open", 5, {7}),
        ("localize", "exit", "rename", 1, {EXITED}),
        ("evaluate", "EIO", "read", 12, {4, 7}),
        ("evaluate", "exit", "rename", 2, {EXITED}),
        ("train", "ENOSPC", "create", 4, {0, 7}),
        ("train", "exit", "fsync", 4, {EXITED}),
    ],
)
def test_one_call_fails(
    command: str, fault: str, kind: str, at: int, codes: set[int], bench: Bench
) -> None:
    calm = bench.calm(command)
    words = bench.begin(command)
    found = bench.injector.run(words, at=at, error=FAULTS[fault], kinds=[kind])
    assert found.hit.startswith(f"{kind} "), f"there are not {at} calls of {kind}"
    assert found.code in codes, found
    require_survived(bench, command, found, calm)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_tenth_call_fails(
    command: str, fault: str, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds: Sequence[str] = _MOVES if fault == "short" else KINDS
    calm = bench.calm(command)
    undisturbed = bench.injector.run(bench.begin(command), kinds=kinds)
    assert undisturbed.code == 0
    codes: Counter[int] = Counter()
    wrong = []
    for at in range(1, undisturbed.calls + 1, 10):
        words = bench.begin(command)
        found = bench.injector.run(words, at=at, error=FAULTS[fault], kinds=kinds)
        codes[found.code] += 1
        try:
            require_survived(bench, command, found, calm)
        except AssertionError as error:
            wrong.append(f"{at}: {error}")
    with capsys.disabled():
        told = ", ".join(f"{number} ended with {code}" for code, number in sorted(codes.items()))
        print(f"\n{command}, {fault}: {codes.total()} of {undisturbed.calls} calls: {told}")
    assert not wrong, "\n".join(wrong)
