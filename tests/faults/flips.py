"""One flipped bit after another, in every kind of file of caches and runs: found, or harmless.

    python tests/faults/flips.py --count 100000 --seed 1 --log flips.jsonl

A bit of a file is flipped on disk, the file is looked at by the very function that `avpipe verify`
calls for it, and the bit is put back. Three things may come of it:

- found: the function names the file;
- harmless: it does not, and reading gives every value that was there before;
- silent: it does not, and a value is another. There must be none.

Every `FULL_EVERY` flips the whole `verify` is asked too: it must name that file and no other. The
log has a line for each thousand flips at most, drawn from the seed and the line's number; a second
call with the same log does what is missing. Kinds of files are hit alike, however large they are;
of shards a third of the flips go to their headers. `--only KIND` leaves others out; it needs a log
of its own.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from avpipe.cache import verify as cache_verify
from avpipe.cache.manifest import Manifest
from avpipe.cache.schema import shard_path
from avpipe.cache.shard import Shard
from avpipe.cache.state import shard_numbers, stages
from avpipe.pipeline.main import main as avpipe
from avpipe.stages.sums import SUMS, file_problem, read_sums, summed_files
from avpipe.train.runs.metric_lines import read_lines
from avpipe.train.runs.verify import check, files_of, verify_runs
from avpipe.weights.hashes import DamagedRecordError, file_hash, record, record_of, recorded
from cache_factory import add_inputs, make_cache
from evaluation_factory import TINY, write_world
from fake_clips import make_cache as make_fake_cache
from stopped import ignoring_ctrl_c, run_until_stopped

LINE = 1000
"""Flips that a line of the log stands for, at most."""
FULL_EVERY = 250
HEADER = 8 * 4096


@dataclass(frozen=True)
class Target:
    """A file that is flipped.

    Attributes:
        kind: What kind of file it is.
        path: Where it lies.
        problem: What `verify` calls for it: what is wrong, "" for nothing.
        values: Reads all there is in it.
        whole: All that the whole `verify` names, as paths.
    """

    kind: str
    path: Path
    problem: Callable[[], str]
    values: Callable[[], Any]
    whole: Callable[[], set[Path]]


def make_world(folder: Path) -> None:
    """Make caches and runs with every kind of file."""
    make_fake_cache(folder / "fake", [f"c{n}" for n in range(5)], shard_clips=3,
                    failures={"c3": ["no_audio"]})  # fmt: skip
    cache = make_cache(folder / "cache", 28, shard_clips=4)
    add_inputs(cache, ids=cache.ids[:16])
    (folder / "world").mkdir()
    write_world(folder / "world")
    (folder / "held.txt").write_text("\n".join(cache.ids[16:24]))
    settings = [word for one in TINY for word in ("--set", one)]
    given = ["--cache", f"{folder}/cache", "--device", "cpu"]
    run = f"{folder}/run"
    assert avpipe(["train", "--recipe", "compact", "--run", run, "--val-ids", f"{folder}/held.txt",
                   "--threads", "1", *given, *settings]) == 0  # fmt: skip
    assert avpipe(["report", run, "--annotations", f"{folder}/world", *given]) == 0
    assert avpipe(["export", run]) == 0
    assert (
        avpipe(["synth", f"{folder}/synth", "--clips", "2", "--classes", "4", "--jobs", "1"]) == 0
    )
    assert avpipe(["export-cache", f"{folder}/exported", "--cache", f"{folder}/fake",
                   "--workers", "2"]) == 0  # fmt: skip
    (folder / "weights").mkdir()
    (folder / "weights/a.pth").write_bytes(b"weights" * 99)
    record(folder / "weights/a.pth", file_hash(folder / "weights/a.pth", "sha256"))


def targets(folder: Path) -> list[Target]:
    """Return the files of a world."""
    found = [one for name in ("fake", "cache") for one in _of_cache(folder / name)]
    found += _of_runs(folder / "run")
    found += _of_summed(folder / "synth", "world")
    found += _of_summed(folder / "exported", "exported cache")
    weights = folder / "weights/a.pth"
    found.append(
        Target("weights' record", record_of(weights), lambda: _record_problem(weights),
               lambda: recorded(weights), lambda: {record_of(weights)})
    )  # fmt: skip
    return found


def _record_problem(weights: Path) -> str:
    try:
        return "" if recorded(weights) == f"sha256:{file_hash(weights, 'sha256')}" else "differs"
    except DamagedRecordError:
        return "damaged"


def _of_cache(cache: Path) -> Iterator[Target]:
    def whole() -> set[Path]:
        return {cache / name for name in cache_verify.verify(cache).damaged}

    for path in sorted((cache / "manifest").glob("[0-9]*.jsonl*")):
        kind = "manifest's copy" if path.suffix == ".copy" else "manifest"
        name = path.relative_to(cache).as_posix()
        yield Target(
            kind, path, lambda name=name: _segment_problem(cache, name),
            path.read_bytes, whole,
        )  # fmt: skip
    manifest = Manifest(cache)
    for stage in stages(cache):
        for number in sorted(shard_numbers(cache, stage)):
            path = shard_path(cache, stage, number)
            yield Target(
                stage.partition("/")[0],
                path,
                lambda stage=stage, number=number: str(
                    cache_verify._shard_problem(cache, manifest, stage, number)
                ),
                lambda path=path: _columns(path),
                whole,
            )


def _segment_problem(cache: Path, name: str) -> str:
    report = cache_verify.VerifyReport()
    cache_verify._verify_manifest(cache, report, repair=False)
    return report.damaged.get(name, "")


def _columns(path: Path) -> Mapping[str, Any]:
    shard = Shard(path, verify=False)
    return {name: np.array(shard.column(name)).tobytes() for name in shard.header.columns}


def _of_runs(run: Path) -> Iterator[Target]:
    def whole() -> set[Path]:
        return {run / name for name in verify_runs(run).damaged}

    for owner, path in files_of(run):
        yield Target(
            "exported " + path.name if owner != run else _kind(path.relative_to(run)),
            path,
            lambda owner=owner, path=path: check(owner, path).problem,
            lambda path=path: _values(path),
            whole,
        )


def _of_summed(folder: Path, what: str) -> Iterator[Target]:
    def whole() -> set[Path]:
        return {folder / name for name, problem in summed_files(folder) if problem}

    for name, expected in read_sums(folder).items():
        yield Target(
            f"{what}'s {'clips' if name.endswith(('.mp4', '.tar')) else 'lists'}",
            folder / name,
            lambda name=name, expected=expected: file_problem(folder / name, expected),
            (folder / name).read_bytes,
            whole,
        )
    yield Target(
        f"{what}'s sums", folder / SUMS, lambda: dict(summed_files(folder))[SUMS],
        (folder / SUMS).read_bytes, whole,
    )  # fmt: skip


def _kind(name: Path) -> str:
    if name.parts[0] == "tensorboard":
        return "TensorBoard's"
    return f"evaluate/*{name.suffix}" if name.parts[0] == "evaluate" else name.name


def _values(path: Path) -> Any:
    """Read what is in a file of a run: JSON and lines as values, all others as bytes."""
    if path.suffix == ".json":
        return json.loads(path.read_bytes())
    return read_lines(path) if path.suffix == ".jsonl" else path.read_bytes()


def flip(one: Target, bit: int, before: Any, *, full: bool = False) -> str:
    """Flip a bit of a file, look, and flip it back: found, harmless or silent.

    Args:
        one: The file.
        bit: Which.
        before: What was in it.
        full: Ask the whole `verify` too.
    """
    _flip(one.path, bit)
    try:
        filecmp.clear_cache()  # two flips may come within one tick of the file system's clock
        if one.problem():
            return "silent" if full and one.whole() != {one.path} else "found"
        try:
            return "harmless" if one.values() == before else "silent"
        except Exception:  # no reader takes it, and `verify` does
            return "silent"
    finally:
        _flip(one.path, bit)


def _flip(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        (byte,) = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


class Bench:
    """The files of a world by kind, and flips drawn from seeds."""

    def __init__(self, folder: Path, only: Collection[str] = ()) -> None:
        """Look at a world that was made.

        Args:
            folder: The world.
            only: Kinds that are flipped; all if empty.
        """
        self.kinds: dict[str, list[Target]] = {}
        for one in targets(folder):
            if not only or one.kind in only:
                self.kinds.setdefault(one.kind, []).append(one)
        if unknown := sorted(set(only) - self.kinds.keys()):
            sys.exit(f"no file is called {unknown[0]!r}: --only takes the names of the table")
        every = [one for own in self.kinds.values() for one in own]
        self.sizes = {one.path: 8 * one.path.stat().st_size for one in every}
        self.before = {one.path: one.values() for one in every}

    def line(self, seed: int, number: int, count: int = LINE, begin: int = 0) -> dict[str, Any]:
        """Do the flips of a line of the log.

        Args:
            seed: Of the whole.
            number: Of the line.
            count: How many flips are drawn.
            begin: How many of these were done before.
        """
        rng = random.Random(f"{seed}:{number}")
        names, counts, silent = sorted(self.kinds), Counter[str](), []
        for at in range(count):
            kind = rng.choice(names)
            one = rng.choice(self.kinds[kind])
            limit = self.sizes[one.path]
            if one.path.suffix == ".h5" and rng.random() < 1 / 3:
                limit = min(HEADER, limit)
            bit = rng.randrange(limit)
            if at < begin:
                continue
            how = flip(one, bit, self.before[one.path], full=at % FULL_EVERY == 0)
            counts[f"{kind}: {how}"] += 1
            if how == "silent":
                silent.append([kind, one.path.name, bit])
        return {
            "seed": seed,
            "line": number,
            "begin": begin,
            "end": count,
            "counts": dict(sorted(counts.items())),
            "silent": silent,
        }


_bench: Bench | None = None


def _begin(world: str, only: Collection[str]) -> None:
    global _bench
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits
    folder = Path(tempfile.mkdtemp(dir=Path(world).parent)) / "world"
    shutil.copytree(world, folder)
    _bench = Bench(folder, only)


def _work(job: tuple[int, int, int, int]) -> dict[str, Any]:
    assert _bench is not None
    return _bench.line(*job)


def lacking(count: int, seed: int, log: Path) -> list[tuple[int, int, int, int]]:
    """Return the lines that a log lacks: seed, number, where each ends and where it begins."""
    done = Counter[int]()
    for one in read_log(log):
        if one["seed"] == seed:
            done[one["line"]] = max(done[one["line"]], one.get("end", LINE))
    ends = [min(LINE, count - begun) for begun in range(0, count, LINE)]
    return [(seed, number, end, done[number]) for number, end in enumerate(ends)
            if done[number] < end]  # fmt: skip


def run(count: int, seed: int, jobs: int, log: Path, only: Collection[str] = ()) -> None:
    """Do the flips that a log lacks."""
    wanted = lacking(count, seed, log)
    with tempfile.TemporaryDirectory(prefix="avpipe-flips-") as folder:
        world = Path(folder, "world")
        world.mkdir()
        os.environ["AVPIPE_WEIGHTS_DIR"] = f"{folder}/no-weights"
        make_world(world)
        Bench(world, only)
        with (
            ProcessPoolExecutor(jobs, get_context("spawn"), _begin, (str(world), only)) as pool,
            log.open("a") as file,
        ):
            try:
                with ignoring_ctrl_c():  # as those do that are started now
                    found = pool.map(_work, wanted)
                for line in found:
                    file.write(json.dumps(line) + "\n")
                    file.flush()
            except KeyboardInterrupt:
                for process in active_children():
                    process.terminate()
                raise


def read_log(log: Path) -> list[dict[str, Any]]:
    """Return the lines of a log."""
    return [json.loads(text) for text in log.read_text().splitlines()] if log.exists() else []


def table(log: Path) -> str:
    """Return the counts of a log, by kind of file."""
    total = Counter[str]()
    for line in read_log(log):
        total.update(line["counts"])
    kinds = sorted({name.rpartition(": ")[0] for name in total})
    hows = ("found", "harmless", "silent")
    rows = ["| file | flips | found | harmless | silent |", "|---|---|---|---|---|"]
    for kind in [*kinds, "all"]:
        own = [
            sum(n for name, n in total.items() if name.endswith(f": {how}") and
                kind in ("all", name.rpartition(": ")[0])) for how in hows
        ]  # fmt: skip
        rows.append(f"| {kind} | {sum(own)} | {' | '.join(map(str, own))} |")
    return "\n".join(rows)


def main() -> int:
    """Run from the command line; 1 where a flip was silent."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=LINE, help="how many flips")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--log", type=Path, default=Path("flips.jsonl"))
    parser.add_argument("--only", metavar="KIND", action="append", default=[])
    parser.add_argument("--table", action="store_true", help="only print the log's counts")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if not options.table:
        run(options.count, options.seed, options.jobs, options.log.absolute(), options.only)
    print(table(options.log))
    return int(any(line["silent"] for line in read_log(options.log)))


if __name__ == "__main__":
    run_until_stopped(main)
