"""`avpipe localize`: files are decoded as `extract` does, cached clips are read; then drawn."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...cache.addresses import joined
from ...cache.clip_ids import file_stem
from ...cache.defaults import DECODER
from ...cache.schema import AUDIO_RATE_HZ
from ...cache.store import Cache, Failure
from ...cache.writer import remove_orphans
from ...errors import TRANSIENT, ClipError, ClipsFailedError, Reason, UsageError
from ...machine import AUTO
from ...stages.features import FeatureParams, Row
from ...stages.film.run import RenderChild
from ...stages.sources.staging import staged
from ...stages.workers.decoder import TIMEOUT_S, DecoderChild
from ...train.choices import DEFAULT_GEOMETRY, DEFAULT_SCALES
from ...train.nets.geometry import Geometry
from ...train.runs.localizer import Localizer, load_run
from ...train.score.controls import ALPHA, BlendScales
from ...train.show.overlays import Localized, localize_cached, localize_sound, write_overlays
from ...train.show.true_boxes import TrueBoxes, read_true_boxes
from ...weights import PRETRAINED
from ..extract.candidate import Candidate
from . import EVERY_S
from .film import write_video

T = TypeVar("T")


@dataclass(frozen=True)
class LocalizeResult:
    """What was drawn.

    Attributes:
        pictures: One per clip; if there are several, `sheet.png` last. Of films: their strips.
        failures: Clips that could not be used; their `row` is their place among the inputs.
        videos: Films, one per clip.
        notices: What people should know of them.
    """

    pictures: list[Path] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    videos: list[Path] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def localize_files(
    candidates: Sequence[Candidate],
    run: Path,
    out: Path,
    *,
    alpha: float = ALPHA,
    scales: BlendScales = DEFAULT_SCALES,
    geometry: Geometry = DEFAULT_GEOMETRY,
    annotations: Path | None = None,
    device: str = AUTO,
    weights: Sequence[str] = (PRETRAINED,),
    decoder: str = DECODER,
    timeout_s: float = TIMEOUT_S,
    progress: Callable[[int], None] | None = None,
) -> LocalizeResult:
    """Draw where the sound of video files comes from.

    Args:
        candidates: What `scan` found.
        run: Folder of the run.
        out: Folder of the pictures.
        alpha: Share of the audio-visual map in the blend.
        scales: Of both maps before they are blended; see `train.score.controls.blend`.
        geometry: Where the map's cells lie.
        annotations: Where true boxes are, to be drawn on clips of these ids.
        device: Of the network.
        weights: Where the teachers of a run on cached features come from.
        decoder: `pyav` or `ffmpeg`.
        timeout_s: Wall-clock limit for one clip.
        progress: Called with the number of pictures written.

    Raises:
        InputError: No run.
        MissingDependencyError: Weights of its teachers are missing.
        ClipsFailedError: No clip could be used.
        CacheUnwritableError: The pictures cannot be written.
    """
    localizer = load_run(run, device, weights=weights)
    truth_of = read_true_boxes(annotations)
    localizer.load_teachers()
    failures: list[Failure] = []
    with DecoderChild(FeatureParams(decoder=decoder), timeout_s=timeout_s) as child:
        clips = _decoded(localizer, candidates, child, geometry, truth_of, failures)
        pictures = write_overlays(
            clips, out, alpha=alpha, scales=scales, geometry=geometry, progress=progress
        )
    if not pictures:
        raise _all_failed(failures, candidates)
    return LocalizeResult(pictures, failures)


def localize_videos(
    candidates: Sequence[Candidate],
    run: Path,
    out: Path,
    *,
    every_s: float = EVERY_S,
    strip: bool = False,
    geometry: Geometry = DEFAULT_GEOMETRY,
    device: str = AUTO,
    weights: Sequence[str] = (PRETRAINED,),
    timeout_s: float = TIMEOUT_S,
) -> LocalizeResult:
    """Draw films of where the sound of video files comes from, with bars on stderr.

    Args:
        candidates: What `scan` found.
        run: Folder of the run.
        out: Folder of the films.
        every_s: Time between two maps.
        strip: Whether each film also gets a picture, see `write_strip`.
        geometry: Where the map's cells lie.
        device: Of the network.
        weights: Where the teachers of a run on cached features come from.
        timeout_s: Wall-clock limit for one step, not for a whole film.

    Raises:
        UsageError: `out` is a file.
        InputError: No run.
        MissingDependencyError: Weights of its teachers are missing.
        ClipsFailedError: No clip could be used.
        CacheUnwritableError: The films cannot be written.
    """
    localizer = load_run(run, device, weights=weights)
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is no folder: name one with --out")
    localizer.load_teachers()
    remove_orphans(out)
    done = LocalizeResult()
    with RenderChild(timeout_s=timeout_s) as child:
        for number, clip in enumerate(_in_turn(candidates)):
            try:
                line = _line(clip)
                if clip.reject is not None:  # its id may name no file
                    raise ClipError(clip.reject, clip.detail or "")
                path = out / f"{file_stem(clip.id)}.mp4"
                drawn = path.with_name(f"{path.stem}.strip.png") if strip else None
                notice = _tried_again(
                    partial(
                        _film, localizer, child, clip.id, line, path, every_s=every_s,
                        geometry=geometry, strip=drawn,
                    )
                )  # fmt: skip
            except ClipError as error:
                done.failures.append(Failure(clip.id, str(error.reason), error.detail, number))
                continue
            done.videos.append(path)
            done.pictures.extend([drawn] if drawn else [])
            done.notices.extend([notice] if notice else [])
    if not done.videos:
        raise _all_failed(done.failures, candidates)
    return done


def _all_failed(failures: Sequence[Failure], candidates: Sequence[Candidate]) -> ClipsFailedError:
    """Name the file of the first; the picture of a sound of its own may be a decoded copy."""
    first, clip = failures[0], candidates[failures[0].row]
    is_file = clip.path and clip.audio_path is None
    name = joined(clip.root, clip.path) if is_file else first.id
    told = f"{name}: {first.reason} {first.detail}".rstrip()
    if len(failures) > 1:
        told += ", ..."
    return ClipsFailedError(f"none of {len(failures)} clips could be localized ({told})")


def localize_clips(
    ids: Sequence[str],
    cache: Cache,
    run: Path,
    out: Path,
    *,
    annotations: Path | None = None,
    alpha: float = ALPHA,
    scales: BlendScales = DEFAULT_SCALES,
    geometry: Geometry = DEFAULT_GEOMETRY,
    device: str = AUTO,
    weights: Sequence[str] = (PRETRAINED,),
    progress: Callable[[int], None] | None = None,
) -> LocalizeResult:
    """Draw where the sound of clips of a cache comes from.

    Args:
        ids: Which clips.
        cache: Where they are.
        run: Folder of the run.
        out: Folder of the pictures.
        annotations: Where their true boxes are, to be drawn.
        alpha: Share of the audio-visual map in the blend.
        scales: Of both maps before they are blended; see `train.score.controls.blend`.
        geometry: Where the map's cells lie.
        device: Of the network.
        weights: Where the teachers of a run on cached features come from.
        progress: Called with the number of pictures written.

    Raises:
        InputError: The cache lacks a clip, or no run.
        CacheUnwritableError: The pictures cannot be written.
    """
    clips = localize_cached(
        load_run(run, device, weights=weights),
        cache,
        ids,
        annotations=annotations,
        geometry=geometry,
    )
    return LocalizeResult(
        write_overlays(clips, out, alpha=alpha, scales=scales, geometry=geometry, progress=progress)
    )


def _decoded(
    localizer: Localizer,
    candidates: Sequence[Candidate],
    child: DecoderChild,
    geometry: Geometry,
    truth_of: Callable[[str], TrueBoxes],
    failures: list[Failure],
) -> Iterator[Localized]:
    """Decode and localize clip by clip; what cannot be used goes to `failures`."""
    window_s = localizer.window_s
    for number, clip in enumerate(_in_turn(candidates)):
        try:
            row = _tried_again(partial(_row, child, _line(clip)))
        except ClipError as error:
            failures.append(Failure(clip.id, str(error.reason), error.detail, number))
            continue
        frame = np.array(Image.open(io.BytesIO(row["frame_jpeg"])).convert("RGB"))
        sound = sound_around_frame(row, window_s)
        yield localize_sound(
            localizer, clip.id, frame, sound, AUDIO_RATE_HZ, geometry=geometry,
            truth=truth_of(clip.id),
        )  # fmt: skip


def _tried_again(work: Callable[[], T]) -> T:
    """Do something with a clip, and once more where what went wrong may pass, as `extract` does.

    Raises:
        ClipError: What prevents it.
    """
    try:
        return work()
    except ClipError as error:
        if error.reason not in TRANSIENT:
            raise
    return work()


def _row(child: DecoderChild, line: Mapping[str, Any]) -> Row:
    with staged(line) as files:
        return child.row(files)


def _film(
    localizer: Localizer,
    child: RenderChild,
    clip_id: str,
    line: Mapping[str, Any],
    path: Path,
    **how: Any,
) -> str:
    with staged(line) as files:
        return write_video(localizer, child, clip_id, files, path, **how)


def _in_turn(candidates: Sequence[Candidate]) -> Iterator[Candidate]:
    """Yield each clip; one whose id an earlier one has, with that said."""
    taken: dict[str, str] = {}
    for clip in candidates:
        if clip.id in taken and clip.reject is None:
            detail = f"{taken[clip.id]} has this id"
            yield replace(clip, reject=Reason.DUPLICATE_ID, detail=detail)
        else:
            yield clip
        taken.setdefault(clip.id, clip.path)


def _line(clip: Candidate) -> dict[str, str | float]:
    """Return what the decoder is asked.

    Raises:
        ClipError: No file can have the name that was asked for.
    """
    if not clip.path:
        raise ClipError(clip.reject or Reason.BAD_ID, clip.detail or "")
    line: dict[str, str | float | None] = {
        "path": joined(clip.root, clip.path),
        "folder": clip.root,
        "audio_path": joined(clip.root, clip.audio_path) if clip.audio_path else None,
        "bytes": clip.bytes,
        "etag": clip.etag,
        "offset": clip.offset,
        "start_s": clip.start_s,
        "seconds": clip.seconds,
        "reject": str(clip.reject) if clip.reject else None,
        "detail": clip.detail,
    }
    return {name: value for name, value in line.items() if value is not None}


def sound_around_frame(row: Row, window_s: float) -> NDArray[np.int16]:
    """Cut the window around the frame's time, moved into the sound there is.

    Args:
        row: A decoded clip.
        window_s: Length of the window.

    Returns:
        `(m,)` at 32 kHz, shorter than the window where there is less.
    """
    length = round(window_s * AUDIO_RATE_HZ)
    latest = max(0, len(row["waveform"]) - length)
    start = min(max(0, row["frame_sample"] - length // 2), latest)
    return row["waveform"][start : start + length]
