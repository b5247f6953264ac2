"""What is done, failed, missing and stale in a cache, from the manifest and 4 KiB headers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..advice import advice
from ..cache.manifest import Manifest
from ..cache.schema import EXTRACT, NEIGHBORS, Header, shard_path
from ..cache.stale import stale_shards
from ..cache.state import (
    WHOLE,
    Part,
    extracted_shards,
    headers,
    is_dropped,
    of_part,
    require_cache,
    require_manifest_of,
    require_shard_of,
    shard_numbers,
    stages,
)
from ..cache.store import Cache
from .id_lists import read_ids_to_take


@dataclass(frozen=True)
class ClipCounts:
    """Clips of a cache; a retried clip counts once, where its newest row stands."""

    total: int
    done: int
    failures: dict[str, int]

    @property
    def todo(self) -> int:
        """Clips without a result yet."""
        return self.total - self.done - sum(self.failures.values())


def count_clips(cache: Path, manifest: Manifest | None = None, part: Part = WHOLE) -> ClipCounts:
    """Count the clips of a cache without reading more than headers and retry lines.

    Args:
        cache: Cache folder.
        manifest: Its manifest, if that was read already.
        part: Which shards to count the clips of.
    """
    manifest = Manifest(cache) if manifest is None else manifest.refreshed()
    require_manifest_of(cache, manifest)
    done, failures, extracted = 0, Counter[str](), set[int]()
    for header in headers(cache, EXTRACT, part):
        extracted.add(header.shard)
        if header.shard < manifest.num_shards:  # else planned since the manifest was read
            path = shard_path(cache, EXTRACT, header.shard)
            require_shard_of(manifest, header.shard, header, path)
        done += header.done
        failures.update(header.failed)
    shards = of_part(range(manifest.num_shards), part)
    total = sum(len(manifest.shard_rows(shard)) for shard in shards)
    for row, retry in manifest.retries.items():
        shard = manifest.shard_of(row)
        total -= shard % part[1] == part[0]
        if shard in extracted:  # else its failure is not among those counted
            failures[retry["was"]] -= 1
    return ClipCounts(total, done, dict(+failures))


def todo_notices(cache: Path) -> list[str]:
    """Say when clips are not extracted yet: what was made lacks them."""
    todo = count_clips(cache).todo
    silent = len(shard_numbers(cache, EXTRACT) - extracted_shards(cache))
    command = advice("extract", cache)
    told = {
        f"{todo} clips are not extracted yet: run {command}, then this command again": todo,
        f"the sounds of {silent} shards are missing: run {command}, then this again": silent,
    }
    return [line for line, count in told.items() if count]


def status(cache: Path, ids: Path | None = None, part: Part = WHOLE) -> dict[str, Any]:
    """Return the `avpipe.status/1` document.

    Args:
        cache: Cache folder.
        ids: A list of ids (one a line); its coverage is added as `ids`.
        part: Which shards to count, of neighbours all: blocks of clips divide those.

    Raises:
        InputError: If there is no cache, or no such list.
        CacheCorruptError: If the manifest or a header is damaged.
    """
    require_cache(cache)
    clips = count_clips(cache, part=part)
    extracted = {header.shard: header for header in headers(cache, EXTRACT)}
    document: dict[str, Any] = {
        "schema": "avpipe.status/1",
        "clips": {
            "total": clips.total,
            "done": clips.done,
            "failed": sum(clips.failures.values()),
            "todo": clips.todo,
        },
        "failures": clips.failures,
        "stages": [
            _stage(cache, name, extracted, WHOLE if name.startswith(f"{NEIGHBORS}/") else part)
            for name in stages(cache)
        ],
    }
    if part != WHOLE:
        document["part"] = f"{part[0]}/{part[1]}"
    if ids is not None:
        document["ids"] = _coverage(cache, ids)
    return document


def _stage(cache: Path, name: str, extracted: Mapping[int, Header], part: Part) -> dict[str, Any]:
    """Describe a stage; `missing` are the clips of extracted shards that it has no shard for."""
    found = {header.shard: header for header in headers(cache, name, part)}
    dropped, stale = is_dropped(cache, name), found.keys() & stale_shards(cache, name)
    missing = (extracted[shard].done for shard in of_part(extracted.keys() - found, part))
    return {
        "name": name,
        "done": sum(header.done for header in found.values()),
        "stale": sum(found[shard].done for shard in stale),
        "missing": 0 if dropped else sum(missing),
        "dropped": dropped,
        "bytes": sum(shard_path(cache, name, shard).stat().st_size for shard in found),
        "params": next(iter(found.values())).params if found else {},
        "weights": sorted({header.weights for header in found.values() if header.weights}),
        "mixed": _mixed(
            [
                {**header.params, **header.versions, "stage_version": header.stage_version}
                for header in found.values()
            ]
        ),
    }


def _mixed(made_with: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the parameters and versions that are not the same in all shards."""
    names = sorted({name for one in made_with for name in one})
    values = {name: sorted({str(one.get(name)) for one in made_with}) for name in names}
    return {name: found for name, found in values.items() if len(found) > 1}


def _coverage(cache: Path, ids: Path) -> dict[str, Any]:
    """Count how much of an official list the cache holds."""
    wanted = dict.fromkeys(read_ids_to_take(ids) or [])
    opened = Cache(cache)
    done = set(opened.ids)
    failed = {failure.id: failure.reason for failure in opened.failures()}
    planned = {line["id"] for _, line in opened.manifest.lines()}
    by_reason = Counter(failed[i] for i in wanted if i in failed and i not in done)
    num_done = sum(i in done for i in wanted)
    absent = [i for i in wanted if i not in planned]
    return {
        "listed": len(wanted),
        "done": num_done,
        "failed": dict(by_reason),
        "todo": len(wanted) - num_done - by_reason.total() - len(absent),
        "absent": len(absent),
        "first_absent": absent[:10],
    }
