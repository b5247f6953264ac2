"""Every command that writes, on a world as small as it can be: what faults are tried on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from avpipe.cache.schema import Header, shard_path
from avpipe.cache.store import Cache
from avpipe.cache.writer import Rows, write_shard
from cache_factory import make_cache
from evaluation_factory import TINY, write_world
from fake_clips import make_cache as make_plain_cache
from injected import Injector
from media_factory import write_clip
from narrow_peers import write_narrow

Words = list[str | Path]


@dataclass(frozen=True)
class Command:
    """A command that writes.

    Attributes:
        source: Folder of the world that it changes, of which each case has a copy; "" for none.
        words: Its arguments, from the world and the folder of the case.
        caches: Folders of the case that are caches.
        changing: Names of files that are not what they will be when the command is done.
        heavy: Whether it runs networks: forks of a process without torch take a tenth of the time.
    """

    source: str
    words: Callable[[Path, Path], Words]
    caches: tuple[str, ...] = ()
    changing: tuple[str, ...] = ()
    heavy: bool = True


def _extract(world: Path, case: Path) -> Words:
    words: Words = ["extract", world / "videos", "--cache", case / "cache"]
    return [*words, "--shard-clips", "2", "--jobs"]


def _synth(case: Path) -> Words:
    return ["synth", case / "world", "--clips", "1", "--test", "1", "--classes", "4", "--jobs"]


def _train(world: Path, case: Path) -> Words:
    words: Words = ["train", "--recipe", "compact", "--run", case / "run"]
    words += ["--cache", world / "cache", "--ids", world / "train.txt"]
    return [*words, *(word for key in (*TINY, "batch_size=4") for word in ("--set", key))]


def _of_run(name: str, world: Path, case: Path) -> Words:
    words: Words = [name, case / "run", "--cache", world / "cache"]
    return [*words, "--annotations", world / "annotations"]


def _localize(case: Path) -> Words:
    return ["localize", "--run", case / "run", "--out", case / "out"]


def _import(world: Path, case: Path) -> Words:
    return ["import-checkpoint", world / "best.pth", "--from", "ez-vsl", "--run", case / "imported"]


_NETWORKS = ("--weights", "random", "--batch-size", "2")
_EMBED = ("--visual", "mobilenet-v2", "--visual-size", "96", "--audio", "efficientat-mn04")
_IMAGES = ("--image", "mobilenet-v2", "--audio", "none", "--k", "1")
_SOUNDS = ("--encoder", "efficientat-mn04", "--k", "2")
_RUN_FILES = ("run.json", "checkpoint.*", "metrics.jsonl", "validation.jsonl", "*.safetensors")
COMMANDS: dict[str, Command] = {
    "extract": Command("", lambda w, c: [*_extract(w, c), "1"], ("cache",), heavy=False),
    "extract --jobs 2": Command("", lambda w, c: [*_extract(w, c), "2"], ("cache",), heavy=False),
    "synth": Command("", lambda w, c: [*_synth(c), "1"], heavy=False),
    "synth --jobs 2": Command("", lambda w, c: [*_synth(c), "2"], heavy=False),
    "embed-teachers": Command(
        "two",
        lambda w, c: ["embed-teachers", "--cache", c / "two", *_EMBED, *_NETWORKS],
        ("two",),
    ),
    "knn": Command(
        "two", lambda w, c: ["knn", "--cache", c / "two", *_IMAGES, *_NETWORKS], ("two",)
    ),
    "cluster": Command(
        "two", lambda w, c: ["cluster", "--cache", c / "two", *_SOUNDS, *_NETWORKS], ("two",)
    ),
    "train": Command("", _train, changing=_RUN_FILES),
    "train --val-ids": Command(
        "", lambda w, c: [*_train(w, c), "--val-ids", w / "val.txt"], changing=_RUN_FILES
    ),
    "evaluate": Command("run", lambda w, c: _of_run("evaluate", w, c)),
    "report": Command("run", lambda w, c: _of_run("report", w, c), changing=("commands.json",)),
    "localize": Command(
        "run", lambda w, c: [*_localize(c), "--ids", w / "ids.txt", "--cache", w / "cache"]
    ),
    "localize --video": Command(
        "run", lambda w, c: [*_localize(c), w / "videos" / "a.mp4", "--video", "--strip"]
    ),
    "import-checkpoint": Command("", _import),
    "export": Command("run", lambda w, c: ["export", c / "run"]),
    "export-cache": Command(
        "small",
        lambda w, c: ["export-cache", c / "out", "--cache", c / "small", "--workers", "1"],
        ("small",),
        heavy=False,
    ),
    "drop": Command(
        "small", lambda w, c: ["drop", "hints/x", "--cache", c / "small"], ("small",), heavy=False
    ),
    "drop audio": Command(
        "small", lambda w, c: ["drop", "audio", "--cache", c / "small"], ("small",), heavy=False
    ),
    "verify --repair": Command(
        "hurt", lambda w, c: ["verify", "--repair", "--cache", c / "hurt"], ("hurt",), heavy=False
    ),
}


@dataclass
class Bench:
    """A folder with what commands need, and what runs them: `case` is theirs to change."""

    folder: Path
    _injectors: dict[bool, Injector] = field(default_factory=dict)
    pure: bool = False

    @property
    def world(self) -> Path:
        """The folder that commands read; calls below it are counted."""
        return self.folder / "world"

    @property
    def case(self) -> Path:
        """The folder of this case."""
        return self.world / "case"

    def injector(self, command: str) -> Injector:
        """Return what runs a command, started if need be."""
        heavy = COMMANDS[command].heavy
        if heavy not in self._injectors:
            made = Injector(self.folder, self.world, pure=self.pure)
            self._injectors[heavy] = made.__enter__()
        return self._injectors[heavy]

    def begin(self, command: str) -> Words:
        """Give a command a fresh start; return how it is called."""
        shutil.rmtree(self.case, ignore_errors=True)
        self.case.mkdir()
        if source := COMMANDS[command].source:
            shutil.copytree(self.world / source, self.case / source, copy_function=os.link)
        return self.words(command)

    def words(self, command: str) -> Words:
        """Return how a command is called."""
        return COMMANDS[command].words(self.world, self.case)

    def close(self) -> None:
        """End what runs commands."""
        for injector in self._injectors.values():
            injector.__exit__()


@contextmanager
def open_bench(folder: Path, *, pure: bool = False) -> Iterator[Bench]:
    """Make a world; everything on the CPU, without weights of the user."""
    before = dict(os.environ)
    os.environ.update(AVPIPE_DEVICE="cpu", AVPIPE_WEIGHTS_DIR=str(folder / "no-weights"))
    bench = Bench(folder, pure=pure)
    try:
        make_world(bench.world)
        found = bench.injector("train").run(bench.begin("train"))
        assert found.code == 0, found
        (bench.case / "run").rename(bench.world / "run")
        yield bench
    finally:
        bench.close()
        os.environ.clear()
        os.environ.update(before)


def make_world(world: Path) -> None:
    """Write what commands need: videos, caches, lists, released weights."""
    (world / "videos").mkdir(parents=True)
    for name in ("a", "b"):
        write_clip(world / "videos" / f"{name}.mp4", fps=8, seconds=1)
    broken = world / "videos" / "aa.mp4"  # beside a good one in its shard: else a rerun ends with 3
    broken.write_bytes(b"not a video at all\n" * 9)
    numbers = (*range(10), 14, 15, 22, 24)  # ten to learn from; heard, unheard and off-screen ones
    ids = [f"clip{number:03d}" for number in numbers]
    cache = make_cache(world / "cache", len(ids), ids=ids)
    (world / "train.txt").write_text("\n".join(cache.ids[:8]))
    (world / "ids.txt").write_text("clip014\n")
    (world / "val.txt").write_text("\n".join(cache.ids[8:10]))
    (world / "annotations").mkdir()
    write_world(world / "annotations")
    make_plain_cache(world / "two", ["a", "b", "c"], shard_clips=2)
    _write_small(world / "small")
    shutil.copytree(world / "small", world / "hurt")
    for name in ("hints/x/0000001.h5", "manifest/0000.jsonl"):
        content = bytearray((world / "hurt" / name).read_bytes())
        content[-20] ^= 4
        (world / "hurt" / name).write_bytes(content)
    write_narrow(world, "ez-vsl")


def _write_small(folder: Path) -> None:
    """Write a cache of five clips in two shards, one of them failed, with hints."""
    failures = {"d": ["truncated"]}
    small = Cache(make_plain_cache(folder, ["a", "b", "c", "d", "e"], failures=failures))
    for number in range(small.manifest.num_shards):
        rows = small.shard("extract", number).rows
        header = Header("hints/x", 1, number, {}, {}, n=len(rows), done=len(rows), weights="made")
        values = Rows.array(np.zeros((len(rows), 4), np.float16))
        columns = {"row": Rows.array(rows), "value": values}
        write_shard(shard_path(small.path, "hints/x", number), header, columns)
