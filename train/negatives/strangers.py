"""Sounds of other clips, of no class that a picture shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...errors import InputError
from ..benchmarks import Pair


def strangers(
    pictures: Sequence[Pair],
    classes: Sequence[frozenset[str]],
    sounds: Mapping[str, frozenset[str]],
    seed: int,
    draw: int = 0,
) -> list[Pair]:
    """Give each picture the sound of another clip, drawn anew for each.

    Args:
        pictures: The pairs whose frames are taken.
        classes: What each of these frames shows; empty where that is not known: then any other
            clip's sound may come.
        sounds: Classes of each sound that may be borrowed.
        seed: Of the draws.
        draw: Which of several.

    Raises:
        InputError: A picture shows all classes there are.
    """
    rng = np.random.default_rng([seed, draw])
    names = sorted(sounds)
    found = []
    for (video, audio), shown in zip(pictures, classes, strict=True):
        turned = (names[i] for i in rng.permutation(len(names)).tolist())
        foreign = (n for n in turned if n != audio and video not in Pair(video, n).sounds)
        other = next((n for n in foreign if sounds[n].isdisjoint(shown)), None)
        if other is None:
            raise InputError(
                f"offscreen: no clip at hand sounds of another class than {video} shows; test more "
                "classes, or leave offscreen out of --negatives"
            )
        found.append(Pair(video, other))
    return found
