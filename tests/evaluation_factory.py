"""A world whose test clips are those of `cache_factory`, and a recipe that trains in a moment."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

TINY = [
    "image_size=64", "image_resize=64", "width=16", "embed_dim=16", "batch_size=8", "epochs=2",
    "precision=fp32", "ema=0.5",
]  # fmt: skip

SOUNDING, SILENT = [0.1, 0.1, 0.5, 0.5], [0.5, 0.6, 0.9, 0.9]


def write_world(folder: Path) -> Path:
    """Write lists: clips 14 to 21 heard, 22 and 23 unheard, 24 to 27 off-screen, 99 not cached."""
    heard = [f"clip{number:03d}" for number in [*range(14, 22), 99]]
    unheard, offscreen = ["clip022", "clip023"], [f"clip{number:03d}" for number in range(24, 28)]
    lines = ["id,path,label,split,offscreen,held_out,silent"]
    for name in [*heard, *unheard, *offscreen]:
        flags = f"{int(name in offscreen)},{int(name in unheard)}"
        lines.append(f"{name},x.mp4,class{int(name[-3:]) % 4},test,{flags},other")
    positives = [*heard, *unheard]
    write_lines(folder / "labels.csv", lines)
    pairs = [f"{name},{name},non-sounding" for name in offscreen]
    pairs += [f"{heard[i]},{heard[i + 1]},non-sounding" for i in range(3)]
    write_lines(folder / "plus_silent.csv", ["video,audio,label", *pairs])
    swaps = [f"{a},{b},0" for a, b in itertools.pairwise(heard)]
    write_lines(folder / "swapped.csv", ["video,audio,silent", *swaps])
    entries = [{"file": name, "class": "a", "bbox": [SOUNDING]} for name in positives]
    (folder / "vggss.json").write_text(json.dumps(entries))
    entries = [
        {"file": name, "class": "other", "bbox": [SILENT]} for name in [*positives, *offscreen]
    ]
    (folder / "silent_boxes.json").write_text(json.dumps(entries))
    return folder


def write_lines(path: Path, lines: list[str]) -> None:
    """Write a list."""
    path.write_text("\n".join(lines) + "\n")
