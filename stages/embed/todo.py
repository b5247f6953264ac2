"""Planning of `embed`: which shards each teacher has to do, told from 4 KiB headers alone."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...advice import advice
from ...cache.schema import AUDIO, EXTRACT, HINTS, OBJECTS, Header, params_difference, shard_path
from ...cache.shard import read_header
from ...cache.state import (
    WHOLE,
    Part,
    audio_of,
    extracted_shards,
    is_dropped,
    of_part,
    shard_numbers,
)
from ...errors import CacheCorruptError, InputError
from ...weights import PRETRAINED, RANDOM, Weights, check_specs, resolve
from ..teachers import FLOAT32, Precision
from ..teachers.protocol import Teacher, load_teacher, network_of

Given = Mapping[str, tuple[Teacher, Weights]]
"""Networks that no module defines, the encoders of runs, by name, with their weights."""

_SHA256_DIGITS = 64
_DIGEST_DIGITS = 12


@dataclass(frozen=True)
class EmbedPlan:
    """What one teacher has to do.

    Attributes:
        stage: Folder it fills, for example `hints/detr-r50`.
        teacher: Its module.
        weights: Its weights.
        todo: Shards to make, with the clips of each.
        skipped: Clips done before.
        precision: What it computes in on a CPU.
    """

    stage: str
    teacher: Teacher
    weights: Weights
    todo: dict[int, int]
    skipped: int
    precision: Precision = FLOAT32

    @property
    def params(self) -> dict[str, Any]:
        """What else determines the values, for the shards' headers; the default is not said."""
        return params_of(self.teacher, self.precision)

    @property
    def num_clips(self) -> int:
        """Clips to do."""
        return sum(self.todo.values())


def params_of(teacher: Teacher, precision: Precision) -> dict[str, Any]:
    """Return what determines a teacher's values beside its weights."""
    return {**teacher.PARAMS, **({} if precision == FLOAT32 else {"precision": precision})}


def plan_embed(
    cache: Path,
    kind: str,
    names: Sequence[str],
    *,
    objects: Sequence[str] = (),
    specs: Sequence[str] = (PRETRAINED,),
    overwrite: bool = False,
    given: Given = MappingProxyType({}),
    precision: Precision = FLOAT32,
    shards: Collection[int] | None = None,
    part: Part = WHOLE,
) -> list[EmbedPlan]:
    """Find the weights of each teacher and the shards it has to do, from 4 KiB headers alone.

    Raises:
        Errors as `embed` does.
    """
    wanted = [*((kind, name) for name in names), *((OBJECTS, name) for name in objects)]
    check_specs(specs, {network_of(name) for _, name in wanted})
    teachers = {
        f"{kind}/{name}": given[name][0] if name in given else load_teacher(name, kind)
        for kind, name in wanted
    }
    extracted = extracted_shards(cache)
    wanted_shards = extracted if shards is None else extracted.intersection(shards)
    if not wanted_shards:
        raise InputError(f"{cache} has no extracted clips; run {advice('extract', cache)}")
    numbers = of_part(wanted_shards, part)
    for stage, teacher in teachers.items():
        if not shard_numbers(cache, stage).issuperset(numbers):
            _require_sound(cache, stage, teacher)  # before weights are fetched in vain
    plans = []
    for stage, teacher in teachers.items():
        name = stage.rpartition("/")[2]
        weights = (
            given[name][1] if name in given else resolve(network_of(name), teacher.FILES, specs)
        )
        plans.append(_plan(cache, stage, teacher, weights, precision, numbers, overwrite))
    return plans


def _plan(
    cache: Path,
    stage: str,
    teacher: Teacher,
    weights: Weights,
    precision: Precision,
    numbers: list[int],
    overwrite: bool,
) -> EmbedPlan:
    have = shard_numbers(cache, stage)
    dropped = {AUDIO} if is_dropped(cache, AUDIO) else set()
    todo, skipped = {}, 0
    params = params_of(teacher, precision)
    for number in numbers:
        extract = read_header(shard_path(cache, EXTRACT, number))
        if number in have:
            path = shard_path(cache, stage, number)
            found = read_header(path)
            agrees = agree(path, found, teacher.VERSION, params, weights.digest, overwrite)
            inputs = _inputs(cache, extract, teacher, dropped)
            if agrees and {k: v for k, v in found.inputs.items() if k not in dropped} == inputs:
                skipped += found.done
                continue
        _require_sound(cache, stage, teacher)
        todo[number] = extract.done
    return EmbedPlan(stage, teacher, weights, todo, skipped, precision)


def _require_sound(cache: Path, stage: str, teacher: Teacher) -> None:
    """Check that what a stage lacks can be made.

    Raises:
        InputError: It is made from the sound, which was dropped.
    """
    if teacher.READS == "waveform" and is_dropped(cache, AUDIO):
        raise InputError(
            f"{stage} needs the sound and {cache / AUDIO} was dropped; run "
            f"{advice('extract --overwrite', cache)} to decode it again"
        )


def _inputs(
    cache: Path, extract: Header, teacher: Teacher, dropped: Collection[str]
) -> dict[str, str]:
    """Return what a shard is made from; its parts of `extract` and, where it listens, `audio`."""
    inputs = {EXTRACT: extract.sha256}
    if teacher.READS == "waveform" and AUDIO not in dropped:
        inputs[AUDIO] = audio_of(cache, extract).sha256
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
        ways = [*_as_before(name, old), "another --cache", made_again(path, found)]
        raise CacheCorruptError(
            f"{path} was made with {name} {_short(old)}, this run asks for {_short(new)}: give "
            f"{', or '.join(ways)} to make it again"
        )
    return difference is None


def _short(value: Any) -> str:
    """Write a value; a digest by the digits that `status` and the summaries show."""
    text = "none" if value is None else str(value)
    return text[:_DIGEST_DIGITS] if len(text) == _SHA256_DIGITS else text


def _as_before(name: str, old: Any) -> list[str]:
    """Say which option asks for what is there, if there is one."""
    if name in ("k", "seed"):
        return [f"--{name} {old}"]
    if name == "precision":
        return [f"--precision {old or FLOAT32}"]
    if name != "weights":
        return []
    random = str(old).startswith(RANDOM)
    return ["--weights random" if random else "--weights with the files it was made with"]


def made_again(path: Path, found: Header) -> str:
    """Say what replaces a stage; hints are replaced by no command but their own.

    Args:
        path: A shard of it.
        found: The shard's header.
    """
    kind, _, name = found.stage.partition("/")
    if kind != HINTS:
        return "--overwrite"
    chosen = ["--visual", "none", "--audio", name]
    if AUDIO not in found.inputs:
        chosen = ["--visual", name, "--audio", "none"]
    words = ["avpipe", "embed-teachers", *chosen, "--overwrite", "--cache", str(path.parents[2])]
    return f"run `{shlex.join(words)}`"
