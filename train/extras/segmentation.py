"""mIoU and F-measure of masks, as AVSBench's test code takes them (Zhou et al., ECCV 2022).

A frame whose mask is empty is right where nothing is predicted: its IoU is the share of the pixels
left out. F (beta^2 = 0.3) skips it. Where the F of one threshold is taken from differs: AVSBench's
code takes the best threshold of every test batch, so the figure depends on the batch size; ours
takes one threshold for all frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..score.binarize import Bools, Floats, Maps, Threshold, order_statistic
from ..score.blends import minmax
from ..score.protocols import Protocol
from . import groups_of, number_groups

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..score.scoring import Measured
    from ..truths.annotated import AnnotatedItem

BETA_SQUARED = 0.3
NUM_THRESHOLDS = 255
_EPS_IOU, _EPS_F = np.float64(1e-7), np.float64(1e-20)


@cache
def f_thresholds() -> NDArray[np.float32]:
    """Return 255 thresholds from 0 to 1 - 1e-10 as torch counts them, in float32: the last is 1."""
    import torch

    thresholds: NDArray[np.float32] = torch.linspace(0, 1 - 1e-10, NUM_THRESHOLDS).numpy()
    return thresholds


def mask_iou(predicted: Bools, truth: Bools) -> Floats:
    """Return each frame's IoU: #(both) / (#(either) + 1e-7).

    Args:
        predicted: `(n, H, W)`.
        truth: `(n, H, W)`; where it is empty, #(neither) / (H W + 1e-7).

    Returns:
        `(n,)`.
    """
    hit = (predicted & truth).sum((1, 2))
    either = (predicted | truth).sum((1, 2))
    size = truth[0].size if len(truth) else 1
    bare = ~truth.any((1, 2))
    hit, either = np.where(bare, size - predicted.sum((1, 2)), hit), np.where(bare, size, either)
    return np.asarray(hit / (either + _EPS_IOU), np.float64)


def f_curves(scores: Maps, truth: Bools) -> Floats:
    """Return each frame's F at `f_thresholds`, `(n, 255)`; NaN where its truth is empty.

    Args:
        scores: `(n, H, W)` in [0, 1]; a pixel is predicted at or above the threshold, NaN never.
        truth: `(n, H, W)`.
    """
    levels = f_thresholds()
    curves = np.full((len(scores), NUM_THRESHOLDS), np.nan)
    for curve, score, mask in zip(curves, scores, truth, strict=True):
        if not mask.any():
            continue
        known = ~np.isnan(score)
        reached = np.searchsorted(levels, score[known].astype(np.float32), "right")

        def at_or_above(places: NDArray[Any]) -> NDArray[Any]:
            counts = np.bincount(places, minlength=NUM_THRESHOLDS + 1)
            return np.cumsum(counts[::-1])[::-1][1:]

        hit = at_or_above(reached[mask[known]])
        precision = hit / (at_or_above(reached) + _EPS_F)
        recall = hit / (mask.sum() + _EPS_F)
        below = BETA_SQUARED * precision + recall
        above = (1 + BETA_SQUARED) * precision * recall
        curve[:] = np.divide(above, below, out=np.zeros(len(above)), where=below > 0)
    return curves


def f_measure(curves: Floats, batches: Sequence[object] | None = None) -> float:
    """Return the F of the best threshold.

    Args:
        curves: `(n, 255)` of `f_curves`; frames without a truth do not count.
        batches: `(n,)` the test batch of each frame, as AVSBench's code takes them: the best
            threshold of each, then the mean; a batch without any truth counts as 0. None: the best
            threshold of the mean over all frames.

    Returns:
        NaN where there is no frame.
    """
    if batches is None:
        whole = curves[~np.isnan(curves).any(1)]
        return float(whole.mean(0).max()) if len(whole) else float("nan")
    numbers, num = number_groups(batches)
    best = []
    for number in range(num):
        one = f_measure(curves[numbers == number])
        best.append(0.0 if np.isnan(one) else one)
    return float(np.mean(best)) if best else float("nan")


def predicted_pixels(values: NDArray[Any], num_true: int, rules: Protocol) -> dict[str, Bools]:
    """Return what each rule predicts of one map, by the suffix of its scores.

    Args:
        values: `(N,)`; NaN is never predicted.
        num_true: Pixels of the truth, for the adaptive rule.
        rules: The protocol.
    """
    known = ~np.isnan(values)
    filled = np.where(known, values, -np.inf)
    num, peak = len(values), filled.max()
    low = values[known].min(initial=np.inf)
    beats: Callable[[Any, Any], Any] = np.greater if rules.strict else np.greater_equal
    stays = rules.peak_stays and (peak >= 0 or peak > filled.min())
    levels = {
        Threshold.MEDIAN: order_statistic(filled, min(int(num * (1 - rules.predicted)), num - 1)),
        Threshold.ADAPTIVE: order_statistic(filled, num - num_true) if num_true else np.inf,
        Threshold.FIXED: 0.5 if rules.scale == "unit" else low + (peak - low) / 2,
    }
    return {
        "" if rule is rules.headline else f"_{rule}": known
        & (filled >= level if stays and level == peak else beats(filled, level))
        for rule, level in levels.items()
    }


@dataclass(frozen=True)
class Segmentation:
    """mIoU by each rule, and F.

    Attributes:
        masks: Where the truths of cIoU are boxes, the mask of each source, already drawn.
        draw: Makes `(n, 224, 224)` of masks.
    """

    masks: Mapping[str, NDArray[Any]] | None = None
    draw: Callable[[Sequence[NDArray[Any]]], Bools] | None = None
    joint: bool = False

    def look(
        self, maps: Maps, truths: NDArray[Any], items: Sequence[AnnotatedItem], rules: Protocol
    ) -> Floats:
        """Keep three IoUs and the F of 255 thresholds; see `Extra.look`."""
        if self.masks is not None and self.draw is not None:
            truths = self.draw([self.masks[item.source or item.pair.video] for item in items])
        masks = np.asarray(truths, bool)
        ious = []
        for one, mask in zip(maps, masks, strict=True):
            found = predicted_pixels(one.ravel(), int(mask.sum()), rules)
            chosen = np.stack(list(found.values()))
            ious.append(
                mask_iou(chosen[:, None], np.broadcast_to(mask.ravel(), chosen.shape)[:, None])
            )
        return np.hstack([np.stack(ious), f_curves(self._scores(maps, rules), masks)])

    def scores(
        self, rows: Floats, measured: Measured, items: Sequence[AnnotatedItem], rules: Protocol
    ) -> dict[str, float]:
        """Return `miou` by rule, and `f_measure`; see `Extra.scores`."""
        suffixes = predicted_pixels(np.zeros(1), 1, rules)
        found = {f"miou{suffix}": float(rows[:, i].mean()) for i, suffix in enumerate(suffixes)}
        batches = None
        if rules.f_batch:
            numbers, _ = number_groups(groups_of(items))
            batches = (numbers // rules.f_batch).tolist()
        return {**found, "f_measure": f_measure(rows[:, len(suffixes) :], batches)}

    @staticmethod
    def _scores(maps: Maps, rules: Protocol) -> Maps:
        """Bring maps to [0, 1]: each by its own extremes, or by the logistic function."""
        if not rules.f_batch:
            return minmax(maps)
        logits = 2 * maps - 1 if rules.scale == "unit" else maps
        return np.asarray(1 / (1 + np.exp(-logits.astype(np.float64))))
