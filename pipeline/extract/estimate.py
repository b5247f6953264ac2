"""`avpipe extract --dry-run`: how many clips, how many bytes, how long; nothing is written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...cache.manifest import Manifest, default_shard_clips
from ...errors import ClipError
from ...stages.extract import header_params, request
from ...stages.features import FeatureParams, Row
from ...stages.sources.staging import staged
from ...stages.workers.decoder import DecoderChild
from ..output import note
from .known import find_new
from .pieces import num_pieces
from .plan import new_line, require_roots, retry_lines, shards_to_do
from .scan import scan
from .settings import ExtractSettings
from .taken import TakenIds

_SAMPLES = 8


@dataclass(frozen=True)
class ExtractEstimate:
    """What `extract` would do.

    Attributes:
        new: Clips that would be planned (pieces of files, by the sampled durations).
        pending: Clips that are planned and not extracted.
        bytes_in: Size of those files; with `--part` of that part's, as all of these figures.
        bytes_out: Size of the cache they would make, from the sample.
        seconds: Wall-clock time with the jobs asked for, from the sample.
        sampled: Clips decoded to know the last two.
        sample_failed: Those of them that failed.
    """

    new: int
    pending: int
    bytes_in: int
    bytes_out: int
    seconds: float
    sampled: int
    sample_failed: int

    def raise_for_failures(self) -> None:
        """Do nothing: an estimate fails no clip."""

    def as_json(self) -> dict[str, Any]:
        """Return the `--json` form."""
        return {"schema": "avpipe.extract-estimate/1", **asdict(self)}


def estimate(settings: ExtractSettings, params: FeatureParams) -> ExtractEstimate:
    """Count what is to do and decode a few clips of it to know the rest.

    Raises:
        InputError: An input cannot be used.
        CacheCorruptError: The cache is damaged, or was made with other parameters.
    """
    manifest = Manifest(settings.cache)
    waiting = _pending(settings, params, manifest)
    news = _of_part(_new(settings, manifest) + _retried(settings, manifest), settings, manifest)
    clips = waiting + news
    sample = clips[:: max(1, len(clips) // _SAMPLES)][:_SAMPLES]
    rows, seconds = _decode(sample, params, settings.timeout_s)
    decoded = [row for row in rows if row is not None]
    out = sum(_num_bytes(row) for row in decoded) / max(1, len(sample))
    pieces = 1.0
    if settings.segment_s and decoded:
        counts = (
            num_pieces(row["duration_s"], settings.segment_s, clip["bytes"]) or 1
            for clip, row in zip(sample, rows, strict=True)
            if row is not None
        )
        pieces = sum(counts) / len(decoded)
    num_new = round(len(news) * pieces)
    total = len(waiting) + num_new
    return ExtractEstimate(
        new=num_new,
        pending=len(waiting),
        bytes_in=sum(clip["bytes"] for clip in clips),
        bytes_out=round(out * total),
        seconds=round(seconds / max(1, len(sample)) * total / settings.jobs, 1),
        sampled=len(sample),
        sample_failed=len(sample) - len(decoded),
    )


def _pending(
    settings: ExtractSettings, params: FeatureParams, manifest: Manifest
) -> list[dict[str, Any]]:
    """Return the planned clips of the shards that are to do."""
    todo = shards_to_do(
        settings.cache,
        manifest,
        header_params(params),
        part=settings.part or (0, 1),
        overwrite=settings.overwrite,
    )
    plans = [manifest.plan(shard) for shard in todo]
    return [request(line, plan.roots, settings.remap) for plan in plans for line in plan.lines]


def _new(settings: ExtractSettings, manifest: Manifest) -> list[dict[str, Any]]:
    """Return the clips that have no row yet."""
    if not settings.inputs:
        require_roots(settings.cache, manifest.roots, settings.remap)
        return []
    found = scan(settings.inputs, root=settings.list_root, id_from=settings.id_from)
    for line in found.notices:
        note(line)
    news = find_new(manifest, found.candidates, settings.remap, id_from=settings.id_from)
    require_roots(settings.cache, news.roots, settings.remap)
    roots = {number: folder for folder, number in news.index.items()}
    taken = TakenIds(manifest, news.candidates, news.index)
    lines = [new_line(clip, news.index[clip.root], taken) for clip in news.candidates]
    return [request(line, news.roots, roots) for line in lines]


def _retried(settings: ExtractSettings, manifest: Manifest) -> list[dict[str, Any]]:
    """Return the failed clips that `--retry-failed` would try again."""
    if settings.retry_failed is None:
        return []
    lines = retry_lines(settings.cache, manifest, settings.retry_failed)
    return [request(line, manifest.roots, settings.remap) for line in lines]


def _of_part(
    news: list[dict[str, Any]], settings: ExtractSettings, manifest: Manifest
) -> list[dict[str, Any]]:
    """Return the clips without a row that the part would extract, by the shards they would get.

    With `--segment` a file stands for its pieces, which may lie in shards of other parts: then the
    part is one like it.
    """
    first, num_parts = settings.part or (0, 1)
    size = settings.shard_clips or default_shard_clips(len(news))
    return [
        clip
        for number, clip in enumerate(news)
        if (manifest.num_shards + number // size) % num_parts == first
    ]


def _decode(
    clips: Sequence[dict[str, Any]], params: FeatureParams, timeout_s: float
) -> tuple[list[Row | None], float]:
    """Decode clips; return their rows, None where one failed, and the seconds they took."""
    rows: list[Row | None] = []
    with DecoderChild(params, timeout_s=timeout_s) as decoder:
        for clip in clips[:1]:
            _row(decoder, clip)  # the child's start is no clip's time
        started = time.perf_counter()
        rows = [_row(decoder, clip) for clip in clips]
        return rows, time.perf_counter() - started


def _row(decoder: DecoderChild, clip: dict[str, Any]) -> Row | None:
    try:
        with staged(clip) as files:
            return decoder.row(files)
    except ClipError:
        return None


def _num_bytes(row: Row) -> int:
    return len(row["frame_jpeg"]) + row["spectrogram_wide"].nbytes + row["waveform"].nbytes
