"""What commands make and recipes read unless told otherwise: each default that several need, once.

They stand here because messages that name a command leave out what is the default, and because
nothing heavy is imported here.
"""

from typing import Final

SPECTROGRAM = "257x276"
"""A name of `stages.front_ends.FRONT_ENDS`."""
AUDIO_SECONDS = 10.0
"""Sound kept around a frame."""
DECODER = "pyav"
FRAME: Final = "middle"
"""The frame that is kept of a clip: in its middle, or with `keyframe` the key frame nearest."""
KEY_FRAME: Final = "keyframe"

VISUAL_TEACHER = "detr-r50"
AUDIO_TEACHER = "panns-wavegram"
IMAGE_ENCODER = "imagenet-resnet18"
"""Compares frames."""
AUDIO_ENCODER = "vggsound-resnet18"
"""Compares sounds."""
NUM_NEIGHBORS = 1000
"""Senocak et al. 2023."""
NUM_CLUSTERS = 11
Part = tuple[int, int]
"""(i, n): every n-th shard, from the i-th; i counts from 0."""
WHOLE: Part = (0, 1)
"""One process does all."""

PROBES = 64
"""Lists that an approximate search for neighbours looks through."""

MIN_RECALL = 0.9
"""The share of exact neighbours that it has to find."""
