"""`avpipe localize`: where the sound comes from, as pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...advice import advice
from ...cache.clip_ids import file_stem
from ...cache.store import Cache
from ...cache.writer import remove_orphans
from ...errors import InputError, MissingDependencyError, UsageError
from ..choices import DEFAULT_GEOMETRY, DEFAULT_SCALES, MAPS_AT_A_TIME
from ..nets.geometry import DETR_PX, Geometry, detr_centres_px, upsample
from ..runs.localizer import Localizer
from ..score.controls import ALPHA, BlendScales, Floats32, Frame, blend, saliency
from ..score.map_sources import detr_maps
from ..score.maps import write_whole
from ..score.object_prior import ObjectPrior
from . import drawing
from .drawing import Panel
from .true_boxes import TrueBoxes, read_true_boxes

BoxArray = NDArray[np.float64]
_COSINE = "cosine"
_SHEET_CLIPS = 60
"""More clips than this in one picture cannot be told apart."""


def no_boxes() -> BoxArray:
    """Return `(0, 4)` boxes."""
    return np.zeros((0, 4))


@dataclass(frozen=True)
class Localized:
    """A clip with its map.

    Attributes:
        name: Its id; names its picture.
        frame: `(H, W, 3)` uint8 RGB.
        map: `(H, W)` localization map, cosines.
        label: What sounds, if known.
        sounding: `(k, 4)` boxes of what sounds, shares of the sides, if known.
        silent: `(k, 4)` boxes of what does not.
        objects: `(7, 7)` object map of DETR, if the cache has it.
    """

    name: str
    frame: Frame
    map: Floats32
    label: str = ""
    sounding: BoxArray = field(default_factory=no_boxes)
    silent: BoxArray = field(default_factory=no_boxes)
    objects: Floats32 | None = None


def localize_sound(
    localizer: Localizer,
    name: str,
    frame: Frame,
    waveform: NDArray[Any],
    rate_hz: int,
    *,
    geometry: Geometry = DEFAULT_GEOMETRY,
    truth: TrueBoxes | None = None,
) -> Localized:
    """Localize the sound of one clip that was decoded elsewhere.

    Args:
        localizer: A run.
        name: The clip's id.
        frame: `(H, W, 3)` uint8 RGB.
        waveform: `(L,)` mono, float in [-1, 1] or int16, centred on the frame's time.
        rate_hz: Its rate.
        geometry: Where the map's cells lie.
        truth: What is known of it.
    """
    size = (frame.shape[0], frame.shape[1])
    found = localizer.localize(frame, waveform, rate_hz, size=size, geometry=geometry)
    return Localized(name, frame, found, *(truth or ()))


def localize_cached(
    localizer: Localizer,
    cache: Cache,
    ids: Sequence[str],
    *,
    annotations: Path | None = None,
    geometry: Geometry = DEFAULT_GEOMETRY,
    batch_size: int = MAPS_AT_A_TIME,
) -> Iterator[Localized]:
    """Localize the sounds of clips of a cache.

    Args:
        localizer: A run.
        cache: The clips.
        ids: Which.
        annotations: Where their boxes are, as `read_true_boxes` takes it.
        geometry: Where the map's cells lie.
        batch_size: Clips at a time.

    Raises:
        InputError: If the cache lacks a clip, or hears another kind of spectrogram than the run.
    """
    if absent := sorted(set(ids).difference(cache.ids)):
        see = advice("status", cache.path)
        raise InputError(f"{cache.path} has no finished clip {absent[0]!r}; see {see}")
    truth_of = read_true_boxes(annotations)
    for start in range(0, len(ids), batch_size):
        part = ids[start : start + batch_size]
        maps = localizer.maps(cache, [cache.row_of(name) for name in part], batch_size=batch_size)
        for name, one_map in zip(part, maps, strict=True):
            clip = cache.clip(name)
            size = (clip.frame.shape[0], clip.frame.shape[1])
            heat = localizer.upsample(one_map[None], size, geometry)[0]
            label, sounding, silent = truth_of(name)
            stored = detr_maps(cache, [name])
            objects = None if stored is None else stored.cells([name])[0]
            label = label or clip.label or ""
            yield Localized(name, clip.frame, heat, label, sounding, silent, objects)


def object_map_maker(
    geometry: Geometry = DEFAULT_GEOMETRY, *, required: bool = False
) -> tuple[str, str, Callable[[Frame], Floats32]]:
    """Return the object map to show: OGL, or saliency without ImageNet weights.

    Args:
        geometry: Where its cells lie.
        required: Whether nothing can stand in for OGL.

    Returns:
        Its title, what its values are, and what makes it of a frame.

    Raises:
        MissingDependencyError: OGL is required, and its weights are missing.
    """
    try:
        return "object map (OGL)", "mean activity", ObjectPrior(geometry)
    except MissingDependencyError:
        if required:
            raise
        return "object map (saliency)", "contrast", saliency


def write_overlays(
    localized: Iterable[Localized],
    out: Path,
    *,
    alpha: float = ALPHA,
    scales: BlendScales = DEFAULT_SCALES,
    geometry: Geometry = DEFAULT_GEOMETRY,
    progress: Callable[[int], None] | None = None,
) -> list[Path]:
    """Write `<id>.png` for every clip, and `sheet.png` if there are several.

    Beside a clip named `sheet` the sheet is `_sheet.png`.

    A picture shows the frame, the audio-visual map, the object map and their blend; boxes of what
    sounds are solid, of what does not dashed. The sheet is `sheet_picture`'s, of the first 60.

    Args:
        localized: Clips with their maps.
        out: Folder, made if needed.
        alpha: Share of the audio-visual map in the blend.
        scales: Of both maps before they are blended; see `controls.blend`.
        geometry: Where the cells of the object maps lie.
        progress: Called with the number of pictures written.

    Returns:
        The pictures, the sheet last.

    Raises:
        UsageError: `out` is a file.
        MissingDependencyError: The range of OGL is asked for, and ImageNet's weights are missing.
        CacheUnwritableError: If they cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is no folder: name one with --out")
    title, unit, object_map = object_map_maker(geometry, required=scales == "slavc")
    remove_orphans(out)
    pictures: list[Path] = []
    small: list[Localized] = []
    for clip in localized:
        pictures.append(out / f"{file_stem(clip.name)}.png")
        objects = object_map(clip.frame)
        picture = overlay_picture(clip, title, unit, objects, alpha, geometry, scales)
        write_whole(pictures[-1], picture)
        if len(small) < _SHEET_CLIPS:
            small.append(clip)
        if progress:
            progress(len(pictures))
    if len(small) > 1:
        pictures.append(_sheet_beside(pictures))
        write_whole(pictures[-1], sheet_picture(small))
    return pictures


