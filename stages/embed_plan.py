"""Planning of `embed`: which shards each teacher has to do, told from 4 KiB headers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cache.schema import AUDIO, EXTRACT, Header, params_difference, shard_path
from ..cache.shard import read_header
from ..cache.state import extracted_shards, is_dropped, shard_numbers
from ..errors import CacheCorruptError, InputError
from ..weights import PRETRAINED, Weights, check_specs, resolve
from .teachers.protocol import Teacher, load_teacher


@dataclass(frozen=True)
class EmbedPlan:
    """What one teacher has to do.

    Attributes:
        stage: Folder it fills, for example `hints/detr-r50`.
        teacher: Its module.
        weights: Its weights.
        todo: Shards to make, with the clips of each.
        skipped: Clips done before.
    """

    stage: str
    teacher: Teacher
    weights: Weights
    todo: dict[int, int]
    skipped: int

    @property
    def num_clips(self) -> int:
        """Clips to do."""
        return sum(self.todo.values())


def plan_embed(
    cache: Path,
    kind: str,
    names: Sequence[str],
    *,
    specs: Sequence[str] = (PRETRAINED,),
    overwrite: bool = False,
) -> list[EmbedPlan]:
    """Find the weights of each teacher and the shards it has to do, from 4 KiB headers alone.

    Raises:
        Errors as `embed` does.
    """
    check_specs(specs, names)
    teachers = {name: load_teacher(name) for name in names}
    numbers = sorted(extracted_shards(cache))
    if not numbers:
        raise InputError(f"{cache} has no extracted clips; run `avpipe extract --cache {cache}`")
    if is_dropped(cache, AUDIO) and any(teacher.READS != "frame" for teacher in teachers.values()):
        deaf = next(name for name, teacher in teachers.items() if teacher.READS != "frame")
        raise InputError(
            f"{deaf} needs the sound and {cache / AUDIO} was dropped; run `avpipe extract --cache "
            f"{cache} --overwrite` to decode it again"
        )
    plans = []
    for name, teacher in teachers.items():
        weights = resolve(name, teacher.FILES, specs)
        plans.append(_plan(cache, f"{kind}/{name}", teacher, weights, numbers, overwrite))
    return plans


def _plan(
    cache: Path,
    stage: str,
    teacher: Teacher,
    weights: Weights,
    numbers: list[int],
    overwrite: bool,
) -> EmbedPlan:
    have = shard_numbers(cache, stage)
    todo, skipped = {}, 0
    for number in numbers:
        extract = read_header(shard_path(cache, EXTRACT, number))
        if number in have:
            path = shard_path(cache, stage, number)
            found = read_header(path)
            agrees = agree(path, found, teacher.VERSION, teacher.PARAMS, weights.digest, overwrite)
            inputs = _inputs(cache, number, extract, teacher)
            if agrees and found.inputs == inputs:
                skipped += found.done
                continue
        todo[number] = extract.done
    return EmbedPlan(stage, teacher, weights, todo, skipped)


def _inputs(cache: Path, number: int, extract: Header, teacher: Teacher) -> dict[str, str]:
    """Return what a shard is made from; its parts of `extract` and, where it listens, `audio`."""
    inputs = {EXTRACT: extract.sha256}
    if teacher.READS == "waveform":
        inputs[AUDIO] = read_header(shard_path(cache, AUDIO, number)).sha256
    return inputs


def agree(
    path: Path,
    found: Header,
    stage_version: int,
    params: Mapping[str, Any],
    weights: str | None,
    overwrite: bool,
) -> bool:
    """Whether a shard was made with these parameters and weights.

    Raises:
        CacheCorruptError: If it was not, unless `overwrite`: the parameter and both values.
    """
    difference = params_difference(
        {**found.params, "stage_version": found.stage_version, "weights": found.weights},
        {**params, "stage_version": stage_version, "weights": weights},
    )
    if difference and not overwrite:
        name, old, new = difference
        raise CacheCorruptError(
            f"{path} was made with {name} {old}, this run asks for {new}: give {name} {old}, or "
            "another --cache, or --overwrite to make it again"
        )
    return difference is None
