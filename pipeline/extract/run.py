"""`avpipe extract`: plan, fan out over shards, count, resume."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ...advice import advice
from ...cache.addresses import is_address, joined
from ...cache.manifest import Manifest
from ...cache.schema import AUDIO, DROPPED, EXTRACT, MANIFEST, Header, shard_path
from ...cache.shard import read_header
from ...cache.writer import temporary
from ...drafts import sweep_temporary
from ...errors import CacheUnwritableError, ClipsFailedError, InputError, UsageError
from ...stages.extract import ExtractTask, extract_shard, header_params
from ...stages.features import FeatureParams
from ..progress import Progress
from ..tally import count_clips
from .estimate import ExtractEstimate, estimate
from .pieces import DurationJournal, pieces
from .plan import (
    add_retries,
    add_segment,
    is_extracted,
    open_manifest,
    require_roots,
    shards_to_do,
    sweep,
)
from .rounds import run_rounds
from .scan import Scan, scan
from .settings import ExtractSettings, failure_limit
from .workers import decoder_child, fitness_of


@dataclass(frozen=True)
class ExtractSummary:
    """What one run of `extract` did; counts are clips.

    Attributes:
        planned: New in the manifest, retries included.
        done: Done by this run.
        failed: Failed in this run.
        failed_by_reason: The same by reason.
        failed_total: Failed in the whole cache, and not retried since.
        skipped: Finished before this run, well or not (in this part of the shards).
        ignored: Files that are no video, by suffix.
        notices: What people should know of the choice of files.
        seconds: Wall-clock time.
        problem: Why the run counts as failed; empty if it does not.
    """

    planned: int
    done: int
    failed: int
    failed_by_reason: dict[str, int]
    failed_total: int
    skipped: int
    ignored: dict[str, int]
    notices: list[str]
    seconds: float
    problem: str = ""

    def raise_for_failures(self) -> None:
        """Raise if the run counts as failed.

        Raises:
            ClipsFailedError: All its clips failed, or more than `--max-failures` allows.
        """
        if self.problem:
            raise ClipsFailedError(self.problem)

    def as_json(self) -> dict[str, Any]:
        """Return the `--json` form."""
        tried = self.done + self.failed
        return {
            "schema": "avpipe.extract/1",
            "planned": self.planned,
            "done": self.done,
            "skipped": self.skipped,
            "failed": self.failed,
            "failed_by_reason": self.failed_by_reason,
            "failed_total": self.failed_total,
            "ignored": self.ignored,
            "notices": self.notices,
            "seconds": round(self.seconds, 3),
            "per_second": round(tried / self.seconds, 3) if tried else 0.0,
        }


@dataclass
class _Counts:
    """Running totals of one run."""

    done: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    stopped: bool = False
    skipped: int = 0

    def add(self, header: Header, superseded: Counter[str]) -> None:
        self.done += header.done
        self.failed += Counter(header.failed) - superseded


def extract(settings: ExtractSettings) -> ExtractSummary | ExtractEstimate:
    """Extract every clip that is named or planned and not done yet; with `dry_run`, estimate it.

    Raises:
        InputError: An input cannot be used, or a disk of clips has gone.
        CacheCorruptError: The cache is damaged, or was made with other parameters.
        CacheUnwritableError: The cache cannot be written.
    """
    started = time.monotonic()
    params = FeatureParams(
        spectrogram=settings.spectrogram,
        audio_seconds=settings.audio_seconds,
        decoder=settings.decoder,
        frame=settings.frame,
    )
    if settings.dry_run:
        return estimate(settings, params)
    found, planned, manifest = _plan(settings, params)
    counts = _run(settings, params, manifest)
    sweep(settings.cache)  # a worker of a killed run may have outlived the first sweep for a moment
    sweep_temporary()
    failed = counts.failed.total()
    return ExtractSummary(
        planned=planned,
        done=counts.done,
        failed=failed,
        failed_by_reason=dict(counts.failed),
        failed_total=sum(count_clips(settings.cache, manifest).failures.values()),
        skipped=counts.skipped,
        ignored=found.ignored,
        notices=found.notices,
        seconds=time.monotonic() - started,
        problem=_problem(settings, counts),
    )


def _holds_other_things(folder: Path) -> bool:
    """Tell whether a folder without a manifest has been somebody's before."""
    if not folder.is_dir() or (folder / MANIFEST).exists():
        return False
    return any(not entry.name.startswith(".") for entry in folder.iterdir())


