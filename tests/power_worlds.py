"""Commands that write, and small worlds to run them in, with a stand-in for decoding."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
from avpipe.cache.schema import MANIFEST, Header, shard_path
from avpipe.cache.store import Cache
from avpipe.cache.verify import verify
from avpipe.cache.writer import Rows, write_shard
from avpipe.stages.sums import summed_files
from avpipe.train.runs.verify import is_run, verify_runs
from cache_factory import make_cache
from evaluation_factory import TINY, write_world
from media_factory import write_clip
from warm import STORED
from witnessed import LEARNERS, Witness

Words = list["str | Path"]


@dataclass(frozen=True)
class Command:
    """A command that writes.

    Attributes:
        words: Its arguments, for a world and the folder that it may change.
        begins_with: The folder of the world that the case is a copy of; "" for an empty one.
        learns: Whether it needs PyTorch.
        cache: Where the case has a cache; "" where it has a run.
        codes: Exit codes of a run that finds all done.
        grows: Whether a run that finds all done adds files.
        once: Whether it writes each file once: what has its name is as it was or will be.
        mixes: Whether files of two makes lie beside each other until its end.
    """

    words: Callable[[Path, Path], Words]
    begins_with: str = ""
    learns: bool = False
    cache: str = "cache"
    codes: tuple[int, ...] = (0,)
    grows: bool = False
    once: bool = False
    mixes: bool = False


def _extract(videos: str, *more: str) -> Callable[[Path, Path], Words]:
    def words(world: Path, case: Path) -> Words:
        found: Words = ["extract", world / videos, "--cache", case / "cache", *more]
        return [*found, "--shard-clips", "2", "--backend", "sequential", "--jobs", "1"]

    return words


def _on_cache(*words: str) -> Callable[[Path, Path], Words]:
    return lambda world, case: [*words, "--cache", case / "cache"]


def _train(*more: str) -> Callable[[Path, Path], Words]:
    def words(world: Path, case: Path) -> Words:
        found: Words = ["train", "--recipe", "compact", "--run", case / "run"]
        found += ["--cache", world / "clips", "--ids", world / "train.txt"]
        found += [word for key in _SETTINGS for word in ("--set", key)]
        return [*found, *(world / word if word.endswith(".txt") else word for word in more)]

    return words


def _export_cache(world: Path, case: Path) -> Words:
    return ["export-cache", case / "out", "--cache", world / "made" / "cache", "--workers", "2"]


def _synth(world: Path, case: Path) -> Words:
    return ["synth", case / "out", "--clips", "1", "--test", "1", "--classes", "4", "--jobs", "1"]


def _import(world: Path, case: Path) -> Words:
    return ["import-checkpoint", world / "best.pth", "--from", "ez-vsl", "--run", case / "run"]


def _export(world: Path, case: Path) -> Words:
    return ["export", case / "run"]


def _inspect(world: Path, case: Path) -> Words:
    return ["inspect", "--cache", world / "made" / "cache", "--out", case / "out" / "cards.png"]


def _localize(*inputs: str) -> Callable[[Path, Path], Words]:
    def words(world: Path, case: Path) -> Words:
        found: Words = ["localize", "--run", world / "trained" / "run", "--out", case / "out"]
        return [*found, *(world / word if word[0] != "-" else word for word in inputs)]

    return words


def _scored(command: str) -> Callable[[Path, Path], Words]:
    def words(world: Path, case: Path) -> Words:
        annotations: Words = ["--annotations", world / "annotations"]
        return [command, case / "run", "--cache", world / "clips", *annotations]

    return words


_SETTINGS = [key for key in TINY if not key.startswith("epochs")] + ["epochs=4"]
"""Four steps, each with a checkpoint: the first two are removed on the way."""
_RANDOM = ("--weights", "random", "--device", "cpu")
_NAMES = ("--audio", "none", *_RANDOM)
COMMANDS: Mapping[str, Command] = {
    "extract": Command(_extract("videos")),
    "extract more": Command(_extract("more"), "made"),
    "extract --retry-failed": Command(
        _extract("again", "--retry-failed"), "failed", codes=(0, 3), grows=True
    ),
    "drop": Command(_on_cache("drop", "hints/x"), "made", codes=(0, 4)),
    "drop audio": Command(_on_cache("drop", "audio"), "made"),
    "verify --repair": Command(_on_cache("verify", "--repair"), "hurt"),
    "export-cache": Command(_export_cache, cache="", once=True),
    "synth": Command(_synth, cache="", once=True),
    "init": Command(lambda world, case: ["init"], cache="", codes=(0, 2), once=True),
    "embed-teachers": Command(
        _on_cache("embed-teachers", "--visual", "imagenet-resnet18", *_NAMES), "made", learns=True
    ),
    "knn": Command(
        _on_cache("knn", "--image", "imagenet-resnet18", "--k", "3", *_NAMES), "made", learns=True
    ),
    "cluster": Command(
        _on_cache("cluster", "--k", "2", "--audio", "vggsound-resnet18", *_RANDOM),
        "made",
        learns=True,
    ),
    "train": Command(_train(), learns=True, cache=""),
    "train --val-ids": Command(_train("--val-ids", "val.txt"), learns=True, cache=""),
    "evaluate": Command(_scored("evaluate"), "trained", learns=True, cache="", once=True),
    "evaluate over others": Command(
        _scored("evaluate"), "scored", learns=True, cache="", once=True, mixes=True
    ),
    "report": Command(_scored("report"), "trained", learns=True, cache=""),
    "export": Command(_export, "trained", learns=True, cache="", once=True),
    "export over another": Command(
        _export, "exported", learns=True, cache="", once=True, mixes=True
    ),
    "localize": Command(
        _localize("--ids", "shown.txt", "--cache", "clips"), learns=True, cache="", once=True
    ),
    "localize --video": Command(
        _localize("film.mp4", "--video", "--strip"), learns=True, cache="", once=True
    ),
    "import-checkpoint": Command(_import, learns=True, cache="", once=True),
    "inspect --out": Command(_inspect, learns=True, cache="", once=True),
}


HURT = ("hints/x/0000001.h5", "audio/0000000.h5", "manifest/0000.jsonl")
"""Files of the cache of `hurt` that are damaged from the beginning."""


def torn(cache: Path, *, is_hurt: bool) -> str:
    """Say what `avpipe verify` finds of a cache, but for what was damaged before; "" if nothing."""
    if not (cache / MANIFEST).is_dir():
        return ""
    damaged = verify(cache).damaged
    found = {name: problem for name, problem in damaged.items() if not is_hurt or name not in HURT}
    return f"verify finds {found}" if found else ""


def torn_run(run: Path) -> str:
    """Say what `avpipe verify` finds of a run; nothing is promised of TensorBoard's files."""
    damaged = verify_runs(run).damaged if is_run(run) else {}
    found = {name: why for name, why in damaged.items() if not name.startswith("tensorboard/")}
    return f"verify finds {found}" if found else ""


