"""The vectors that neighbours and clusters are made from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from ...cache.schema import HINTS
from ...cache.state import WHOLE, Part
from ...cache.store import Cache
from ...stages.embed.run import EmbedProgress, EmbedSummary, embed
from ...stages.embed.todo import Given
from ...stages.neighbors.vectors import source_kind
from ...stages.teachers.protocol import network_of
from .fan_out import FanOut


def embed_source(
    cache: Cache,
    name: str,
    *,
    specs: Sequence[str],
    device: str,
    batch_size: int,
    overwrite: bool,
    given: Given,
    shards: Collection[int] | None = None,
    part: Part = WHOLE,
    fan_out: FanOut | None = None,
    progress: EmbedProgress,
) -> EmbedSummary:
    """Make what is missing of an encoder's vectors: of its hints, if it is a teacher already.

    Args:
        cache: Where the clips are.
        name: A teacher, or a name of `given`.
        specs: What `--weights` says, of other networks too.
        device: Where the network runs.
        batch_size: Clips at a time.
        overwrite: Speaks of embeddings; hints may be what a student is learning from.
        given: Networks that no module defines.
        shards: Do no others; None: all that are extracted.
        part: Which of them to do.
        fan_out: Who runs the network; None: this process, as it does those of `given`.
        progress: As `embed` takes it.

    Raises:
        Errors as `stages.embed.run.embed` does.
    """
    kind = source_kind(cache.path, name)
    own_specs = [spec for spec in specs if _is_for(spec, network_of(name))]
    return embed(
        cache,
        kind,
        [name],
        specs=own_specs,
        device=device,
        batch_size=batch_size,
        overwrite=overwrite and kind != HINTS,
        given=given,
        shards=shards,
        part=part,
        elsewhere=partial(fan_out.embed, own_specs) if fan_out else None,
        progress=progress,
    )


def _is_for(spec: str, network: str) -> bool:
    """Whether a `--weights` speaks of this network, or of all."""
    other, sign, _ = spec.partition("=")
    return not sign or other == network or "/" in other
