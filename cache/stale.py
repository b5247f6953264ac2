"""Which shards were made from what has changed since."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from .schema import CLUSTERS, EXTRACT, NEIGHBORS, Header, digest
from .state import headers, shard_numbers


def digest_of_shards(source: Iterable[Header]) -> str:
    """Return how a stage that is made from many shards of another at once records them."""
    return digest([[header.shard, header.sha256] for header in source])


def stale_shards(cache: Path, stage: str) -> set[int]:
    """Return the shards of a stage that its command would make again: their inputs have changed.

    A shard is stale too if what it was made from is. What is gone (dropped sound, dropped vectors)
    is not known to have changed.

    Raises:
        CacheCorruptError: If a header is damaged.
    """
    made = {header.shard: header for header in headers(cache, stage)}
    used = {shard for shard, header in made.items() if header.done}
    is_of_set = stage.split("/")[0] in (NEIGHBORS, CLUSTERS)
    stale = set[int]()
    for name in {name for header in made.values() for name in header.inputs}:
        source = {header.shard: header for header in headers(cache, name)}
        if not source:  # `ids` and `manifest` are no stages
            continue
        if is_of_set:
            stale |= _changed_sets(name, made, source, shard_numbers(cache, EXTRACT))
        else:
            stale |= _changed_shards(name, made, source)
        follow = used & stale_shards(cache, name)
        stale |= used if is_of_set and follow else follow
    return stale


def _changed_shards(
    name: str, made: Mapping[int, Header], source: Mapping[int, Header]
) -> set[int]:
    """Return the shards whose one input shard is another by now."""
    return {
        shard
        for shard in made.keys() & source.keys()
        if made[shard].inputs.get(name, source[shard].sha256) != source[shard].sha256
    }


def _changed_sets(
    name: str, made: Mapping[int, Header], source: Mapping[int, Header], extracted: Collection[int]
) -> set[int]:
    """Return the shards of neighbours or clusters whose set's vectors are others by now."""
    used = [shard for shard, header in made.items() if header.done]
    if not set(used) <= set(source):
        return set()
    now = digest_of_shards(source[shard] for shard in used)
    others = {shard for shard, header in made.items() if header.inputs.get(name, now) != now}
    if set(extracted) <= set(made):
        return others
    # The search was killed, or the cache has grown: which shards the set has is not known.
    weights = {source[shard].weights for shard in used}
    return {shard for shard in others if weights != {made[shard].weights}}
