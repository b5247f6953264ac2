"""`avpipe cluster`: the sounds are embedded where they are not yet, then clustered."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..cache.store import Cache
from ..errors import UsageError
from ..stages.neighbors.cluster import cluster
from ..stages.neighbors.vectors import id_set
from ..stages.teachers.protocol import choices
from .id_lists import hold_out_notices, read_ids, read_ids_to_take
from .run_encoder import is_run
from .teachers import TeacherSettings, embed_source, todo_notices
from .watch import watch_stages


@dataclass(frozen=True)
class ClusterSettings:
    """What `cluster` is told about the clusters."""

    k: int = 11
    seed: int = 0
    ids: Path | None = None
    hold_out: Path | None = None


def check_encoder(name: str) -> None:
    """Check that sounds can be compared by an encoder; a run is looked for later.

    Raises:
        UsageError: Naming those that can.
    """
    if not is_run(name) and name not in choices("audio"):
        known = ", ".join([*choices("audio"), "run:RUN"])
        raise UsageError(f"--encoder {name}: no audio teacher is called so: one of {known}")


def cluster_sounds(settings: TeacherSettings, wanted: ClusterSettings) -> dict[str, Any]:
    """Embed the sounds where that is not done yet, cluster them; return `avpipe.cluster/1`.

    A teacher that has hints in the cache already serves with those.

    Raises:
        Errors as `stages.embed.embed` and `stages.cluster.cluster` do.
    """
    started = time.monotonic()
    (encoder,) = settings.names()
    cache = Cache(settings.cache)
    ids, hold_out = read_ids_to_take(wanted.ids), read_ids(wanted.hold_out) or []
    id_set(cache, ids, hold_out)  # a list of other clips is told before hours of work
    with watch_stages() as progress:
        embedded = embed_source(cache, encoder, settings, settings.device, progress)
        found = cluster(
            cache,
            encoder,
            wanted.k,
            seed=wanted.seed,
            ids=ids,
            hold_out=hold_out,
            overwrite=settings.overwrite,
            progress=progress,
        )
    seconds = time.monotonic() - started
    return {
        "schema": "avpipe.cluster/1",
        "stage": found.stage,
        "k": wanted.k,
        "seed": wanted.seed,
        "clusters": [asdict(one) for one in found.clusters],
        "purity": found.purity,
        "purity_shuffled": found.purity_shuffled,
        "embedded": embedded.done,
        "done": found.done,
        "skipped": found.skipped,
        "failed": 0,
        "failed_total": 0,
        "weights": embedded.weights,
        "seconds": round(seconds, 3),
        "per_second": round(found.done / seconds, 3) if found.done else 0.0,
        "notices": [
            *hold_out_notices(wanted.hold_out, hold_out, cache.ids),
            *settings.leak_notices(hold_out),
            *todo_notices(settings.cache),
            *found.notices,
        ],
    }
