"""What workers of `extract` keep from task to task, and what they must have for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ...cache.schema import AUDIO, EXTRACT, MANIFEST
from ...stages.extract import PACKAGES
from ...stages.features import FeatureParams
from ...stages.workers.decoder import DecoderChild
from ...stages.workers.fitness import Fitness, Software
from .settings import ExtractSettings


class _Children(threading.local):
    """A thread's decoder child: two threads that talk to one would mix up their clips."""

    def __init__(self) -> None:
        self.of: dict[tuple[FeatureParams, float], DecoderChild] = {}


_children = _Children()


def decoder_child(params: FeatureParams, timeout_s: float) -> DecoderChild:
    """Return this thread's decoder child for these parameters, made if need be."""
    key = (params, timeout_s)
    if key not in _children.of:
        close_decoder_child()
        _children.of[key] = DecoderChild(params, timeout_s=timeout_s)
    return _children.of[key]


def close_decoder_child() -> None:
    """End this thread's decoder child."""
    while _children.of:
        _children.of.popitem()[1].close()


def fitness_of(settings: ExtractSettings, params: FeatureParams, folders: Sequence[str]) -> Fitness:
    """Say what workers on other hosts must have: this decoder, these folders, the cache."""
    return Fitness.of_this_process(
        Software(PACKAGES, params.decoder),
        settings.cache,
        folders=tuple(folders),
        stages=(MANIFEST, EXTRACT, AUDIO),
    )
