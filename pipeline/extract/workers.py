"""What every worker process keeps from task to task: its decoder child."""

from __future__ import annotations

from ...stages.features import FeatureParams
from ...stages.workers.decoder import DecoderChild

_children: dict[tuple[FeatureParams, float], DecoderChild] = {}
"""This process's decoder child, kept from shard to shard."""


def decoder_child(params: FeatureParams, timeout_s: float) -> DecoderChild:
    """Return this process's decoder child for these parameters, made if need be."""
    key = (params, timeout_s)
    if key not in _children:
        while _children:
            _children.popitem()[1].close()
        _children[key] = DecoderChild(params, timeout_s=timeout_s)
    return _children[key]