def _problem(settings: ExtractSettings, counts: _Counts) -> str:
    """Return why the run counts as failed; empty if it does not."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.failed.most_common())
    if counts.stopped:
        return f"stopped: more failures than --max-failures {settings.max_failures} ({reasons})"
    if counts.failed and not counts.done:
        see = advice("inspect --failures", settings.cache)
        return f"every clip of this run failed ({reasons}); {see} names them"
    return ""


def _plan(settings: ExtractSettings, params: FeatureParams) -> tuple[Scan, int, Manifest]:
    """Bring the manifest up to date; return what was found, how many clips were added, and it.

    Rows are given for ever, so all that can be wrong is looked at before the first one is.
    """
    if settings.retry_failed is not None and settings.part:
        raise UsageError(
            "--retry-failed plans for all parts at once: run it without --part; other machines can "
            "help it with --part alone"
        )
    if settings.cache.is_file():
        raise CacheUnwritableError(f"{settings.cache} is a file; --cache names a folder")
    found = Scan([], {})
    if settings.inputs:
        found = scan(settings.inputs, root=settings.list_root, id_from=settings.id_from)
    manifest = open_manifest(settings.cache)
    if not (found.candidates or manifest.num_rows):
        raise InputError(f"{settings.cache} is empty: name a folder, a list or videos to extract")
    if not found.candidates:
        require_roots(settings.cache, manifest.roots, settings.remap)
    shards_to_do(settings.cache, manifest, header_params(params), overwrite=settings.overwrite)
    if not manifest.num_rows and _holds_other_things(settings.cache):
        raise UsageError(
            f"{settings.cache} holds other files and no cache; name one of its own with --cache"
        )
    with temporary(settings.cache / MANIFEST / "writable"):
        pass
    if settings.overwrite:
        (settings.cache / AUDIO / DROPPED).unlink(missing_ok=True)
    planned = 0
    if found.candidates:
        planned += add_segment(
            settings.cache,
            found.candidates,
            remap=settings.remap,
            cut=partial(pieces, settings, params, found.notices),
            shard_clips=settings.shard_clips,
            id_from=settings.id_from,
            manifest=manifest,
            notices=found.notices,
            cuts=settings.segment_s is not None,
        )
        manifest = manifest.refreshed()
        DurationJournal(settings.cache).remove()
    if settings.retry_failed is not None:
        planned += add_retries(
            settings.cache,
            settings.retry_failed,
            shard_clips=settings.shard_clips,
            manifest=manifest,
        )
    return found, planned, manifest.refreshed()


def _run(settings: ExtractSettings, params: FeatureParams, manifest: Manifest) -> _Counts:
    """Extract every shard that is to do."""
    wanted = header_params(params)

    def todo() -> list[int]:
        part = settings.part or (0, 1)
        return shards_to_do(
            settings.cache, manifest, wanted, part=part, overwrite=settings.overwrite
        )

    superseded = _superseded(manifest)

    def num_current(shard: int) -> int:
        return len(manifest.shard_rows(shard)) - superseded[shard].total()

    before = todo()
    total = sum(map(num_current, before))
    limit = failure_limit(settings.max_failures, tried=total)
    part = settings.part or (0, 1)
    finished = set(range(part[0], manifest.num_shards, part[1])) - set(before)
    counts = _Counts(skipped=sum(map(num_current, finished)))
    with Progress("extract", counts.skipped + total, done=counts.skipped) as progress:

        def on_result(header: Header) -> None:
            failed = counts.failed.total()
            counts.add(header, superseded[header.shard])
            progress.advance(num_current(header.shard), counts.failed.total() - failed)
            if counts.failed.total() > limit:
                counts.stopped = True
                raise _TooManyFailuresError

        # workers outlive a change of this process's folder, so the cache goes out absolute
        cache = settings.cache.absolute()
        with suppress(_TooManyFailuresError):
            run_rounds(
                todo,
                lambda shard: ExtractTask(cache, manifest.plan(shard), params, settings.remap),
                partial(_extract, timeout_s=settings.timeout_s, overwrite=settings.overwrite),
                on_result,
                workers=settings.workers,
                fitness=fitness_of(settings, params, _folders(settings, manifest)),
            )
    return counts


def _folders(settings: ExtractSettings, manifest: Manifest) -> list[str]:
    """Return where the clips lie, as the workers will look for them.

    An address is not listed: there it is a clip that workers on other hosts have to reach.
    """
    folders = [
        settings.remap.get(number) or root["path"] for number, root in enumerate(manifest.roots)
    ]
    away = {number for number, folder in enumerate(folders) if is_address(folder)}
    if not away or settings.scheduler is None:
        return [folder for folder in folders if not is_address(folder)]
    for _, line in manifest.lines():
        if line["root"] in away and line["bytes"]:
            folders[line["root"]] = joined(folders[line["root"]], line["path"])
            away.remove(line["root"])
            if not away:
                break
    return [folder for number, folder in enumerate(folders) if number not in away]


def _superseded(manifest: Manifest) -> defaultdict[int, Counter[str]]:
    """Count, by shard and reason, the failures that a retry has taken the place of."""
    found: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for row, retry in manifest.retries.items():
        found[manifest.shard_of(row)][retry["was"]] += 1
    return found


class _TooManyFailuresError(Exception):
    """Leaves the rounds early."""


def _extract(task: ExtractTask, timeout_s: float, overwrite: bool) -> Header:
    params = header_params(task.params)
    plan = task.plan
    if is_extracted(task.cache, plan.shard, plan.sha256, params, overwrite=overwrite):
        return read_header(shard_path(task.cache, EXTRACT, plan.shard))  # by another run meanwhile
    return extract_shard(task, decoder_child(task.params, timeout_s))
