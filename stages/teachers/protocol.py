"""What the module of a teacher offers, and how it is found by its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from numpy.typing import NDArray

from ...cache.schema import OBJECTS, RUN_ENCODER, RUN_REGIONS
from ...cache.schema import Cells as Cells  # what files of this folder declare
from ...errors import UsageError
from ...weights import WeightFile, Weights

Network = Callable[[NDArray[Any]], dict[str, NDArray[Any]]]
"""A built teacher: a batch of prepared inputs, stacked, to its columns by name, `(batch, ...)`."""

MODALITIES = ("visual", "audio")

_ENCODER = "-encoder"
_SIZED = re.compile(r"(.+)-([1-9]\d*)")


class Teacher(Protocol):
    """A module in `visual/` or `audio/`. It imports torch only inside `build`.

    Each of its names is an attribute of the module; there is nothing to register. What gives a map
    says in `CELLS`, one of `Cells`, where its cells lie. What sees frames at several sizes has a
    function `at_size(size_px)` that returns it at another than its own; what can be built from
    another file than `FILES` too names that in `OTHER_FILES`.
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


@dataclass(frozen=True)
class SizedTeacher:
    """A teacher at another size than its module's own; the attributes are those of `Teacher`."""

    VERSION: int
    READS: Literal["frame"]
    COLUMNS: Mapping[str, tuple[str, tuple[int, ...]]]
    PARAMS: Mapping[str, Any]
    FILES: tuple[WeightFile, ...]
    CELLS: Cells
    prepare: Callable[..., NDArray[Any]]
    build: Callable[[Weights, str], Network]


def at_size(name: str, size_px: int) -> str:
    """Return the name of a teacher that sees frames at a size, `mobilenet-v2-448`.

    Raises:
        UsageError: It sees one size alone, or cannot see this one.
    """
    if size_px == load_teacher(name).PARAMS.get("image_size"):
        return name
    sized = f"{name}-{size_px}"
    load_teacher(sized)
    return sized


def without_size(name: str) -> str:
    """Return the teacher that a name with a size speaks of, `mobilenet-v2`; others as they are."""
    return _split(name)[0]


def _split(name: str) -> tuple[str, int | None]:
    found, known = _SIZED.fullmatch(name), choices("visual")
    if found and name not in known and found[1] in known:
        return found[1], int(found[2])
    return name, None


def modality_of(name: str) -> str:
    """Return whether a teacher is `visual` or `audio`; so are a run's regions and its sounds.

    Raises:
        UsageError: If there is no such teacher; the message names those there are.
    """
    if name.startswith(RUN_ENCODER):
        return "audio"
    if name.startswith(RUN_REGIONS):
        return "visual"
    for modality in MODALITIES:
        if without_size(name) in choices(modality):
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
        name: For example `detr-r50`, or with a size `mobilenet-v2-448`.
        kind: What it is wanted for; `objects` has a folder of its own.

    Raises:
        UsageError: If there is no such teacher, or not of that size.
    """
    if kind == OBJECTS and name not in choices(OBJECTS):
        raise UsageError(f"{name!r} gives no object map: one of {', '.join(choices(OBJECTS))}")
    folder = OBJECTS if kind == OBJECTS else modality_of(name)
    plain, size_px = _split(name)
    module = import_module(f".{folder}.{plain.replace('-', '_')}", __package__)
    if size_px is None:
        return cast(Teacher, module)
    if not hasattr(module, "at_size"):
        can = [one for one in choices("visual") if hasattr(load_teacher(one), "at_size")]
        raise UsageError(
            f"{plain} sees frames at its own size only, not at {size_px} px; {', '.join(can)} can"
        )
    return cast(Teacher, module.at_size(size_px))


def encoder_of(name: str) -> str:
    """Return the teacher that gives the encoder's output of a network, `detr-r50-encoder`."""
    return name + _ENCODER


def network_of(name: str) -> str:
    """Return the network a teacher is an output of; `--weights` speaks of that, `detr-r50`."""
    return without_size(name).removesuffix(_ENCODER)