def torn_sums(folder: Path) -> str:
    """Say what `avpipe verify` finds of a folder with sums; "" if nothing."""
    found = {name: why for name, why in summed_files(folder) if why}
    return f"verify finds {found}" if found else ""


@dataclass
class World:
    """What commands need, the processes that run them, and a folder that each may change."""

    folder: Path
    witness: Witness
    _calm: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def case(self) -> Path:
        """The folder that a command may change."""
        return self.folder / "case"

    def words(self, name: str) -> Words:
        """Return a command's arguments."""
        return COMMANDS[name].words(self.folder, self.case)

    def clear(self) -> None:
        """Empty the case."""
        shutil.rmtree(self.case, ignore_errors=True)
        self.case.mkdir()

    def begin(self, name: str) -> None:
        """Give a command a fresh start."""
        self.clear()
        if source := COMMANDS[name].begins_with:
            shutil.copytree(self.folder / source, self.case, dirs_exist_ok=True)

    def calm(self, name: str) -> dict[str, str]:
        """Return what a command leaves that nothing disturbs: file to digest."""
        if name not in self._calm:
            self.begin(name)
            ended = self.witness.run(self.words(name))
            assert ended.code in COMMANDS[name].codes, ended
            self._calm[name] = self.files()
        return self._calm[name]

    def half_written(self, name: str) -> str:
        """Say which file of the case has its name and neither its first nor its last bytes."""
        source, calm = COMMANDS[name].begins_with, self.calm(name)
        begun = digests(self.folder / source) if source else {}
        wrong = [
            path
            for path, digest in self.files().items()
            if not any(part.startswith(".") for part in path.split("/"))
            and digest not in (begun.get(path), calm.get(path))
        ]
        return f"{sorted(wrong)} have their names, not their bytes" if wrong else ""

    def files(self) -> dict[str, str]:
        """Return the digest of each file of the case."""
        return digests(self.case)


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of each file below a folder; TensorBoard's hold the time of day."""
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and "tfevents" not in path.name
    }


