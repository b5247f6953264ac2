"""`avpipe synth`: a folder of labelled clips with known sounding boxes.

`world.json` is written first and says what the folder is; the clips follow, each complete or
absent; the lists (see `synth_lists`) come last. So the same command finishes what an earlier one
began, and the bytes are the same as if it had never stopped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from av import library_versions

from ..errors import CacheUnwritableError, UsageError
from ..reading import parse_json
from . import synth_lists
from .synth_encode import encode_clip
from .synth_plan import DURATION_S, FRAME_RATE_HZ, SIDE_PX, SynthClip, plan_clips
from .synth_sound import RATE_HZ
from .synth_world import MIN_TRAINED, SynthClass, draw_classes
from .worker_pool import run_in_workers

FORMAT = "avpipe.synth/1"
MAX_SIZE = 0.45
_CHUNK = 8


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


def synth(
    out: Path,
    *,
    clips: int,
    classes: int = 16,
    seed: int = 0,
    num_objects: int = 2,
    size: tuple[float, float] = (0.28, 0.42),
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> SynthSummary:
    """Make a synthetic world, or finish one.

    Args:
        out: Folder to fill; new, empty, or holding an unfinished part of this very world.
        clips: Training clips; 30 % as many test clips are added, 15 % of them off-screen negatives.
        classes: Classes of the world, held-out ones included.
        seed: Of everything: classes, clips, pixels, samples.
        num_objects: Objects per picture, 2 or 3; exactly one sounds, none in an off-screen clip.
        size: Bounds of an object's width and height as shares of the side.
        jobs: Processes; the bytes do not depend on it.
        progress: Called with (clips present, clips wanted).

    Raises:
        UsageError: An argument is out of range, or `out` holds something else.
        CacheUnwritableError: `out` cannot be written or the disk is full; the same call resumes.
    """
    _check_arguments(clips, classes, seed, num_objects, size)
    parameters = {
        "seed": seed,
        "clips": clips,
        "classes": classes,
        "objects": num_objects,
        "size": [float(bound) for bound in size],
    }
    world = draw_classes(seed, classes)
    plan = plan_clips(seed, world, num_train=clips, num_objects=num_objects, size=size)
    mismatched, swapped = synth_lists.draw_pairs(seed, plan)
    texts = synth_lists.lists(plan, world, mismatched, swapped)
    summary = SynthSummary(
        out=out,
        videos=out / "videos",
        labels=out / "labels.csv",
        num_classes=classes,
        num_held_out=sum(c.held_out for c in world),
        num_train=clips,
        num_test=sum(clip.split == "test" and not clip.offscreen for clip in plan),
        num_offscreen=sum(clip.offscreen for clip in plan),
        num_mismatched=len(mismatched),
        num_swapped=len(swapped),
        num_made=len(missing := _missing(out, parameters, plan)),
        num_kept=len(plan) - len(missing),
    )
    try:
        summary.videos.mkdir(parents=True, exist_ok=True)
        _sweep(out)
        if missing:
            _write(out / "world.json", _world_json(parameters, world).encode())
        _make_missing(missing, world, seed, summary, jobs, progress)
        for name, text in texts.items():
            _write(out / name, text.encode())
    except OSError as error:
        raise CacheUnwritableError(
            f"{error.filename or out}: {error.strerror or error}; the same command resumes"
        ) from error
    finally:
        _sweep(out)
    return summary


def _check_arguments(
    clips: int, classes: int, seed: int, num_objects: int, size: tuple[float, float]
) -> None:
    if clips < 1:
        raise UsageError(f"--clips {clips}: at least 1")
    if classes < MIN_TRAINED:
        raise UsageError(f"--classes {classes}: at least {MIN_TRAINED}")
    if seed < 0:
        raise UsageError(f"--seed {seed}: must not be negative")
    if num_objects not in (2, 3):
        raise UsageError(f"--objects {num_objects}: 2 or 3")
    if not 0.05 <= size[0] <= size[1] <= MAX_SIZE:
        raise UsageError(f"--size {size[0]},{size[1]}: needs 0.05 <= low <= high <= {MAX_SIZE}")


def _missing(
    out: Path, parameters: dict[str, object], plan: Sequence[SynthClip]
) -> list[SynthClip]:
    """The clips that `out` lacks; refuses a folder that holds anything but this world."""
    if not out.exists():
        return list(plan)
    if not out.is_dir():
        raise UsageError(f"{out}: not a folder")
    stamp = out / "world.json"
    if not stamp.exists():
        if any(
            entry.name != "videos" and not entry.name.startswith(".") for entry in out.iterdir()
        ):
            raise UsageError(f"{out}: not empty, and holds no synthetic world; name another folder")
        return list(plan)
    found = _read_stamp(stamp)
    wanted = {"format": FORMAT, **parameters}
    for name, value in wanted.items():
        if found.get(name) != value:
            raise UsageError(
                f"{out}: holds another world ({name} {found.get(name)}, not {value});"
                " name another folder"
            )
    missing = [clip for clip in plan if not _is_made(_video(out, clip))]
    if missing and found.get("versions") != _versions():
        raise UsageError(
            f"{out}: was begun with {found.get('versions')}, now {_versions()}; name another folder"
        )
    return missing


def _read_stamp(stamp: Path) -> dict[str, Any]:
    try:
        found = parse_json(stamp.read_text())
    except ValueError as error:
        raise UsageError(f"{stamp}: not readable as JSON; name another folder") from error
    return found if isinstance(found, dict) else {}


def _is_made(video: Path) -> bool:
    return video.exists() and video.stat().st_size > 0


def _video(out: Path, clip: SynthClip) -> Path:
    return out / "videos" / f"{clip.clip_id}.mp4"


def _versions() -> dict[str, str]:
    """The versions that the bytes depend on."""
    codec = ".".join(map(str, library_versions["libavcodec"]))
    return {"av": version("av"), "libavcodec": codec, "numpy": np.__version__}


def _world_json(parameters: dict[str, object], world: Sequence[SynthClass]) -> str:
    """Parameters, versions and the description of every class."""
    content = {
        "format": FORMAT,
        **parameters,
        "versions": _versions(),
        "side_px": SIDE_PX,
        "frame_rate_hz": FRAME_RATE_HZ,
        "duration_s": DURATION_S,
        "audio_rate_hz": RATE_HZ,
        "held_out": [c.name for c in world if c.held_out],
        "class_list": [asdict(c) for c in world],
    }
    return json.dumps(content, indent=1) + "\n"


def _make_missing(
    missing: Sequence[SynthClip],
    world: Sequence[SynthClass],
    seed: int,
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
        # absolute: joblib's workers stay in the folder they were started in
        partial(_make_chunk, world=world, seed=seed, out=summary.out.absolute()),
        add,
        jobs=jobs,
        backend="loky" if jobs > 1 and len(chunks) > 1 else "sequential",
    )


def _make_chunk(
    chunk: Sequence[SynthClip], *, world: Sequence[SynthClass], seed: int, out: Path
) -> int:
    for clip in chunk:
        _write(_video(out, clip), encode_clip(clip, world, seed))
    return len(chunk)


def _write(path: Path, content: bytes) -> None:
    """Write a file that is complete whenever it exists."""
    if path.exists() and path.read_bytes() == content:
        return
    partial_file = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial_file.write_bytes(content)
    partial_file.replace(path)


def _sweep(out: Path) -> None:
    """Remove what a run was writing that was killed, or met a full disk."""
    for folder in (out, out / "videos"):
        for leftover in folder.glob(".*.part"):
            leftover.unlink()
