"""Which networks a command runs, by their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...cache.schema import RUN_ENCODER, RUN_REGIONS
from ...cache.state import extracted_shards
from ...errors import UsageError
from ...stages.teachers.protocol import (
    at_size,
    choices,
    encoder_of,
    load_teacher,
    network_of,
    without_size,
)
from ...weights import check_specs, require
from .run_encoder import is_run, run_encoder_name

NONE = "none"


def teacher_of(modality: str, name: str) -> list[str]:
    """Return the teacher that an option names, if it names one.

    Args:
        modality: `visual` or `audio`.
        name: A teacher, `run:RUN`, or `none`.

    Raises:
        UsageError: It is no teacher of this modality.
    """
    if name == NONE:
        return []
    if is_run(name):
        return [run_encoder_name(name, RUN_ENCODER if modality == "audio" else RUN_REGIONS)]
    if without_size(name) not in choices(modality):
        known = ", ".join([*choices(modality), NONE])
        raise UsageError(f"{name!r} is no {modality} teacher: one of {known}")
    return [name]


def encoders_of(visual: str, audio: str) -> list[str]:
    """Return what compares frames and sounds, as two options name it.

    Raises:
        UsageError: One is no teacher of its modality, or both are none.
    """
    return require_some([*teacher_of("visual", visual), *teacher_of("audio", audio)])


def with_output(name: str, output: str, size: int | None) -> str:
    """Return what a visual teacher is called where its encoder or another size is wanted.

    Args:
        name: The teacher.
        output: Which output is the hint, `backbone` or `encoder`.
        size: Side in px of the frames that it sees; None for its own.

    Raises:
        UsageError: It has no such output, or sees no frames of this size.
    """
    if output == "encoder":
        if encoder_of(name) not in choices("visual"):
            raise UsageError(f"--visual-hint {output}: {name} has no such output")
        name = encoder_of(name)
    return name if size is None else at_size(name, size)


def require_some(names: list[str]) -> list[str]:
    """Return the networks.

    Raises:
        UsageError: There are none.
    """
    if not names:
        raise UsageError("nothing to do: both teachers are none")
    return names


def require_weights(cache: Path, names: Sequence[str], specs: Sequence[str]) -> None:
    """Fetch what the networks of a run lack before the first of them runs.

    Args:
        cache: Folder; where nothing is extracted nothing is fetched.
        names: Teachers.
        specs: What `--weights` says.

    Raises:
        UsageError: The weights are for another network.
        MissingDependencyError: A file is missing.
    """
    check_specs(specs, {network_of(name) for name in names})
    if extracted_shards(cache):
        require({network_of(name): load_teacher(name).FILES for name in names}, specs)
