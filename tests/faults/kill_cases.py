"""Every command that writes, over worlds so small that it is done in a second or two.

A case's command runs in an empty folder beside `base`, which holds what commands read; what it
writes into is copied from there first.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from avpipe.cache.store import Cache
from avpipe.pipeline.main import main
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from cache_factory import make_cache
from evaluation_factory import TINY, write_world
from fake_clips import make_cache as make_fake_cache
from media_factory import write_clip
from peer_factory import network_of, write_released

SOUND = "vggsound-resnet18"
FAKE_IDS = [f"c{number}" for number in range(8)]
_SETTINGS = " ".join(f"--set {one}" for one in TINY)


@dataclass(frozen=True)
class Case:
    """A command that is killed.

    Attributes:
        words: Its command line.
        copied: Folders of `base` that it writes into, and what each is called beside it.
        fails: The exit code of the command done undisturbed.
    """

    words: str
    copied: tuple[tuple[str, str], ...] = ()
    fails: int = 0


CASES: dict[str, Case] = {
    "extract": Case("extract ../base/videos --cache cache --shard-clips 2 --jobs 1"),
    "extract, two workers": Case("extract ../base/videos --cache cache --shard-clips 1 --jobs 2"),
    "embed-teachers": Case(
        "embed-teachers --visual imagenet-resnet18 --audio none --weights random --cache cache",
        (("fake", "cache"),),
    ),
    "knn": Case(
        "knn --image imagenet-resnet18 --audio none --weights random --k 3 --cache cache",
        (("fake", "cache"),),
    ),
    "cluster": Case(
        f"cluster --k 2 --encoder {SOUND} --weights random --cache cache", (("heard", "cache"),)
    ),
    "train": Case(
        "train --recipe compact --run run --seeds 0,1 --cache ../base/cache --device cpu "
        f"--ids ../base/train.txt --val-ids ../base/held.txt --threads 1 {_SETTINGS}"
    ),
    "evaluate": Case(
        "evaluate run --cache ../base/cache --annotations ../base/world --device cpu --threads 1",
        (("run", "run"),),
    ),
    "localize --video": Case(
        "localize ../base/videos/0.mp4 --run ../base/run --out out --video --strip --device cpu"
    ),
    "localize": Case(
        "localize ../base/videos/0.mp4 ../base/videos/1.mp4 --run ../base/run --out out "
        "--device cpu"
    ),
    "export": Case("export run", (("run", "run"),)),
    "export-cache": Case("export-cache out --cache ../base/cache --workers 4"),
    "import-checkpoint": Case("import-checkpoint ../base/best.pth --from ez-vsl --run imported"),
    "report": Case(
        "report run --cache ../base/cache --annotations ../base/world --device cpu",
        (("run", "run"),),
    ),
    "drop": Case("drop audio --cache cache", (("fake", "cache"),)),
    "verify --repair": Case("verify --repair --cache cache", (("damaged", "cache"),)),
    "synth": Case("synth world --clips 4 --classes 4 --jobs 1"),
}


def needs_of(case: Case) -> set[str]:
    """Return what of `base` a command reads or writes into."""
    return {source for source, _ in case.copied}.union(
        re.findall(r"\.\./base/([^/ ]+)", case.words)
    )


def make_base(folder: Path, cases: Iterable[Case]) -> Path:
    """Make what the commands read, `folder/base`."""
    base = folder / "base"
    base.mkdir()
    for name in sorted({need for case in cases for need in needs_of(case)}):
        made(base, name)
    return base


def made(base: Path, name: str) -> Path:
    """Make a file or folder of `base` once, and what it is made of."""
    if not (base / name).exists():
        _MAKERS[name](base)
    return base / name


def _videos(base: Path) -> None:
    (base / "videos").mkdir()
    for number in range(4):
        write_clip(base / "videos" / f"{number}.mp4", fps=8, seconds=1, gains=(1.0 - number / 9,))


def _lists(base: Path) -> None:
    ids = Cache(made(base, "cache")).ids
    (base / "train.txt").write_text("\n".join(ids[:16]))
    (base / "held.txt").write_text("\n".join(ids[16:24]))


def _world(base: Path) -> None:
    (base / "world").mkdir()
    write_world(base / "world")


def _run(base: Path) -> None:
    cache = Cache(made(base, "cache"))
    train(cache, load_recipe("compact", TINY), base / "run", ids=cache.ids[:14], device="cpu")
    shutil.rmtree(base / "run" / "tensorboard", ignore_errors=True)


def _fake(base: Path) -> None:
    for name in FAKE_IDS:
        (base / f"{name}.mp4").write_bytes(b"x")
    make_fake_cache(base / "fake", FAKE_IDS, shard_clips=2)


def _heard(base: Path) -> None:
    """A cache whose sounds are embedded already."""
    shutil.copytree(made(base, "fake"), base / "heard")
    words = f"cluster --k 3 --encoder {SOUND} --weights random --cache {base}/heard"
    assert main(words.split()) == 0


def _damaged(base: Path) -> None:
    """A cache with a damaged segment of the manifest and two damaged shards."""
    shutil.copytree(made(base, "fake"), base / "damaged")
    for name in ("manifest/0000.jsonl", "extract/0000001.h5", "audio/0000002.h5"):
        content = bytearray((base / "damaged" / name).read_bytes())
        content[len(content) // 2] ^= 1
        (base / "damaged" / name).write_bytes(content)


_MAKERS: dict[str, Callable[[Path], object]] = {
    "videos": _videos,
    "cache": lambda base: make_cache(base / "cache", 28),
    "train.txt": _lists,
    "held.txt": _lists,
    "world": _world,
    "run": _run,
    "fake": _fake,
    "heard": _heard,
    "damaged": _damaged,
    "best.pth": lambda base: write_released(base, "ez-vsl", network_of("ez-vsl")),
}
