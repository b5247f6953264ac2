"""`--part I/N` of every stage: the parts make what one process makes, byte for byte."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avpipe.cache.store import Cache
from avpipe.cache.verify import verify
from avpipe.errors import CacheCorruptError, InputError
from avpipe.pipeline.commands.cluster import cluster as cluster_command
from avpipe.pipeline.commands.cluster import cluster_text
from avpipe.pipeline.commands.embed_teachers import embed_teachers
from avpipe.pipeline.commands.knn import knn
from avpipe.pipeline.commands.status import status_text
from avpipe.pipeline.networks import source
from avpipe.pipeline.tally import status
from avpipe.stages.embed.run import EmbedSummary
from avpipe.stages.neighbors import cluster as stage
from avpipe.stages.neighbors import run
from avpipe.stages.neighbors import searched as searched_by
from cache_factory import add_values, make_cache
from called import document_of
from fake_clips import file_bytes
from numpy.typing import NDArray

PARTS = ("2/3", "0/3", "1/3")
AUDIO = "vggsound-resnet18"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(run, "QUERY_BLOCK", 4)  # several blocks of few clips
    return make_cache(tmp_path / "cache", 15, shard_clips=3).path


@pytest.fixture
def embedded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with vectors; nothing is embedded."""
    monkeypatch.setattr(source, "embed_source", lambda *_, **__: EmbedSummary(0, 0, 0.0))
    add_values(Cache(cache), f"embeddings/{AUDIO}", (8,))
    return cache


def ask(command: Any, cache: Path, part: str | None = None, **options: Any) -> dict[str, Any]:
    return document_of(command, cache=cache, part=part, **options)


def both(command: Any, cache: Path, **options: Any) -> list[dict[str, Any]]:
    """Run a command whole and, over a copy, in parts; compare, and return what the parts said."""
    parts = cache.with_name("in-parts")
    shutil.copytree(cache, parts)
    whole = ask(command, cache, **options)
    said = [ask(command, parts, part, **options) for part in PARTS]
    assert file_bytes(parts) == file_bytes(cache)
    assert sum(one["done"] for one in said) == whole["done"] > 0
    assert all(0 < one["done"] < whole["done"] for one in said)
    again = [ask(command, parts, part, **options) for part in PARTS]
    assert [one["skipped"] for one in again] == [one["done"] for one in said]
    assert verify(parts).ok
    return said


def test_teachers_in_parts(cache: Path) -> None:
    teachers = {"visual": "none", "audio": "efficientat-mn04", "weights": ["random"]}
    planned = [ask(embed_teachers, cache, part, dry_run=True, **teachers) for part in PARTS]
    said = both(embed_teachers, cache, device="cpu", **teachers)
    assert [one["stages"][0]["clips"] for one in planned] == [one["done"] for one in said]


def test_neighbors_in_parts(embedded: Path) -> None:
    both(knn, embedded, k=4, image="none", device="cpu", weights=["random"])


def test_each_block_of_neighbors_is_searched_by_one_part(
    embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[range] = []
    nearest = searched_by.nearest

    def watched(unit: Any, num: int, k: int, blocks: list[range], **more: Any) -> Any:
        searched.extend(blocks)
        return nearest(unit, num, k, blocks, **more)

    monkeypatch.setattr(searched_by, "nearest", watched)
    for part in PARTS:
        ask(knn, embedded, part, k=4, image="none", device="cpu", weights=["random"])
    assert sorted(row for block in searched for row in block) == list(range(15))


def test_clusters_in_parts(embedded: Path) -> None:
    said = both(cluster_command, embedded, k=3)
    assert [bool(one["clusters"]) for one in said] == [False, False, True]
    assert "4 of 5 shards are not labelled yet: run the other parts" in cluster_text(said[0])


def test_neighbors_wait_for_the_vectors_of_other_parts(cache: Path) -> None:
    embeds = {"image": "none", "audio": "efficientat-mn04", "weights": ["random"], "k": 4}
    for part, other in (("0/2", "1/2"), ("1/2", "")):
        if other:
            with pytest.raises(
                InputError, match=rf"\(shard 1\); it is made by --part {other}: run"
            ):
                ask(knn, cache, part, device="cpu", **embeds)
        else:
            assert ask(knn, cache, part, device="cpu", **embeds)["embedded"] == 6
    assert ask(knn, cache, "0/2", device="cpu", **embeds)["embedded"] == 0


def turned(unit: NDArray[np.float32], k: int, seed: int) -> NDArray[np.float32]:
    """Stand in for the k-means of a machine that rounds in another way."""
    return -unit[:k]


def test_a_part_takes_the_centroids_that_are_there(
    embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(cluster_command, embedded, "0/2", k=3)
    monkeypatch.setattr(stage, "spherical_kmeans", turned)
    assert len(ask(cluster_command, embedded, "1/2", k=3)["clusters"]) == 3


def test_a_part_takes_the_centroids_of_one_that_was_faster(
    embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kmeans = stage.spherical_kmeans

    def slow(unit: NDArray[np.float32], k: int, seed: int) -> NDArray[np.float32]:
        monkeypatch.setattr(stage, "spherical_kmeans", kmeans)
        ask(cluster_command, embedded, "1/2", k=3)
        return turned(unit, k, seed)

    monkeypatch.setattr(stage, "spherical_kmeans", slow)
    assert len(ask(cluster_command, embedded, "0/2", k=3)["clusters"]) == 3


def test_parts_of_other_centroids_are_refused(
    embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(cluster_command, embedded, "0/2", k=3)
    monkeypatch.setattr(stage, "spherical_kmeans", turned)
    monkeypatch.setattr(stage, "_published", lambda *_: None)  # both have looked before
    line = r"0000001\.h5 has other centroids than 0000000\.h5: .*drop clusters/vggsound"
    with pytest.raises(CacheCorruptError, match=line):
        ask(cluster_command, embedded, "1/2", k=3)


def test_status_counts_a_part(embedded: Path) -> None:
    (embedded / f"embeddings/{AUDIO}/0000004.h5").unlink()
    whole = status(embedded)
    parts = [status(embedded, part=(number, 3)) for number in range(3)]
    for key in ("total", "done", "failed", "todo"):
        assert sum(one["clips"][key] for one in parts) == whole["clips"][key]
    for number, stage_ in enumerate(whole["stages"]):
        for key in ("done", "missing", "bytes"):
            assert sum(one["stages"][number][key] for one in parts) == stage_[key]
    assert [one["stages"][-1]["missing"] for one in parts] == [0, 3, 0]
    assert status_text(parts[1]).startswith("part 1/3: 6 clips: 6 done")
