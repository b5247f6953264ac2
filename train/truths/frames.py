"""AVSBench: five frames of every video, each with a mask, a box or both.

`<name>_meta_data.csv` is the published list of videos, `avs1_<name>_test.csv` one of frames that
others use; without either the frames are those of `<name>_box.json`. Masks are `<frame>.png` in
`gt_masks` or any folder in it. A frame is `<video>_1` to `<video>_5`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import InputError
from ..benchmarks import SIZE_PX, Pair
from ..extras.segmentation import Segmentation
from .annotated import Annotated, AnnotatedItem
from .annotations import Boxes, read_list, read_rows, refuse_twice, short_of
from .forms import Form
from .lists import draw_px, read_listed_boxes, show_px
from .masks import MaskFiles, draw_masks, find_masks, show_mask
from .whole import clips_text

NUM_FRAMES = 5
MASKS = "gt_masks"
SEGMENTED = Form(
    {
        "miou": "mIoU",
        "f_measure": "F",
        "miou_adaptive": "mIoU adap.",
        "loc_acc": "LocAcc",
        "auc": "AUC",
        "loc_acc_adaptive": "adaptive",
        "auc_adaptive": "AUC adapt.",
    },
    "miou",
    """\
mIoU: mean IoU with the masks; F: F-measure, beta^2 0.3, at the best of 255 thresholds for all
frames or, with protocol avsbench, for each video. LocAcc: share of frames with cIoU >= 0.5; AUC:
area under that share over thresholds 0 to 1. The upper half of the map's pixels is predicted, with
avsbench those above 0; adaptive: as many pixels as the truth has. Percent.""",
)


def load_frames(annotations: Path, name: str, num_videos: int) -> Annotated:
    """Read a test of AVSBench.

    Args:
        annotations: Its folder, or a file in it.
        name: `s4` or `ms3`, as its files are called.
        num_videos: How many videos the published test has.

    Raises:
        InputError: Neither masks nor boxes are there, or a file cannot be read.
    """
    folder = annotations.parent if annotations.is_file() else annotations
    box_path = folder / f"{name}_box.json"
    boxes = read_listed_boxes(box_path) if box_path.is_file() else None
    data = folder / f"{name}_data"  # as released, with the list of videos beside it
    paths = find_masks(folder / MASKS) or find_masks(data / MASKS)
    if boxes is None and not paths:
        raise InputError(
            f"{folder} has no masks in {MASKS} and no {box_path.name}; --annotations names the "
            "folder of a benchmark's files, or a file in it"
        )
    path, labels = _listed(folder, name, boxes)
    truths = {what: known for what, known in (("mask", paths), ("box", boxes and boxes.by_clip))
              if known}  # fmt: skip
    there = [frame for frame in labels if all(frame in known for known in truths.values())]
    if not there:
        raise InputError(
            f"{path}: none of its {len(labels)} frames has a mask or a box in {folder}"
        )
    lines = list(boxes.notices) if boxes else []
    for what, known in truths.items():
        if absent := [frame for frame in labels if frame not in known]:
            lines.append(
                f"{path}: {clips_text(absent)} of {len(labels):,} without a {what} in {folder}, "
                "left out"
            )
    if boxes and (more := [frame for frame in boxes.by_clip if frame not in labels]):
        lines.append(f"{box_path}: {clips_text(more)} that {path.name} does not list, left out")
    lines += short_of(path, len(labels), NUM_FRAMES * num_videos, "frames")
    masks = MaskFiles({frame: paths[frame] for frame in there}) if paths else None
    lines += _odd(folder, masks)
    return _test(labels, there, boxes, masks, lines)


def _test(
    labels: Mapping[str, str],
    there: Sequence[str],
    boxes: Boxes | None,
    masks: MaskFiles | None,
    notices: Sequence[str],
) -> Annotated:
    """Return the test: cIoU of boxes where there are some, mIoU and F of masks."""
    items = tuple(
        AnnotatedItem(Pair(frame, frame), "positive", labels[frame], group=frame.rpartition("_")[0])
        for frame in there
    )
    tested = set(there)
    left_out = tuple(frame for frame in labels if frame not in tested)
    told, official = tuple(notices), len(there)
    if boxes:
        extra = None if masks is None else Segmentation(masks, draw_masks)
        return Annotated(
            items, boxes.by_clip, draw_px, show_px, official, notices=told, left_out=left_out,
            extra=extra,
        )  # fmt: skip
    assert masks is not None
    return Annotated(
        items, masks, draw_masks, show_mask, official, notices=told, left_out=left_out,
        extra=Segmentation(),
    )  # fmt: skip


def _listed(folder: Path, name: str, boxes: Boxes | None) -> tuple[Path, dict[str, str]]:
    """Return the file that lists the test, and the class of each of its frames."""
    videos, flat = folder / f"{name}_meta_data.csv", folder / f"avs1_{name}_test.csv"
    if folder.name == f"{name}_data" and not videos.is_file():
        videos = folder.parent / videos.name
    if videos.is_file():
        rows = [row for row in read_rows(videos, "split") if row["split"] == "test"]
        named = [(next(iter(row.values())), row.get("category") or "") for row in rows]
        refuse_twice(videos, [video for video, _ in named])
        if not named:
            raise InputError(f"{videos}: no video of split test")
        return videos, {
            f"{video}_{number}": label
            for video, label in named
            for number in range(1, NUM_FRAMES + 1)
        }
    if flat.is_file():
        return flat, dict.fromkeys(read_list(flat), "")
    if boxes is None:
        raise InputError(f"{folder} has no {videos.name} and no {flat.name}, which list the test")
    return folder / f"{name}_box.json", boxes.labels


def _odd(folder: Path, masks: MaskFiles | None) -> list[str]:
    """Return lines about masks of another size, and empty ones."""
    if masks is None:
        return []
    lines = []
    if other := [name for name, shape in masks.shapes.items() if shape != (SIZE_PX, SIZE_PX)]:
        lines.append(
            f"{folder / MASKS}: {clips_text(other)} with masks that are not {SIZE_PX} x {SIZE_PX}, "
            "brought to it by their nearest pixels"
        )
    if masks.bare:
        lines.append(
            f"{folder / MASKS}: {clips_text(masks.bare)} whose masks are empty: cIoU is 0 there, "
            "IoU the share of pixels left out, F skips them"
        )
    return lines