@contextmanager
def world_in(folder: Path, *, learns: bool = False) -> Iterator[World]:
    """Give the world in a folder, and processes that have loaded what its commands need."""
    place = folder / "world"
    place.mkdir(parents=True)
    with Witness(folder, place / "case", LEARNERS if learns else STORED) as witness:
        made = World(place, witness)
        prepare(made, learns=learns)
        yield made


def write_videos(folder: Path, names: str) -> None:
    """Write files that stand for clips of those names."""
    folder.mkdir(parents=True)
    for name in names.split():
        (folder / f"{name}.mp4").write_bytes(b"not decoded")


def prepare(world: World, *, learns: bool = True) -> None:
    """Write what the commands begin with."""
    folder = world.folder
    write_videos(folder / "videos", "a b c")
    write_videos(folder / "more", "d e f")
    write_videos(folder / "again", "a bad1 bad2")
    _made(world, "videos", "made")
    _add_hints(folder / "made" / "cache")
    _made(world, "again", "failed")
    shutil.copytree(folder / "made", folder / "hurt")
    for name in HURT:
        path = folder / "hurt" / "cache" / name
        content = bytearray(path.read_bytes())
        content[-20] ^= 4
        path.write_bytes(content)
    if learns:
        _prepare_runs(world)


def _made(world: World, videos: str, target: str) -> None:
    """Extract some videos; the cache is moved to where it is taken from."""
    world.clear()
    ended = world.witness.run(_extract(videos)(world.folder, world.case))
    assert ended.code == 0, ended
    world.case.rename(world.folder / target)


def _add_hints(cache_dir: Path) -> None:
    """Add a stage that no network made."""
    cache = Cache(cache_dir)
    for number in range(cache.manifest.num_shards):
        rows = cache.shard("extract", number).rows
        header = Header("hints/x", 1, number, {}, {}, n=len(rows), done=len(rows), weights="made")
        values = Rows.array(np.zeros((len(rows), 4), np.float16))
        path = shard_path(cache_dir, "hints/x", number)
        write_shard(path, header, {"row": Rows.array(rows), "value": values})


def _prepare_runs(world: World) -> None:
    """Write clips to learn from, lists of them, a run, and what else its commands take."""
    from narrow_peers import write_narrow

    cache = make_cache(world.folder / "clips", 28)
    for name, ids in (
        ("train", cache.ids[:14]), ("val", cache.ids[14:22]), ("shown", cache.ids[14:16]),
    ):  # fmt: skip
        (world.folder / f"{name}.txt").write_text("\n".join(ids) + "\n")
    (world.folder / "annotations").mkdir()
    write_world(world.folder / "annotations")
    world.clear()
    ended = world.witness.run(world.words("train"))
    assert ended.code == 0, ended
    world.case.rename(world.folder / "trained")
    _make_older(world, _export, "exported")
    _make_older(world, _scored("evaluate"), "scored")
    write_clip(world.folder / "film.mp4", fps=8, seconds=1)
    write_narrow(world.folder, "ez-vsl")


def _make_older(world: World, words: Callable[[Path, Path], Words], target: str) -> None:
    """Write the run with what a command made of the checkpoint before its last one."""
    run = world.case / "run"
    shutil.copytree(world.folder / "trained", world.case)
    last = max((run / "checkpoints").iterdir())
    last.rename(world.folder / "last")
    ended = world.witness.run(words(world.folder, world.case))
    assert ended.code == 0, ended
    (world.folder / "last").rename(last)
    world.case.rename(world.folder / target)
