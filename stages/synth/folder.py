"""The folder of a synthetic world: filled clip by clip, or finished where an earlier run stopped.

`world.json` is written first and says what the folder is; the clips follow, each complete or
absent; the lists (see `lists.py`) come last. So the same command finishes what an earlier one
began, and the bytes are the same as if it had never stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from av import library_versions

from ...drafts import make_folder, remove_orphans, write_whole
from ...errors import CacheUnwritableError, UsageError
from ...reading import parse_json, read_regular
from ..sums import SUMS, is_summed, sums_text
from ..workers import Workers
from ..workers.pool import run_in_workers
from . import lists
from .again import PLACES, synth_options
from .encode import ENCODING
from .scenes import DURATION_S, FRAME_RATE_HZ, SIDE_PX, NamedClass, SynthClip
from .timbre import RATE_HZ

STAMP = "world.json"
_CHUNK = 8

Encode = Callable[[SynthClip], bytes]


@dataclass(frozen=True)
class SynthSummary:
    """What a world holds, and how much of it this run made.

    `num_test` is the length of `test.txt`: off-screen clips are counted apart.
    """

    out: Path
    videos: Path
    labels: Path
    num_classes: int
    num_held_out: int
    num_train: int
    num_test: int
    num_offscreen: int
    num_mismatched: int
    num_swapped: int
    num_made: int
    num_kept: int


@dataclass(frozen=True)
class Blueprint:
    """A world that is planned but not made.

    Attributes:
        format: Of `world.json`.
        parameters: What tells this world from others; they stand in `world.json`.
        versions: What else the bytes depend on.
        record: What `world.json` says besides.
        seed: Of the pairs of clips.
        classes: Of the world.
        clips: Their plan.
        encode: Makes a clip's file; must be importable in a worker process.
        texts: Lists beside the usual ones, by name.
    """

    format: str
    parameters: Mapping[str, object]
    versions: Mapping[str, str]
    record: Mapping[str, object]
    seed: int
    classes: Sequence[NamedClass]
    clips: Sequence[SynthClip]
    encode: Encode
    texts: Mapping[str, str]


def fill(
    out: Path, plan: Blueprint, *, jobs: int, progress: Callable[[int, int], None] | None = None
) -> SynthSummary:
    """Make a world, or finish one.

    Args:
        out: Folder to fill; new, empty, or holding an unfinished part of this very world.
        plan: The world.
        jobs: Processes; the bytes do not depend on it.
        progress: Called with (clips present, clips wanted).

    Raises:
        UsageError: `out` holds something else.
        CacheUnwritableError: `out` cannot be written or the disk is full; the same call resumes.
    """
    mismatched, swapped = lists.draw_pairs(plan.seed, plan.clips)
    texts = lists.lists(plan.clips, plan.classes, mismatched, swapped) | dict(plan.texts)
    summary = SynthSummary(
        out=out,
        videos=out / "videos",
        labels=out / "labels.csv",
        num_classes=len(plan.classes),
        num_held_out=sum(c.held_out for c in plan.classes),
        num_train=sum(clip.split == "train" for clip in plan.clips),
        num_test=sum(clip.split == "test" and not clip.offscreen for clip in plan.clips),
        num_offscreen=sum(clip.offscreen for clip in plan.clips),
        num_mismatched=len(mismatched),
        num_swapped=len(swapped),
        num_made=len(missing := _missing(out, plan)),
        num_kept=len(plan.clips) - len(missing),
    )
    try:
        make_folder(summary.videos)
        for folder in (out, summary.videos):
            remove_orphans(folder)
        if missing or not (out / STAMP).exists():
            _write(out / STAMP, _world_json(plan).encode())
        _make_missing(missing, plan.encode, summary, jobs, progress)
        for name, text in texts.items():
            _write(out / name, text.encode())
        made = {f"videos/{clip.clip_id}.mp4" for clip in missing}
        every = {f"videos/{clip.clip_id}.mp4" for clip in plan.clips} | {STAMP, *texts}
        again = {STAMP, *texts, *made} if missing else {*texts}
        options = synth_options(plan.parameters, parse_json(texts.get(PLACES, "{}")))
        _write(out / SUMS, sums_text(out, every, again, options).encode())
    except OSError as error:
        raise CacheUnwritableError(
            f"{error.filename or out}: {error.strerror or error}; the same command resumes"
        ) from error
    return summary


def _missing(out: Path, plan: Blueprint) -> list[SynthClip]:
    """The clips that `out` lacks; refuses a folder that holds anything but this world."""
    if not out.exists():
        return list(plan.clips)
    if not out.is_dir():
        raise UsageError(f"{out}: not a folder")
    stamp, own = out / STAMP, _world_json(plan).encode()
    if not stamp.exists():
        names = {entry.name for entry in out.iterdir() if not entry.name.startswith(".")}
        if not names - {"videos"}:
            return list(plan.clips)
        if not is_summed(out, STAMP, own):
            raise UsageError(f"{out}: not empty, and holds no synthetic world; name another folder")
        return [clip for clip in plan.clips if not _is_made(_video(out, clip))]
    found = _read_stamp(stamp)
    wanted = {"format": plan.format, **plan.parameters}
    for name, value in wanted.items():
        if found.get(name) != value:
            raise UsageError(
                f"{out}: holds another world ({name} {found.get(name)}, not {value});"
                " name another folder"
            )
    missing = [clip for clip in plan.clips if not _is_made(_video(out, clip))]
    if missing and found.get("versions") != plan.versions:
        raise UsageError(
            f"{out}: was begun with {found.get('versions')}, now {plan.versions};"
            " name another folder"
        )
    return missing


def _read_stamp(stamp: Path) -> dict[str, Any]:
    try:
        found = parse_json(read_regular(stamp))
    except ValueError as error:
        raise UsageError(f"{stamp}: not readable as JSON; name another folder") from error
    return found if isinstance(found, dict) else {}


def _is_made(video: Path) -> bool:
    return video.exists() and video.stat().st_size > 0


def _video(out: Path, clip: SynthClip) -> Path:
    return out / "videos" / f"{clip.clip_id}.mp4"


def versions() -> dict[str, str]:
    """The versions that the bytes depend on."""
    codec = ".".join(map(str, library_versions["libavcodec"]))
    found = {"av": version("av"), "libavcodec": codec, "numpy": np.__version__}
    return found | {"encoding": ENCODING}


def _world_json(plan: Blueprint) -> str:
    """Parameters, versions and the description of every class."""
    content = {
        "format": plan.format,
        **plan.parameters,
        "sums": SUMS,
        "versions": plan.versions,
        "side_px": SIDE_PX,
        "frame_rate_hz": FRAME_RATE_HZ,
        "duration_s": DURATION_S,
        "audio_rate_hz": RATE_HZ,
        "held_out": [c.name for c in plan.classes if c.held_out],
        **plan.record,
    }
    return json.dumps(content, indent=1) + "\n"


def _make_missing(
    missing: Sequence[SynthClip],
    encode: Encode,
    summary: SynthSummary,
    jobs: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    total = summary.num_made + summary.num_kept
    present = summary.num_kept

    def add(made: int) -> None:
        nonlocal present
        present += made
        if progress:
            progress(present, total)

    add(0)
    chunks = [missing[at : at + _CHUNK] for at in range(0, len(missing), _CHUNK)]
    run_in_workers(
        chunks,
        # absolute: workers stay in the folder they were started in
        partial(_make_chunk, encode=encode, out=summary.out.absolute()),
        add,
        workers=Workers(min(jobs, len(chunks))),
    )


def _make_chunk(chunk: Sequence[SynthClip], *, encode: Encode, out: Path) -> int:
    for clip in chunk:
        _write(_video(out, clip), encode(clip))
    return len(chunk)


def _write(path: Path, content: bytes) -> None:
    """Write a file that is complete whenever it exists; one that is as it should be stays."""
    if not (path.exists() and read_regular(path) == content):
        write_whole(path, content)
