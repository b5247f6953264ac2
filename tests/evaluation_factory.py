"""A world whose test clips are those of `cache_factory`, and a recipe that trains in a moment."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from avpipe.train.runs.sealed import DIGEST, seal

TINY = [
    "image_size=64", "image_resize=64", "width=16", "embed_dim=16", "batch_size=8", "epochs=2",
    "precision=fp32", "ema=0.5",
]  # fmt: skip


def change_page(run: Path, without: str = "", **values: Any) -> None:
    """Let a run's record say something else, as if it had been written so."""
    before = json.loads((run / "run.json").read_text())
    record = {**before, **values}
    for name in (DIGEST, without):
        record.pop(name, None)
    (run / "run.json").write_text(json.dumps(seal(record)))


SOUNDING, SILENT = [0.1, 0.1, 0.5, 0.5], [0.5, 0.6, 0.9, 0.9]


def write_world(folder: Path) -> Path:
    """Write lists: clips 14 to 21 heard, 22 and 23 unheard, 24 to 27 off-screen, 99 not cached."""
    heard = [f"clip{number:03d}" for number in [*range(14, 22), 99]]
    unheard, offscreen = ["clip022", "clip023"], [f"clip{number:03d}" for number in range(24, 28)]
    lines = ["id,path,label,split,offscreen,held_out,silent"]
    labels = {name: f"class{int(name[-3:]) % 4}" for name in [*heard, *unheard, *offscreen]}
    for name, label in labels.items():
        flags = f"{int(name in offscreen)},{int(name in unheard)}"
        lines.append(f"{name},x.mp4,{label},test,{flags},other")
    positives = [*heard, *unheard]
    write_lines(folder / "labels.csv", lines)
    pairs = [f"{name},{name},non-sounding" for name in offscreen]
    pairs += [f"{heard[i]},{heard[i + 1]},non-sounding" for i in range(3)]
    write_lines(folder / "plus_silent.csv", ["video,audio,label", *pairs])
    swaps = [f"{a},{b},0" for a, b in itertools.pairwise(heard)]
    write_lines(folder / "swapped.csv", ["video,audio,silent", *swaps])
    entries = [{"file": name, "class": labels[name], "bbox": [SOUNDING]} for name in positives]
    (folder / "vggss.json").write_text(json.dumps(entries))
    entries = [
        {"file": name, "class": "other", "bbox": [SILENT]} for name in [*positives, *offscreen]
    ]
    (folder / "silent_boxes.json").write_text(json.dumps(entries))
    return folder


def write_lines(path: Path, lines: list[str]) -> None:
    """Write a list."""
    path.write_text("\n".join(lines) + "\n")


FULL_FRAME = [0.0, 0.0, 1.0, 0.8]


def write_vggss(folder: Path, names: list[str], *, negatives: int = 0) -> Path:
    """Write `vggss.json` of clips, boxes of four sizes in turn, classes in pairs, and negatives.

    Of the negatives every third is a clip of its own, `<name>`, every third of the same class.
    """
    boxes = [[0.4, 0.4, 0.5, 0.5], SOUNDING, SILENT, FULL_FRAME]
    entries = [
        {"file": name, "class": f"class{i // 2}", "bbox": [boxes[i % 4]]}
        for i, name in enumerate(names)
    ]
    (folder / "vggss.json").write_text(json.dumps(entries))
    last = len(names) - 1
    lines = []
    for i in range(negatives):
        own, alike, other = (
            (f"other{i:03d}",) * 2,
            (names[i & ~1], names[i | 1]),
            (names[i], names[last - i]),
        )
        video, audio = (own, alike, other)[i % 3]
        lines.append(f"{video},{audio},non-sounding")
    write_lines(folder / "vggss_test_plus_silent.csv", ["video,audio,label", *lines])
    return folder


def write_flickr(folder: Path, boxes_px: dict[str, list[list[list[int]]]]) -> Path:
    """Write lists and, for each picture, the XML of its annotators' boxes; the format is described.

    The tags beside `bbox` are ours.
    """
    (folder / "xml").mkdir(parents=True)
    for name, annotators in boxes_px.items():
        text = "".join(
            "<annotator>" + "<id>7</id>" + "".join(map(_bbox, boxes)) + "</annotator>"
            for boxes in annotators
        )
        (folder / "xml" / f"{name}.xml").write_text(f"<annotation>{text}</annotation>")
    names = list(boxes_px)
    (folder / "flickr_test.csv").write_text("\n".join(f"{name},3" for name in names))
    turned = zip(names, [*names[1:], names[0]], strict=True)
    lines = [f"{video},{audio},non-sounding" for video, audio in turned]
    write_lines(folder / "flickr_test_plus_silent.csv", ["video,audio,label", *lines])
    return folder


def _bbox(box: list[int]) -> str:
    x1, y1, x2, y2 = box
    corners = f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
    return f"<bbox><name>object</name>{corners}</bbox>"
