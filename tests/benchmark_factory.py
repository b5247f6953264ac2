"""Annotations in the forms that laboratories released, of clips of `cache_factory`'s names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = 224


def write_listed(path: Path, boxes: Mapping[str, Sequence[float]], folder: str = "/mnt/x") -> Path:
    """Write a list of SSL alignment's form: a box, in pixels of 224, for each picture."""
    rows = [
        {
            "image": f"{folder}/visual_frames/{name}.jpg",
            "audio": f"{folder}/audio_wav/{name}.wav",
            "gt_box": list(box),
        }
        for name, box in boxes.items()
    ]
    path.write_text(json.dumps(rows))
    return path


def box_mask(box: Sequence[float], size: tuple[int, int] = (SIZE, SIZE)) -> np.ndarray:
    """Draw a box, x1, y1, x2, y2 in pixels, as a mask of 0 and 255."""
    mask = np.zeros(size, np.uint8)
    x1, y1, x2, y2 = (int(value) for value in box)
    mask[y1:y2, x1:x2] = 255
    return mask


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write a mask as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def write_s4(folder: Path, boxes: Mapping[str, Sequence[float]]) -> Path:
    """Write AVSBench S4's list and masks: of each video five frames with the same box."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["name,start,category,split"]
    for video, box in boxes.items():
        lines.append(f"{video},0,dog,test")
        for number in range(1, 6):
            write_mask(folder / f"gt_masks/test/dog/{video}/{video}_{number}.png", box_mask(box))
    lines.append("other,0,dog,train")
    (folder / "s4_meta_data.csv").write_text("\n".join(lines) + "\n")
    return folder


def write_dsol(path: Path, frames: Mapping[str, Mapping[int, Sequence[float]]]) -> Path:
    """Write a file of DSOL's form: of each frame boxes x, y, width, height by category."""
    entries: dict[str, Any] = {
        name: {
            "bbox": [
                {"box": [0, 0, 1, 1], "normbox": list(box), "category_id": category}
                for category, box in own.items()
            ],
            "wdith": 640,
            "height": 360,
        }
        for name, own in frames.items()
    }
    path.write_text(json.dumps(entries))
    return path
