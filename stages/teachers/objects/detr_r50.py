"""Where DETR-R50 sees objects: a map of 7 x 7 cells, to be blended with what is heard.

Yaghoubi et al. (2023, OG-AVC-DETR) blend "feature channels whose confidence is at least 0.3". We
read that as the queries of the decoder: the attention that each pays to the frame's cells in the
last layer, averaged over heads, then over the queries whose best class other than "no object" has
probability 0.3 or more. In a frame where none has, the query that comes nearest stands alone:
what a lower threshold would let through first. `num_objects` is 0 there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ....weights import Weights
from ..nets.detr import CELLS, FILES, build_network, prepare
from ..nets.detr import PARAMS as SEEN
from ..protocol import Network

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "CELLS", "COLUMNS", "FILES", "PARAMS", "READS", "VERSION", "build", "object_map", "prepare",
]  # fmt: skip

THRESHOLD = 0.3

VERSION = 1
READS = "frame"
PARAMS = {**SEEN, "threshold": THRESHOLD, "fallback": "best-query"}
COLUMNS = {
    "value": ("<f2", (7, 7)),
    "num_objects": ("<i2", ()),
    "best_score": ("<f4", ()),
}


def build(weights: Weights, device: str) -> Network:
    """Return `(B, 224, 224, 3)` uint8 -> `value` `(B, 7, 7)` float16 that sums to 1, and more.

    `num_objects` `(B,)` counts the queries in it (0: the fallback), `best_score` `(B,)` is the
    highest probability of any.

    Raises:
        MissingDependencyError: If the folder does not hold a DETR without timm.
    """
    return build_network(_output, weights, device)


def _output(model: Any, frames: Tensor) -> dict[str, Tensor]:
    seen = model(frames, output_attentions=True)
    return object_map(seen.logits.float(), seen.cross_attentions[-1].float())


def object_map(logits: Tensor, attention: Tensor) -> dict[str, Tensor]:
    """Average the attention of the queries that see an object.

    Args:
        logits: `(B, queries, classes + 1)`, "no object" last.
        attention: `(B, heads, queries, 49)`, each row a distribution over cells.

    Returns:
        The columns.
    """
    scores = logits.softmax(dim=2)[..., :-1].amax(dim=2)
    best, best_query = scores.max(dim=1)
    passes = scores >= THRESHOLD
    num_objects = passes.sum(dim=1)
    chosen = passes.scatter(1, best_query[:, None], True).float()
    share = chosen / chosen.sum(dim=1, keepdim=True)
    maps = share[:, None] @ attention.mean(dim=1)  # (B, 1, 49)
    return {"value": maps.reshape(-1, 7, 7).half(), "num_objects": num_objects, "best_score": best}