def _sheet_beside(pictures: Sequence[Path]) -> Path:
    """Return a name for the sheet that no clip's picture has."""
    sheet = pictures[0].with_name("sheet.png")
    while sheet in pictures:
        sheet = sheet.with_name(f"_{sheet.name}")
    return sheet


def sheet_picture(clips: Sequence[Localized]) -> bytes:
    """Draw every clip's frame above its map, all maps with one scale of colours, as PNG.

    Args:
        clips: At least one.
    """
    limits = min(float(one.map.min()) for one in clips), max(float(one.map.max()) for one in clips)
    columns = drawing.columns_for(2 * len(clips), most=8) if len(clips) > 6 else len(clips)
    rows = []
    for start in range(0, len(clips), columns):
        part = clips[start : start + columns]
        rows.append([_frame_panel(one, f"{one.name}\n{one.label}") for one in part])
        rows.append([replace(_map_panel(one, ""), limits=limits) for one in part])
    return drawing.grid(rows, scale=drawing.COSINE)


def overlay_picture(
    clip: Localized,
    object_title: str,
    object_unit: str,
    object_map: Floats32,
    alpha: float = ALPHA,
    geometry: Geometry = DEFAULT_GEOMETRY,
    scales: BlendScales = DEFAULT_SCALES,
) -> bytes:
    """Draw a clip's frame, maps and blend side by side, as PNG.

    Args:
        clip: A clip with its map.
        object_title: What the object map is.
        object_unit: What its values are.
        object_map: `(h, w)`, the whole frame.
        alpha: Share of the audio-visual map in the blend.
        geometry: Where the cells of DETR's map lie.
        scales: Of both maps before they are blended; see `controls.blend`.
    """
    height, width = clip.frame.shape[:2]
    size = (width, height)
    objects = np.asarray(Image.fromarray(object_map).resize(size, Image.Resampling.BILINEAR))
    mixed = blend(clip.map, objects, alpha, scales)
    shown = (0.0, 1.0) if scales == "slavc" else None
    panels = [
        _frame_panel(clip, "frame"),
        _map_panel(clip, "audio-visual map", _COSINE),
        Panel(object_title, clip.frame, objects, unit=object_unit),
        Panel(f"blend, alpha {alpha:g}", clip.frame, mixed, unit="share", limits=shown),
    ]
    if clip.objects is not None:
        centres_px = detr_centres_px(len(clip.objects))
        cells = clip.objects[None]
        heat = upsample(cells, (height, width), geometry, centres_px, DETR_PX)[0]
        panels.append(Panel("object map (DETR)", clip.frame, heat, unit="attention"))
    return drawing.picture_of_panels(" | ".join(filter(None, (clip.name, clip.label))), panels)


def _frame_panel(clip: Localized, title: str) -> Panel:
    return Panel(title, clip.frame, None, clip.sounding, clip.silent)


def _map_panel(clip: Localized, title: str, unit: str = "") -> Panel:
    return Panel(title, clip.frame, clip.map, clip.sounding, clip.silent, unit)
