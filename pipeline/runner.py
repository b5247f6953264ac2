"""`avpipe extract`: plan, fan out over shards, count, resume."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..cache.manifest import Manifest
from ..cache.schema import AUDIO, DROPPED, Header
from ..cache.shard import temporary
from ..errors import ClipError, ClipsFailedError, InputError
from ..stages.decoder import DecoderChild
from ..stages.extract import ExtractTask, extract_shard, header_params
from ..stages.features import FeatureParams
from .config import ExtractSettings, failure_limit
from .inputs import Candidate, scan
from .plan import (
    DurationJournal,
    add_retries,
    add_segment,
    cut_into_pieces,
    open_manifest,
    shards_to_do,
)
from .progress import Progress
from .rounds import run_rounds

_PROBE_CHUNK = 64


@dataclass(frozen=True)
class ExtractSummary:
    """What one run of `extract` did; counts are clips.

    Attributes:
        planned: New in the manifest, retries included.
        done: Done by this run.
        failed: Failed in this run.
        failed_by_reason: The same by reason.
        skipped: Finished before this run, well or not.
        ignored: Files that are no video, by suffix.
        seconds: Wall-clock time.
    """

    planned: int
    done: int
    failed: int
    failed_by_reason: dict[str, int]
    failed_total: int
    skipped: int
    ignored: dict[str, int]
    seconds: float

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
            "seconds": round(self.seconds, 3),
            "per_second": round(tried / self.seconds, 3) if tried else 0.0,
        }


@dataclass
class _Counts:
    """Running totals of one run."""

    done: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    def add(self, header: Header) -> None:
        self.done += header.done
        self.failed.update(header.failed)


def extract(settings: ExtractSettings) -> ExtractSummary:
    """Extract every clip that is named or planned and not done yet.

    Raises:
        InputError: An input cannot be used, or a disk of clips has gone.
        CacheCorruptError: The cache is damaged, or was made with other parameters.
        CacheUnwritableError: The cache cannot be written.
        ClipsFailedError: All clips of this run failed, or more than allowed.
    """
    started = time.monotonic()
    params = feature_params(settings)
    if settings.overwrite:
        (settings.cache / AUDIO / DROPPED).unlink(missing_ok=True)
    ignored, planned = _plan(settings, params)
    manifest = open_manifest(settings.cache)
    if not manifest.num_rows:
        raise InputError(f"{settings.cache} is empty: name a folder, a list or videos to extract")
    counts = _run(settings, params, manifest)
    failed = sum(counts.failed.values())
    part = settings.part or (0, 1)
    in_part = range(part[0], manifest.num_shards, part[1])
    num_clips = sum(len(manifest.shard_rows(shard)) for shard in in_part)
    summary = ExtractSummary(
        planned=planned,
        done=counts.done,
        failed=failed,
        failed_by_reason=dict(counts.failed),
        failed_total=_failed_total(settings.cache),
        skipped=num_clips - counts.done - failed,
        ignored=ignored,
        seconds=time.monotonic() - started,
    )
    if failed and not counts.done:
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts.failed.most_common())
        raise ClipsFailedError(f"all {failed} clips of this run failed: {reasons}")
    return summary


def feature_params(settings: ExtractSettings) -> FeatureParams:
    """Return what is made of each clip."""
    return FeatureParams(
        spectrogram=settings.spectrogram,
        audio_seconds=settings.audio_seconds,
        decoder=settings.decoder,
    )


def _plan(settings: ExtractSettings, params: FeatureParams) -> tuple[dict[str, int], int]:
    """Bring the manifest up to date; return files left alone by suffix, and clips added."""
    open_manifest(settings.cache)
    # before the first row is given for ever: can the cache be written, do the parameters agree?
    with temporary(settings.cache / "manifest" / "probe") as draft:
        draft.touch()
    shards_to_do(
        settings.cache,
        Manifest(settings.cache),
        header_params(params),
        overwrite=settings.overwrite,
    )
    planned, ignored = 0, {}
    if settings.inputs:
        root = str(settings.root) if settings.root else None
        found = scan(settings.inputs, root=root, id_from=settings.id_from)  # type: ignore[arg-type]
        ignored = found.ignored
        planned += add_segment(
            settings.cache,
            found.candidates,
            remap=_remap(settings),
            pieces=partial(_pieces, settings, params),
            shard_clips=settings.shard_clips,
        )
        DurationJournal(settings.cache).remove()
    if settings.retry_failed is not None:
        planned += add_retries(
            settings.cache, settings.retry_failed, shard_clips=settings.shard_clips
        )
    return ignored, planned


def _remap(settings: ExtractSettings) -> dict[int, str]:
    return {number: str(folder) for number, folder in (settings.root_map or {}).items()}


def _run(settings: ExtractSettings, params: FeatureParams, manifest: Manifest) -> _Counts:
    """Extract every shard that is to do."""
    wanted = header_params(params)

    def todo() -> list[int]:
        part = settings.part or (0, 1)
        return shards_to_do(
            settings.cache, manifest, wanted, part=part, overwrite=settings.overwrite
        )

    total = sum(len(manifest.shard_rows(shard)) for shard in todo())
    limit = failure_limit(settings.max_failures, tried=total)
    counts = _Counts()
    with Progress("extract", total) as progress:

        def on_result(header: Header) -> None:
            counts.add(header)
            progress.advance(header.n, sum(header.failed.values()))
            failed = sum(counts.failed.values())
            if failed > limit:
                raise ClipsFailedError(
                    f"{failed} clips failed, more than --max-failures {settings.max_failures}; "
                    f"see `avpipe status --cache {settings.cache}`"
                )

        run_rounds(
            todo,
            lambda shard: ExtractTask(
                settings.cache, manifest.plan(shard), params, _remap(settings)
            ),
            partial(_extract, timeout_s=settings.timeout_s),
            on_result,
            jobs=settings.jobs,
            backend=settings.backend,
        )
    return counts


_children: dict[tuple[FeatureParams, float], DecoderChild] = {}
"""This process's decoder child, kept from shard to shard."""


