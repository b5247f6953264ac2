"""`extract`: the clips of one shard are decoded once, into `audio/k` and then `extract/k`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..advice import advice
from ..cache.addresses import is_address, joined
from ..cache.defaults import FRAME
from ..cache.manifest import ShardPlan
from ..cache.schema import AUDIO, EXTRACT, Header, shard_path
from ..cache.segment import Line, Root
from ..cache.shard import Shard
from ..cache.state import is_dropped
from ..cache.writer import Rows, write_shard
from ..errors import TRANSIENT, CacheCorruptError, ClipError, InputError, Reason
from .features import FeatureParams, Row
from .media import decoder_version
from .sources.staging import is_gone, staged
from .spectrogram import FRONT_ENDS

STAGE_VERSION = 4
PACKAGES = ("av", "h5py", "numpy", "pillow", "soxr")
"""Libraries that a header names."""
_DETAIL_BYTES = 240


class Decoder(Protocol):
    """What decodes a clip: `workers.decoder.DecoderChild`, or a stand-in in tests."""

    def row(self, line: Mapping[str, Any]) -> Row:
        """Decode one clip; raises `ClipError`."""


@dataclass(frozen=True)
class ExtractTask:
    """One shard to extract.

    Attributes:
        cache: Cache folder.
        plan: The shard's clips.
        params: What to make of each clip.
        remap: Folders to read instead of a root, by the root's index.
    """

    cache: Path
    plan: ShardPlan
    params: FeatureParams
    remap: Mapping[int, str]


def header_params(params: FeatureParams) -> dict[str, Any]:
    """Return the parameters that can change a done row, as a shard's header states them."""
    return {
        "spectrogram": params.spectrogram,
        "audio_seconds": params.audio_seconds,
        "decoder": params.decoder,
        "decoder_version": decoder_version(params.decoder),
        # the default is not said: caches are older than the choice
        **({} if params.frame == FRAME else {"frame": params.frame}),
    }


def extract_shard(task: ExtractTask, decoder: Decoder) -> Header:
    """Extract one shard and publish it.

    Clips that failed for a reason that may pass are tried once more, after all others.

    Returns:
        The header of `extract/k`.

    Raises:
        InputError: If a folder of clips has gone (an unmounted disk, a host that does not answer or
            wants credentials), or a clip that the shard holds cannot be decoded again: nothing is
            published.
        CacheUnwritableError: If the cache cannot be written.
    """
    done: dict[int, Row] = {}
    failed: dict[int, ClipError] = {}
    settled = {row: _old_failure(line) for row, line in task.plan.superseded.items()}
    first_row, lines = task.plan.first_row, task.plan.lines
    for attempt in (1, 2):
        for row, line in enumerate(lines, first_row):
            if row in settled or row in done:
                continue
            if attempt == 2 and failed[row].reason not in TRANSIENT:
                continue
            try:
                if not line["path"]:  # no file can have the name that was asked for
                    raise ClipError(line["reject"], line.get("detail", ""))
                with staged(request(line, task.plan.roots, task.remap)) as files:
                    done[row] = decoder.row(files)
                failed.pop(row, None)
            except ClipError as error:
                if error.reason == Reason.MISSING:
                    _require_root(line["root"], task.plan.roots, task.remap)
                failed[row] = error
    failed |= settled
    return _publish(task, dict(sorted(done.items())), dict(sorted(failed.items())))


def _old_failure(retry: Line) -> ClipError:
    """Return the failure that a retry line supersedes, as it was stored."""
    return ClipError(retry["was"], retry.get("was_detail", ""))


def request(line: Line, roots: Sequence[Root], remap: Mapping[int, str]) -> dict[str, Any]:
    """Return a manifest line as the decoder wants it: with whole paths and their folder.

    They may be addresses, or lead into tars; `stages.sources.staging.staged` fetches such files.
    """
    root = remap.get(line["root"]) or roots[line["root"]]["path"]
    absolute: dict[str, Any] = {**line, "folder": root}
    absolute["path"] = joined(root, line["path"])
    if "audio_path" in line:
        absolute["audio_path"] = joined(root, line["audio_path"])
    return absolute


