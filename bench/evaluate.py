"""Stored maps to figures, beside a loop that treats one sample at a time as the peers' test code.

Both read the same file of small maps and the same boxes and end with the same figures of SLAVC's
protocol; the loop computes nothing else, avpipe also the adaptive and the fixed rule.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from avpipe.machine import granted_cores
from avpipe.train.metrics import AUC_THRESHOLDS
from avpipe.train.score.blends import localization_maps
from avpipe.train.score.protocols import load_protocol
from avpipe.train.score.scoring import Measured, measure, measure_all, summary
from avpipe.train.truths.boxes import union_masks
from common import parser, ratio, report, table
from numpy.typing import NDArray
from torch.nn import functional

SIDE_PX = 224
SHARE_NEGATIVE = 0.2
WANTED = 10
LOOP = "one by one (slavc)"
Figures = dict[str, float]


def make_files(folder: Path, num: int, cells: int) -> None:
    """Stored maps with a bump somewhere, and boxes, some of them around the bump."""
    rng = np.random.default_rng(0)
    grid = np.arange(cells)
    place = rng.uniform(0, cells, (2, num, 1))
    rows, columns = np.exp(-((grid - place) ** 2) / 4)
    maps = 0.5 * rows[:, :, None] * columns[:, None, :] + rng.normal(0, 0.1, (num, cells, cells))
    centre = (place[::-1, :, 0].T + rng.normal(0, 1, (num, 2))) / cells
    half = rng.uniform(0.1, 0.5, (num, 2))
    boxes = np.concatenate([centre - half, centre + half], 1).clip(0, 1)
    negative = rng.random(num) < SHARE_NEGATIVE
    np.savez(folder / "maps.npz", maps=maps.astype(np.float32))
    listed = [[] if none else [box] for none, box in zip(negative, boxes.tolist(), strict=True)]
    (folder / "boxes.json").write_text(json.dumps(listed))


def read_files(folder: Path) -> tuple[NDArray[np.float32], list[Any]]:
    """Maps `(n, h, w)` and the boxes of each pair."""
    with np.load(folder / "maps.npz") as stored:
        return stored["maps"], json.loads((folder / "boxes.json").read_text())


def with_avpipe(folder: Path, name: str, threads: int) -> Figures:
    """What `evaluate` does with stored maps."""
    similarity, boxes = read_files(folder)
    protocol = load_protocol(name)
    cells = similarity.shape[1]
    centres_px = np.arange(cells) * SIDE_PX / cells
    num_boxes = np.array([len(own) for own in boxes])

    def look(part: slice) -> Measured:
        maps = localization_maps(
            similarity[part], protocol, centres_px=centres_px, image_px=SIDE_PX
        )
        return measure(maps, union_masks(boxes[part]), num_boxes[part], protocol)

    measured = measure_all(len(boxes), look, threads=threads)
    return summary(measured, np.ones(len(boxes), bool), protocol)


def one_by_one(folder: Path) -> Figures:
    """The same as SLAVC's test code does it (`test.py`, `utils.py`): one sample at a time."""
    similarity, boxes = read_files(folder)
    confidence, cious, num_boxes = [], [], []
    for one, own in zip(similarity, boxes, strict=True):
        cells = torch.from_numpy(one)[None, None]
        filled = functional.interpolate(cells, (SIDE_PX, SIDE_PX), mode="bicubic",
                                        align_corners=True)[0, 0].numpy()  # fmt: skip
        scaled = (filled + 1) / 2
        ranked = np.sort(scaled.ravel())
        confidence.append(ranked[-(len(ranked) // 4) :].mean())
        stretched = (scaled - scaled.min()) / (scaled.max() - scaled.min())
        threshold = np.sort(stretched.ravel())[len(ranked) // 2]
        predicted = np.zeros((SIDE_PX, SIDE_PX))
        predicted[stretched >= threshold] = 1
        truth = np.zeros((SIDE_PX, SIDE_PX))
        for box in own:
            x1, y1, x2, y2 = (np.clip(box, 0, 1) * SIDE_PX).astype(int)
            truth[y1:y2, x1:x2] = 1
        whole = np.sum(truth) + np.sum(predicted * (truth == 0))
        cious.append(np.sum(predicted * truth) / whole)
        num_boxes.append(len(own))
    return _loop_figures(np.array(confidence), np.array(cious), np.array(num_boxes) > 0)


def _loop_figures(
    confidence: NDArray[Any], cious: NDArray[Any], positive: NDArray[np.bool_]
) -> Figures:
    """LocAcc, AUC, AP and max-F1 from what the loop gathered, threshold by threshold."""
    figures: Figures = {"loc_acc": float(np.mean(cious[positive] >= 0.5))}
    rates = [np.mean(cious[positive] >= threshold) for threshold in AUC_THRESHOLDS]
    figures["auc"] = float(np.trapezoid(rates, AUC_THRESHOLDS))
    ranked = np.sort(confidence)
    for suffix, at in (("", 0.5), ("_75", 0.75)):

        def counts(threshold: float, at: float = at) -> tuple[float, float]:
            shown = confidence >= threshold
            found = np.sum(shown & positive & (cious >= at))
            missed = np.sum(~shown & positive)
            precision = found / np.sum(shown) if shown.any() else 1.0
            return precision, found / (found + missed) if found + missed else 1.0

        points = [counts(t) for t in ranked[:-1][::-1][:: max(1, len(ranked) // 200)]]
        figures[f"ap{suffix}"] = sum(
            max(p for p, _ in points[i:]) * (points[i + 1][1] - points[i][1])
            for i in range(len(points) - 1)
        )
        coarse = [counts(t) for t in ranked[:: max(1, len(ranked) // 10)]]
        figures[f"max_f1{suffix}"] = max(2 * p * r / (p + r) if p + r else 0.0 for p, r in coarse)
    return figures


def timed(call: Callable[[Path], Figures], folder: Path) -> tuple[Figures, float, float]:
    """Return what a method finds, its seconds on the clock and those of all its threads."""
    begin, cpu_begin = time.perf_counter(), time.process_time()
    found = call(folder)
    return found, time.perf_counter() - begin, time.process_time() - cpu_begin


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--n", type=int, default=5158, help="pairs; VGG-SS has 5,158 clips")
    options.add_argument("--cells", type=int, default=7, help="side of the stored maps")
    options.add_argument("--threads", type=int, default=granted_cores())
    options.add_argument("--rounds", type=int, default=3, help="rounds, in turn")
    arguments = options.parse_args()
    numbers = sorted({1, arguments.threads})
    methods: dict[str, Callable[[Path], Figures]] = {
        f"avpipe, protocol {name}, threads: {number}": partial(
            with_avpipe, name=name, threads=number
        )
        for name in ("slavc", "avpipe")
        for number in numbers
    }
    methods[LOOP] = one_by_one
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    cpu: dict[str, list[float]] = {name: [] for name in methods}
    figures: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder, arguments.n, arguments.cells)
        for _ in range(arguments.rounds):
            for method, call in methods.items():
                figures[method], wall, busy = timed(call, folder)
                seconds[method].append(wall)
                cpu[method].append(busy)
    ours = next(iter(methods))
    apart = max(abs(figures[ours][key] - value) for key, value in figures[LOOP].items())
    times = {name: (ratio(seconds[LOOP], seconds[name]), ratio(cpu[LOOP], cpu[name]))
             for name in methods}  # fmt: skip
    rows = [
        (name, median(seconds[name]), str(wall), median(cpu[name]), str(busy))
        for name, (wall, busy) in times.items()
    ]
    head = ("from the file to the figures", "seconds", "loop, times", "CPU s", "loop, times")
    text = (
        f"{arguments.n} maps of {arguments.cells} x {arguments.cells} cells, at 224 x 224; "
        f"medians of {arguments.rounds} rounds\n\n"
        + table(head, rows)
        + f"\n\nfigures of the two ways: {apart:.1e} apart at most; wanted: {WANTED} times as fast"
    )
    found = {name: {"seconds": seconds[name], "cpu_seconds": cpu[name]} for name in methods}
    headline = [
        (f"{name}, as fast as the loop", f"{wall} on the clock, {busy} in CPU time", f">= {WANTED}")
        for name, (wall, busy) in times.items()
        if name != LOOP
    ]
    document = {"n": arguments.n, "apart": apart, **found}
    report("evaluate", document, text, as_json=arguments.json, headline=headline)


if __name__ == "__main__":
    main()