def _child(params: FeatureParams, timeout_s: float) -> DecoderChild:
    key = (params, timeout_s)
    if key not in _children:
        while _children:
            _children.popitem()[1].close()
        _children[key] = DecoderChild(params, timeout_s=timeout_s)
    return _children[key]


def _extract(task: ExtractTask, timeout_s: float) -> Header:
    return extract_shard(task, _child(task.params, timeout_s))


def _pieces(
    settings: ExtractSettings, params: FeatureParams, candidates: Sequence[Candidate]
) -> Iterator[Candidate]:
    """Cut files into pieces of `--segment` seconds; their durations are probed first."""
    if settings.segment_s is None:
        yield from candidates
        return
    journal = DurationJournal(settings.cache)
    whole = [c for c in candidates if c.start_s is None]
    chunks = [whole[at : at + _PROBE_CHUNK] for at in range(0, len(whole), _PROBE_CHUNK)]

    def todo() -> list[int]:
        return [
            number
            for number, chunk in enumerate(chunks)
            if any((_absolute(c), c.bytes) not in journal.known for c in chunk)
        ]

    with Progress("durations", len(whole), "files") as progress:

        def on_result(found: list[tuple[str, int, float | None]]) -> None:
            journal.add(found)
            progress.advance(len(found))

        run_rounds(
            todo,
            lambda number: [(_absolute(c), c.bytes) for c in chunks[number]],
            partial(_probe, params=params, timeout_s=settings.timeout_s),
            on_result,
            jobs=settings.jobs,
            backend=settings.backend,
        )
    for candidate in candidates:
        duration_s = journal.known.get((_absolute(candidate), candidate.bytes))
        if candidate.start_s is None:
            yield from cut_into_pieces(candidate, duration_s, settings.segment_s)
        else:
            yield candidate


def _absolute(candidate: Candidate) -> str:
    return str(Path(candidate.root, candidate.path))


def _probe(
    files: list[tuple[str, int]], params: FeatureParams, timeout_s: float
) -> list[tuple[str, int, float | None]]:
    """Probe durations; None where the file does not tell (extraction then says why)."""
    child = _child(params, timeout_s)
    found: list[tuple[str, int, float | None]] = []
    for path, size in files:
        try:
            found.append((path, size, child.duration(path)))
        except ClipError:
            found.append((path, size, None))
    return found


def _failed_total(cache: Path) -> int:
    from .status import count_clips

    return sum(count_clips(cache).failures.values())
