"""What the module of a teacher offers, and how it is found by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from numpy.typing import NDArray

from ...cache.schema import OBJECTS
from ...errors import UsageError
from ...weights import WeightFile, Weights

Network = Callable[[NDArray[Any]], dict[str, NDArray[Any]]]
"""A built teacher: a batch of prepared inputs, stacked, to its columns by name, `(batch, ...)`."""

MODALITIES = ("visual", "audio")
_ENCODER = "-encoder"


class Teacher(Protocol):
    """A module in `visual/` or `audio/`. It imports torch only inside `build`.

    Each of its names is an attribute of the module; there is nothing to register.
    """

    @property
    def VERSION(self) -> int:
        """Raised when the same weights give other values than before."""

    @property
    def READS(self) -> Literal["frame", "waveform"]:
        """What of a clip it takes; waveforms come from the audio shards, at 32 kHz."""

    @property
    def COLUMNS(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """Name to (dtype, shape of one row); `value` is the feature itself."""

    @property
    def PARAMS(self) -> Mapping[str, Any]:
        """What else determines the values, for the shard's header."""

    @property
    def FILES(self) -> tuple[WeightFile, ...]:
        """Pretrained files it is built from."""

    @property
    def prepare(self) -> Callable[..., NDArray[Any]]:
        """Make one clip's input: of `(frame)`, or of `(waveform int16, frame_sample)`.

        Every clip gives the same shape and dtype, so that a batch is a stack.
        """

    @property
    def build(self) -> Callable[[Weights, str], Network]:
        """Load the weights and return the network on a device.

        Raises:
            MissingDependencyError: If the files are not this network's.
        """


def choices(modality: str) -> list[str]:
    """Return the names of the teachers of a modality, or of `objects`, without importing any."""
    files = (Path(__file__).parent / modality).glob("[a-z]*.py")
    return sorted(file.stem.replace("_", "-") for file in files)


def modality_of(name: str) -> str:
    """Return whether a teacher is `visual` or `audio`.

    Raises:
        UsageError: If there is no such teacher; the message names those there are.
    """
    for modality in MODALITIES:
        if name in choices(modality):
            return modality
    known = "; ".join(f"{modality}: {', '.join(choices(modality))}" for modality in MODALITIES)
    raise UsageError(f"no teacher is called {name!r} ({known})")


def networks() -> list[str]:
    """Return the names that `--weights` may speak of: the networks of all teachers."""
    kinds = (*MODALITIES, OBJECTS)
    return sorted({network_of(name) for kind in kinds for name in choices(kind)})


def load_teacher(name: str, kind: str = "") -> Teacher:
    """Import a teacher's module.

    Args:
        name: For example `detr-r50`.
        kind: What it is wanted for; `objects` has a folder of its own.

    Raises:
        UsageError: If there is no such teacher.
    """
    if kind == OBJECTS and name not in choices(OBJECTS):
        raise UsageError(f"{name!r} gives no object map: one of {', '.join(choices(OBJECTS))}")
    folder = OBJECTS if kind == OBJECTS else modality_of(name)
    return cast(Teacher, import_module(f".{folder}.{name.replace('-', '_')}", __package__))


def encoder_of(name: str) -> str:
    """Return the teacher that gives the encoder's output of a network, `detr-r50-encoder`."""
    return name + _ENCODER


def network_of(name: str) -> str:
    """Return the network a teacher is an output of; `--weights` speaks of that, `detr-r50`."""
    return name.removesuffix(_ENCODER)
