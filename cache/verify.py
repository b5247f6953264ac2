"""Verification of a cache: every byte is checked, and what can be repaired is, if asked for."""

from __future__ import annotations

import errno
import filecmp
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ..errors import CacheCorruptError, Fault
from .alignment import misaligned
from .manifest import Manifest, copy_path, with_copies
from .repair import (
    Lost,
    Spoilt,
    lost_sources,
    repairing,
    restore_segment,
    set_aside,
    spoilt_stages,
)
from .schema import EXTRACT, MANIFEST, Header, opened, shard_path
from .segment import Segment
from .shard import Shard, check_content, read_header
from .state import require_cache, shard_numbers, stages

_UNREADABLE = (errno.EIO, errno.EISDIR)
_Read = TypeVar("_Read")


@dataclass
class VerifyReport:
    """What `verify` found.

    Attributes:
        files: Files checked.
        bytes: Their size.
        damaged: Path below the cache, and what is wrong with it.
        faults: Path below the cache, and the facts of what is wrong with it, where a repair helps.
        repaired: What a repair did, one line each.
        spoilt: Stages of which shards were moved away, in the order to make them again.
        lost: Clips whose source is gone, so that their shard cannot be made again as it was.
    """

    files: int = 0
    bytes: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    repaired: list[str] = field(default_factory=list)
    spoilt: list[Spoilt] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the cache is sound now, but for the stages that are to be made again."""
        return not self.damaged or bool(self.repaired and not self.lost)

    def add(self, name: str, problem: str | CacheCorruptError) -> None:
        """Take up what is wrong with a file, by its path below the cache."""
        self.damaged.setdefault(name, str(problem))
        if isinstance(problem, CacheCorruptError) and problem.fault is not None:
            self.faults.setdefault(name, problem.fault)


def verify(cache: Path, *, repair: bool = False) -> VerifyReport:
    """Check every hash, alignment and fingerprint of a cache.

    Args:
        cache: Cache folder.
        repair: Restore damaged manifest segments from their copies (and copies from segments),
            move damaged shards to `damaged/`.

    Raises:
        InputError: If there is no cache.
        CacheUnwritableError: If a repair cannot be written.
    """
    require_cache(cache)
    with repairing(cache) if repair else nullcontext():
        return _verified(cache, repair)


def _verified(cache: Path, repair: bool) -> VerifyReport:
    report = VerifyReport()
    # Shards before the manifest: another run may plan and publish meanwhile, in this order
    shards = [(stage, n) for stage in stages(cache) for n in sorted(shard_numbers(cache, stage))]
    files = _verify_manifest(cache, report, repair)
    if files is None:
        return report  # without every row's owner no shard can be judged, and none may be moved
    try:
        manifest = Manifest(cache, files)
        for _ in manifest.lines():  # each is looked at as it is parsed
            pass
    except CacheCorruptError as error:
        report.add(f"{MANIFEST}/", error)
        return report
    bad = _verify_shards(cache, manifest, shards, report)
    if repair and bad:
        report.spoilt = spoilt_stages(cache, manifest, bad)
        if EXTRACT in {one.stage for one in report.spoilt}:
            report.lost[:0] = lost_sources(manifest, bad)
        for stage, number in bad:
            path = shard_path(cache, stage, number)
            set_aside(cache, path)
            report.repaired.append(f"{path.relative_to(cache)} moved to damaged/")
    return report


def _verify_manifest(cache: Path, report: VerifyReport, repair: bool) -> list[Path] | None:
    """Check segments and their copies; a good one of the two restores the other.

    Returns:
        Where to read each segment from, None if one of them cannot be read at all.
    """
    readable: list[Path] = []
    names = with_copies(cache / MANIFEST)
    for name in names:
        path = cache / MANIFEST / name
        problem, spare_problem = _segment_problem(path), _segment_problem(copy_path(path))
        if not (problem or spare_problem or filecmp.cmp(path, copy_path(path), shallow=False)):
            spare_problem = f"differs from {name}"
        for file, what in ((path, problem), (copy_path(path), spare_problem)):
            if not _count(report, file) and file != path:
                continue  # an interrupted run had no time for the copy: the next run writes it
            if what:
                report.add(file.relative_to(cache).as_posix(), what)
        if not (problem and spare_problem):
            readable.append(copy_path(path) if problem else path)
        if repair and (problem or spare_problem):
            restored = restore_segment(cache, path, good=not problem, spare_good=not spare_problem)
            if restored:
                report.repaired.append(restored)
            else:
                lost = f"{MANIFEST}/{name}: no good copy; which clips it held is lost"
                report.lost.append(Lost(lost))
    return readable if len(readable) == len(names) else None


def _segment_problem(path: Path) -> str | CacheCorruptError:
    try:
        _read_again(lambda: Segment(path))
    except FileNotFoundError:
        return "missing"
    except CacheCorruptError as error:
        return error
    except OSError as error:
        if error.errno in _UNREADABLE:
            return f"{path}: {error.strerror}"
        raise
    return ""


def _read_again(read: Callable[[], _Read]) -> _Read:
    """Read, and once more where the disk says no: what it gives then is not damaged."""
    try:
        return read()
    except OSError as error:
        if error.errno != errno.EIO:
            raise
    return read()


def _count(report: VerifyReport, path: Path) -> bool:
    """Count a file; return whether it is there."""
    try:
        num_bytes = path.stat().st_size
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno != errno.ELOOP:  # which whoever opens it tells
            raise
        num_bytes = 0
    report.files += 1
    report.bytes += num_bytes
    return True


def _verify_shards(
    cache: Path, manifest: Manifest, shards: Iterable[tuple[str, int]], report: VerifyReport
) -> list[tuple[str, int]]:
    """Check shards, `(stage, number)` each; return the damaged ones."""
    bad = []
    for stage, number in shards:
        path = shard_path(cache, stage, number)
        if not _count(report, path):
            continue  # dropped, or moved by a repair, since its folder was listed
        if problem := _shard_problem(cache, manifest, stage, number):
            report.add(path.relative_to(cache).as_posix(), problem)
            bad.append((stage, number))
    return bad


def _checked(path: Path) -> Shard:
    shard = Shard(path, verify=False)
    with opened(path) as file:
        check_content(path, file.fileno(), shard.header)
    return shard


def _shard_problem(
    cache: Path, manifest: Manifest, stage: str, number: int
) -> str | CacheCorruptError:
    path = shard_path(cache, stage, number)
    try:
        shard = _read_again(lambda: _checked(path))
    except CacheCorruptError as error:
        return error
    except FileNotFoundError:
        return ""  # as above, between two calls
    except OSError as error:
        if error.errno in _UNREADABLE:
            return f"{path}: {error.strerror}"
        raise  # not being allowed to read a shard says nothing about it
    header = shard.header
    if (header.stage, header.shard) != (stage, number):
        return f"{path} is shard {header.shard} of {header.stage} under another name"
    if number >= manifest.num_shards:
        return f"{path}: the manifest has {manifest.num_shards} shards"
    expected = header.inputs.get(MANIFEST)
    if expected not in (None, manifest.shard_sha256(number)):
        return f"{path} belongs to another manifest"
    problem = misaligned(shard, manifest.shard_rows(number))
    return f"{path}{problem}" if problem else _lonely(cache, header, path)


def _lonely(cache: Path, header: Header, path: Path) -> str:
    """Return what is wrong with the shards published together with this one."""
    for stage, sha256 in header.companions.items():
        try:
            found = read_header(shard_path(cache, stage, header.shard)).sha256
        except FileNotFoundError:
            continue  # dropped, or to be made again: the next extraction does
        except CacheCorruptError:
            continue  # reported under its own name
        except OSError as error:
            if error.errno in _UNREADABLE:
                continue  # likewise
            raise
        if found != sha256:
            return f"{path} and {stage}/{header.shard:07d}.h5 were not made together"
    return ""
