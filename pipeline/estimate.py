"""`avpipe extract --dry-run`: how many clips, how many bytes, how long; nothing is written."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from typing import Any

from ..cache.manifest import Manifest
from ..errors import ClipError
from ..stages.decoder import DecoderChild
from ..stages.extract import header_params
from ..stages.features import FeatureParams
from .config import ExtractSettings
from .inputs import scan
from .plan import find_new, shards_to_do

_SAMPLES = 8


@dataclass(frozen=True)
class ExtractEstimate:
    """What `extract` would do.

    Attributes:
        new: Clips that are not in the manifest yet (pieces of files, by the sampled durations).
        pending: Clips that are in it and not extracted.
        bytes_in: Size of those files.
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
    files: list[tuple[str, int, dict[str, Any]]] = []
    for shard in shards_to_do(
        settings.cache, manifest, header_params(params), overwrite=settings.overwrite
    ):
        plan = manifest.plan(shard)
        for line in plan.lines:
            root = settings.remap.get(line["root"]) or plan.roots[line["root"]]["path"]
            files.append((_join(root, line["path"]), line["bytes"], dict(line)))
    pending = len(files)
    if settings.inputs:
        found = scan(settings.inputs, root=settings.list_root, id_from=settings.id_from)
        for new in find_new(manifest, found.candidates, settings.remap).candidates:
            fields = {k: v for k, v in asdict(new).items() if v is not None and k != "reject"}
            files.append((_join(new.root, new.path), new.bytes, fields))
    step = max(1, len(files) // _SAMPLES)
    sample = files[::step][:_SAMPLES]
    failed, out, pieces = 0, 0, 0.0
    with DecoderChild(params, timeout_s=settings.timeout_s) as decoder:
        seconds = 0.0
        for number, (path, _, fields) in enumerate(sample):
            if number == 0:  # the child's start is no clip's time
                _try_row(decoder, {**fields, "path": path})
            started = time.perf_counter()
            row = _try_row(decoder, {**fields, "path": path})
            seconds += time.perf_counter() - started
            failed += row is None
            if row is not None:
                spectrogram, waveform = row["spectrogram_wide"], row["waveform"]
                out += len(row["frame_jpeg"]) + spectrogram.nbytes + waveform.nbytes
            whole = row is not None and settings.segment_s and "start_s" not in fields
            pieces += max(1, int(row["duration_s"] / settings.segment_s + 0.5)) if whole else 1
    per_file = pieces / max(1, len(sample))
    new_clips = round((len(files) - pending) * per_file)
    clips = pending + new_clips
    return ExtractEstimate(
        new=new_clips,
        pending=pending,
        bytes_in=sum(size for _, size, _ in files),
        bytes_out=round(out / max(1, len(sample)) * clips),
        seconds=round(seconds / max(1, len(sample)) * clips / settings.jobs, 1),
        sampled=len(sample),
        sample_failed=failed,
    )


def _join(root: str, path: str) -> str:
    return os.path.join(root, path)  # noqa: PTH118


def _try_row(decoder: DecoderChild, line: dict[str, Any]) -> Any:
    try:
        return decoder.row(line)
    except ClipError:
        return None
