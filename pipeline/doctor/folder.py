"""Does the cache's file system do what it must, and is there room for what is to come?"""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ...cache.defaults import VISUAL_TEACHER
from ...cache.schema import HINTS, MANIFEST
from ...cache.writer import sync_folder
from ...drafts import remove_orphans, scratch_folder
from ...errors import CacheUnwritableError
from ...reading import parse_json
from ..output import size_text, time_text
from ..tally import status
from .finding import Check, ok, problem, warning

_TIMEOUT_S = 300
_NEARLY_FULL = 0.9
_UNWRITABLE = CacheUnwritableError.exit_code
_NAME_ANOTHER = "name another: --cache DIR, or cache in avpipe.toml"
_ELSEWHERE = "keep the cache on another disk: --cache DIR, or cache in avpipe.toml"


def check_folder(cache: Path) -> list[Check]:
    """Try in the cache's folder, or where it would be made, what the cache does there."""
    folder = existing(cache)
    where = str(cache) if folder == cache.resolve() else f"{cache} (not there yet; in {folder})"
    if not folder.is_dir():
        return [problem("cache", f"{folder} is no folder", _NAME_ANOTHER, _UNWRITABLE)]
    remove_orphans(folder)
    try:
        with scratch_folder(folder) as made:
            broken = {name: why for name, act in _ACTS.items() if (why := _try(act, made))}
            no_lock = _try(_lock, made)
    except OSError as error:
        found = f"{where} cannot be written: {error.strerror}"
        return [problem("cache", found, "make it writable, or name another: --cache DIR",
                        _UNWRITABLE)]  # fmt: skip
    if broken:
        told = "; ".join(f"{name}: {why}" for name, why in broken.items())
        return [problem("cache", f"{where} ({kind_of(folder)}) lacks {told}", _ELSEWHERE,
                        _UNWRITABLE)]  # fmt: skip
    found = f"{where} ({kind_of(folder)}): {', '.join(_ACTS)}"
    if no_lock:
        told = f"{found}, but no locks ({no_lock})"
        return [warning("cache", told, "run one avpipe at a time on it")]
    return [ok("cache", f"{found}, locks")]


def _try(act: Callable[[Path], None], folder: Path) -> str:
    """Return what went wrong; empty if nothing did."""
    try:
        act(folder)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _link(folder: Path) -> None:
    """The list of clips is published by a link: it never replaces, so the first process wins."""
    (folder / "draft").write_bytes(b"new")
    os.link(folder / "draft", folder / "linked")
    try:
        os.link(folder / "draft", folder / "linked")
    except FileExistsError:
        return
    raise OSError("a second link replaced the first")


def _rename(folder: Path) -> None:
    """A shard is published by a rename over whatever was there."""
    (folder / "from").write_bytes(b"new")
    (folder / "to").write_bytes(b"old")
    (folder / "from").rename(folder / "to")
    if (folder / "to").read_bytes() != b"new":
        raise OSError("the old file stayed")


def _sync(folder: Path) -> None:
    """What was published survives a power cut."""
    with (folder / "synced").open("wb") as file:
        file.write(b"new")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)


def _map(folder: Path) -> None:
    """Shards are read through a mapping."""
    (folder / "mapped").write_bytes(bytes(mmap.PAGESIZE))
    with (folder / "mapped").open("rb") as file:
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ).close()


def _lock(folder: Path) -> None:
    """Locks tell a living writer's draft from one that was left behind."""
    with (folder / "locked").open("wb") as one, (folder / "locked").open("rb") as other:
        fcntl.flock(one, fcntl.LOCK_EX)
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
    raise OSError("two held one lock")


_ACTS: dict[str, Callable[[Path], None]] = {
    "hard links": _link,
    "rename": _rename,
    "fsync": _sync,
    "mapping": _map,
}


def existing(path: Path) -> Path:
    """Return a path, or the nearest folder above it that is there."""
    path = path.resolve()
    return next(one for one in (path, *path.parents) if one.exists())


def kind_of(folder: Path) -> str:
    """Return the kind of file system, such as `ext4` or `nfs4`; `unknown` where nothing says so."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "unknown file system"
    kinds = {}
    for line in mounts.read_text(errors="surrogateescape").splitlines():
        _, place, kind, *_ = line.split()
        plain = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), place)
        kinds[Path(plain)] = kind  # of two on one place the later one is seen
    real = folder.resolve()
    return next((kinds[one] for one in (real, *real.parents) if one in kinds), "unknown")


def check_space(cache: Path, inputs: Sequence[str], options: Sequence[str] | None) -> list[Check]:
    """Compare what is free with what is still to be written.

    Args:
        cache: Folder.
        inputs: What `extract` would be given.
        options: What else; None: there is no use in asking.
    """
    free = shutil.disk_usage(existing(cache)).free
    if options is None or not (inputs or (cache / MANIFEST).is_dir()):
        return [ok("space", f"{size_text(free)} free; nothing is planned yet")]
    command = [sys.executable, "-m", "avpipe", "extract", *options, "--dry-run", "--json"]
    command += ["--", *inputs] if inputs else []
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return [warning("space", f"{size_text(free)} free; counting what is to do took too long",
                        "avpipe extract --dry-run")]  # fmt: skip
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().rpartition("avpipe: error: ")[2]
        return [problem("space", f"avpipe extract would stop: {said}", exit_code=done.returncode)]
    plan = parse_json(done.stdout)
    return [_space(free, plan, _bytes_of_hints(cache, plan["new"] + plan["pending"]))]


def _bytes_of_hints(cache: Path, num_new: int) -> dict[str, int]:
    """Estimate what stages will add, from what they took so far; DETR's, if there is none yet."""
    if not (cache / MANIFEST).is_dir():
        return _bytes_of_detr(num_new)
    document = status(cache)
    made = [stage for stage in document["stages"] if stage["name"].startswith(f"{HINTS}/")]
    if not made:
        return _bytes_of_detr(num_new + document["clips"]["done"])
    return {
        stage["name"]: round(stage["bytes"] / stage["done"] * (stage["missing"] + num_new))
        for stage in made
        if stage["done"]
    }


def _bytes_of_detr(num_clips: int) -> dict[str, int]:
    from ...stages.teachers.protocol import load_teacher
    from ..networks.dry_run import bytes_per_clip

    size = num_clips * bytes_per_clip(load_teacher(VISUAL_TEACHER))
    return {f"{HINTS}/{VISUAL_TEACHER}": size}


def _space(free: int, plan: dict[str, int], hints: dict[str, int]) -> Check:
    """Say whether the rest fits."""
    num_clips, needed = plan["new"] + plan["pending"], plan["bytes_out"] + sum(hints.values())
    told = [f"{size_text(free)} free"]
    if num_clips:
        took = f"{size_text(plan['bytes_out'])}, about {time_text(plan['seconds'])}"
        told.append(f"clips to extract: {num_clips}, {took}")
    told += [f"{stage} takes {size_text(size)} more" for stage, size in hints.items() if size]
    found = "; ".join(told) if len(told) > 1 else f"{told[0]}; nothing is left to make"
    if needed > free:
        return problem("space", found, f"free {size_text(needed - free)}, or use another disk: "
                       "--cache DIR", _UNWRITABLE)  # fmt: skip
    if needed > _NEARLY_FULL * free:
        return warning("space", found, "free some space before it fills up")
    return ok("space", found)