def _require_root(index: int, roots: Sequence[Root], remap: Mapping[int, str]) -> None:
    """Stop when a clip is missing because its whole disk is; not where nothing ever was."""
    device = roots[index]["device"]
    if index not in remap and not device:
        return
    root = remap.get(index) or roots[index]["path"]
    if is_address(root):
        if is_gone(root):
            raise InputError(
                f"{root} is gone: if the clips have moved, add --root {index}=ADDRESS or "
                f"--root {index}=DIR"
            )
        return
    if Path(root).is_file():  # a tar
        return
    try:
        with os.scandir(root) as entries:
            if next(entries, None):
                return  # other clips are here, on whatever device this machine sees them
        problem = "is empty"
        if index not in remap and Path(root).stat().st_dev != device:
            problem += " and lies on another device than when it was planned"
    except OSError as error:
        problem = f"cannot be listed ({error.strerror})"
    raise InputError(
        f"{root} {problem}: is the disk mounted? If the clips have moved, add --root {index}=DIR"
    )


def _require_held(task: ExtractTask, wanted: Header, failed: Mapping[int, ClipError]) -> None:
    """Stop before a clip that was done becomes a failure: its frame and spectrogram would be lost.

    Args:
        task: The shard, made again because its audio is gone.
        wanted: Header of `extract/k` to be.
        failed: Its failures by row.
    """
    if not failed:
        return
    path = shard_path(task.cache, EXTRACT, task.plan.shard)
    try:
        held = Shard(path)
    except (FileNotFoundError, CacheCorruptError):
        return
    lost = failed.keys() & held.position.keys()
    if held.header.fingerprint == wanted.fingerprint and lost:
        row = min(lost)
        line = task.plan.lines[row - task.plan.first_row]
        file = request(line, task.plan.roots, task.remap)["path"]
        raise InputError(
            f"{file} was done and cannot be decoded again ({failed[row]}): bring it back, or give "
            f"up the sound of all clips with {advice('drop audio', path)}"
        )


def _publish(task: ExtractTask, done: dict[int, Row], failed: dict[int, ClipError]) -> Header:
    plan, rows = task.plan, list(done.values())
    header = Header(
        stage=AUDIO,
        stage_version=STAGE_VERSION,
        shard=plan.shard,
        params=header_params(task.params),
        inputs={"manifest": plan.sha256},
        n=len(plan.lines),
        done=len(done),
        failed=dict(Counter(str(error.reason) for error in failed.values())),
        versions={name: version(name) for name in PACKAGES},
    )

    extract_header = replace(header, stage=EXTRACT)
    _require_held(task, extract_header, failed)

    def column(name: str, dtype: str, *item: int) -> Rows:
        values = np.array([row[name] for row in rows], dtype)  # type: ignore[literal-required]
        return Rows.array(values.reshape(len(rows), *item))

    index = Rows.array(np.array(list(done), np.int64))
    waveform, waveform_offset = Rows.ragged((row["waveform"] for row in rows), "<i2")
    audio = write_shard(
        shard_path(task.cache, AUDIO, plan.shard),
        header,
        {
            "row": index,
            "waveform": waveform,
            "waveform_offset": waveform_offset,
            "frame_sample": column("frame_sample", "<i8"),
        },
    )
    if is_dropped(task.cache, AUDIO):  # before the shard counts as done: a kill leaves no sound
        shard_path(task.cache, AUDIO, plan.shard).unlink(missing_ok=True)
    jpegs = (np.frombuffer(row["frame_jpeg"], np.uint8) for row in rows)
    frame_jpeg, frame_offset = Rows.ragged(jpegs, "|u1")
    spectrograms = (row["spectrogram_wide"] for row in rows)
    front_end = FRONT_ENDS[task.params.spectrogram]
    reasons = [str(error.reason) for error in failed.values()]
    details = [_cut(error.detail) for error in failed.values()]
    return write_shard(
        shard_path(task.cache, EXTRACT, plan.shard),
        replace(extract_header, companions={AUDIO: audio.sha256}),
        {
            "row": index,
            "frame_jpeg": frame_jpeg,
            "frame_offset": frame_offset,
            "frame_hw": column("frame_hw", "<i4", 2),
            "spectrogram_wide": Rows.stack(
                spectrograms, "<f2", (front_end.num_bins, front_end.wide_columns)
            ),
            "valid_cols": column("valid_cols", "<i4", 2),
            "frame_pts_s": column("frame_pts_s", "<f8"),
            "duration_s": column("duration_s", "<f8"),
            "silent": column("silent", "|u1"),
            "short": column("short", "|u1"),
            "failed_row": Rows.array(np.array(list(failed), np.int64)),
            "failed_reason": Rows.array(np.array(reasons, "S16")),
            "failed_detail": Rows.array(np.array(details, f"S{_DETAIL_BYTES}")),
        },
    )


def _cut(detail: str) -> bytes:
    """Return a detail as it is stored; cut again, when a retry repeats it, it stays the same."""
    kept = detail.encode(errors="replace")[:_DETAIL_BYTES]
    return kept.decode(errors="ignore").strip().encode()
