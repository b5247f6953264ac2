"""Neighbours from a map and by an index: the same bytes, or a recall that is told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from avpipe.cache.store import Cache
from avpipe.errors import CacheCorruptError, CacheUnwritableError, InputError
from avpipe.pipeline.commands.status import status_text
from avpipe.pipeline.tally import status
from avpipe.stages.neighbors import candidates, room
from avpipe.stages.neighbors.approximate import Index, build_index
from avpipe.stages.neighbors.cluster import cluster
from avpipe.stages.neighbors.cosine import nearest
from avpipe.stages.neighbors.run import neighbors
from avpipe.stages.neighbors.searched import Approximate, require_room_for, vectors_for
from avpipe.stages.neighbors.vectors import id_set, vector_source
from cache_factory import make_cache
from embedded_cache import contents, embedded, stored
from numpy.typing import NDArray

NAME = "imagenet-resnet18"


def clustered(num: int, dim: int = 16) -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((12, dim))
    return (centres[rng.integers(0, 12, num)] + rng.standard_normal((num, dim))).astype(np.float32)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    made = make_cache(tmp_path / "cache", 90, shard_clips=16)
    embedded(made, clustered(90), f"embeddings/{NAME}")
    embedded(made, clustered(90), "embeddings/vggsound-resnet18")
    return Cache(made.path)


def test_a_map_gives_the_bytes_of_memory(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = neighbors(cache, NAME, 7).stage
    in_memory = contents(cache.path / stage)
    monkeypatch.setattr(room, "free_memory_bytes", lambda: room.BESIDE_BYTES)
    summary = neighbors(Cache(cache.path), NAME, 7)
    assert summary.skipped == 90
    for path in (cache.path / stage).glob("*"):
        path.unlink()
    summary = neighbors(Cache(cache.path), NAME, 7)
    (mapped,) = (cache.path / "vectors").iterdir()
    assert summary.notices == (f"vectors are read from a map on disk: {mapped}",)
    assert mapped.stat().st_size == 90 * 16 * 4 + 32  # and its sum
    assert contents(cache.path / stage) == in_memory
    assert status(cache.path)["stages"][-1]["name"] == stage  # the map is no stage


def test_an_index_that_looks_everywhere_finds_all(cache: Cache) -> None:
    exact = stored(cache, neighbors(cache, NAME, 7).stage)
    with pytest.raises(CacheCorruptError, match="approximate"):
        neighbors(Cache(cache.path), NAME, 7, approximate=Approximate(1000))
    summary = neighbors(Cache(cache.path), NAME, 7, approximate=Approximate(1000), overwrite=True)
    found = stored(Cache(cache.path), summary.stage)
    # the map is in float16: what is nearer than that may change places
    np.testing.assert_allclose(found[2], exact[2], atol=2e-3)
    assert (found[1] == exact[1]).mean() > 0.9
    assert "1.000 of the exact neighbours are found" in status_text(status(cache.path))
    again = neighbors(Cache(cache.path), NAME, 7, approximate=Approximate(1000))
    assert (again.done, again.skipped) == (0, 90)


def test_recall_is_refused_and_grows_with_probes(cache: Cache) -> None:
    with pytest.raises(InputError, match=r"with --probes 1, less than --min-recall 0\.999"):
        neighbors(cache, NAME, 20, approximate=Approximate(1, 0.999))
    assert not (cache.path / "neighbors").exists()
    summary = neighbors(cache, NAME, 20, approximate=Approximate(1, 0))
    header = cache.shard(summary.stage, 0).header
    assert 0 < header.params["recall"] < 0.999
    assert header.params["probes"] == 1 and header.params["approximate"].endswith("SQ8")


def test_recall_is_the_share_of_exact_neighbours(tmp_path: Path) -> None:
    vectors = clustered(600)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = Index(tmp_path / "v.ivf", vectors)
    rows, cosines = next(index.nearest(10, [np.arange(600)], 4))
    scores = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    np.fill_diagonal(scores, -np.inf)
    exact = np.argsort(-scores, axis=1)[:, :10]
    share = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, exact, strict=True)])
    assert index.recall(10, 4) == pytest.approx(share, abs=1e-3)
    assert 0.3 < share < 1
    assert Index(tmp_path / "v.ivf", vectors).recall(10, 4) == index.recall(10, 4)
    found = rows >= 0
    queries = np.nonzero(found)[0]
    np.testing.assert_allclose(cosines[found], scores[queries, rows[found]], atol=1e-6)
    assert (np.diff(cosines, axis=1)[found[:, 1:]] <= 0).all() and (rows != queries[:1]).any()
    assert not (rows == np.arange(600)[:, None]).any()


@pytest.mark.parametrize("num", [2, 3, 5, 40, 600])
def test_few_clips_make_an_index_without_a_word(
    num: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """FAISS writes warnings of its own past Python; what comes of it, recall says."""
    vectors = clustered(600)[:num]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = Index(tmp_path / "v.ivf", vectors)
    assert index.recall(1, 1000) == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", ['{"k10 probes4": "abc"}', "[1]", "nonsense", '{"k10 pro'])
def test_a_measured_share_that_is_none_is_measured_again(content: str, tmp_path: Path) -> None:
    """It was an internal error of every later search, until somebody found the file."""
    vectors = clustered(600)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = Index(tmp_path / "v.ivf", vectors)
    recall = index.recall(10, 4)
    (tmp_path / "v.json").write_text(content)
    assert index.recall(10, 4) == recall
    assert json.loads((tmp_path / "v.json").read_text()) == {"k10 probes4": recall}


def test_a_torn_index_is_made_again(tmp_path: Path) -> None:
    vectors = clustered(600)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    path = tmp_path / "v.ivf"
    whole = next(Index(path, vectors).nearest(10, [np.arange(600)], 4))
    path.write_bytes(path.read_bytes()[:1000])
    again, nothing = Index(path, vectors).nearest(10, [np.arange(600), range(0)], 4)
    np.testing.assert_array_equal(again[0], whole[0])
    assert nothing[0].shape == nothing[1].shape == (0, 10)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 64
    path.write_bytes(content)


def test_a_map_with_a_flipped_bit_or_without_a_sum_is_made_again(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "free_memory_bytes", lambda: room.BESIDE_BYTES)
    stage = neighbors(cache, NAME, 7).stage
    right = contents(cache.path / stage)
    (mapped,) = (cache.path / "vectors").iterdir()
    whole = mapped.read_bytes()
    older = whole[:-32]
    for damaged in (None, older, whole[:-1], b""):
        if damaged is None:
            flip(mapped)
        else:
            mapped.write_bytes(damaged)
        for path in (cache.path / stage).glob("*"):
            path.unlink()
        neighbors(Cache(cache.path), NAME, 7)
        assert contents(cache.path / stage) == right and mapped.read_bytes() == whole


def test_an_index_with_a_flipped_bit_is_made_again(tmp_path: Path) -> None:
    vectors = clustered(600)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    path = tmp_path / "v.ivf"
    recall, whole = Index(path, vectors).recall(10, 4), path.read_bytes()
    flip(path)
    path.with_suffix(".json").write_text('{"k10 probes4": 0.01}')  # measured of the damaged one
    assert Index(path, vectors).recall(10, 4) == recall
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"k10 probes4": NaN}', '{"k10 probes4": 7}', '{"a": "b"}', "\xff"]
)
def test_a_recall_that_is_none_is_measured_again(content: str, tmp_path: Path) -> None:
    vectors = clustered(600)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = Index(tmp_path / "v.ivf", vectors)
    recall = index.recall(10, 4)
    (tmp_path / "v.json").write_bytes(content.encode("latin-1"))
    assert index.recall(10, 4) == recall


def test_an_index_at_a_path_that_is_not_utf_8(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    vectors = clustered(100)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for _ in range(2):  # made, then read
        assert Index(folder / "v.ivf", vectors).recall(1, 1000) == 1


def test_an_index_on_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def full(path: Path, mode: str = "r", **more: Any) -> Any:
        return opened(Path("/dev/full"), mode, 0) if mode == "wb" else opened(path, mode, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(CacheUnwritableError, match="No space left on device"):
        build_index(clustered(100), tmp_path / "v.ivf")


def test_maps_of_vectors_that_changed_are_removed(cache: Cache) -> None:
    neighbors(cache, NAME, 7, approximate=Approximate(1000))
    before = {path.name for path in (cache.path / "vectors").iterdir()}
    embedded(cache, clustered(90) + 1, f"embeddings/{NAME}")
    neighbors(Cache(cache.path), NAME, 7, approximate=Approximate(1000))
    after = {path.name for path in (cache.path / "vectors").iterdir()}
    assert len(after) == len(before) == 3 and not after & before


def test_rough_vectors_are_searched_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = clustered(300).astype(np.float16)
    whole = next(nearest(vectors.astype(np.float32), 300, 9, [range(300)]))
    monkeypatch.setattr(candidates, "MAPPED_BLOCK", 70)
    for found in (
        next(nearest(vectors, 300, 9, [range(300)])),
        next(nearest(vectors, 300, 9, [np.arange(300)])),
    ):
        np.testing.assert_array_equal(found[0], whole[0])
        np.testing.assert_allclose(found[1], whole[1], atol=1e-6)


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_a_base_that_does_not_fit_a_device_comes_in_blocks(
    monkeypatch: pytest.MonkeyPatch, kind: type[np.floating]
) -> None:
    vectors = clustered(300).astype(kind)
    vectors.flags.writeable = False
    asked = vectors[:40].astype(np.float32)
    monkeypatch.setattr(candidates, "BASE_BLOCK", 64)
    resident = candidates.by_torch(vectors, "cpu", is_resident=True)(asked, 9)
    streamed = candidates.by_torch(vectors, "cpu", is_resident=False)(asked, 9)
    for one, other in zip(resident, streamed, strict=True):
        np.testing.assert_array_equal(one, other)


def test_more_is_asked_at_a_time_where_the_base_is_streamed(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = id_set(cache, None, ())
    vectors = vectors_for(cache, ids, vector_source(cache, NAME, ids), 3, None)
    assert vectors.search(3, "cpu", 90)[1] == vectors.search(3, "cuda", 90)[1] == 1
    monkeypatch.setattr(room, "free_memory_bytes", lambda: room.BESIDE_BYTES)
    assert [vectors.search(3, device, 90)[1] for device in ("cpu", "cuda")] == [1, 16]


def test_what_is_done_needs_no_room(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    neighbors(cache, NAME, 7)
    monkeypatch.setattr(room, "free_memory_bytes", lambda: 0)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    require_room_for(NAME, cache.path, id_set(cache, None, ()), 7, None)
    assert neighbors(Cache(cache.path), NAME, 7).skipped == 90
    with pytest.raises(InputError, match="do not fit"):
        neighbors(Cache(cache.path), NAME, 8, overwrite=True)
    with pytest.raises(InputError, match="do not fit"):
        require_room_for("vggsound-resnet18", cache.path, id_set(cache, None, ()), 7, None)


def test_clusters_of_a_sample_label_all_clips(cache: Cache) -> None:
    name = "vggsound-resnet18"
    whole = cluster(cache, name, 3)
    columns = contents(cache.path / whole.stage)
    assert cluster(Cache(cache.path), name, 3, sample=90).skipped == 90  # no sample: all clips
    with pytest.raises(CacheCorruptError, match="sample"):
        cluster(Cache(cache.path), name, 3, sample=40)
    some = cluster(Cache(cache.path), name, 3, sample=40, overwrite=True)
    assert (some.stage, some.done) == (whole.stage, 90)
    assert cache.shard(some.stage, 0).header.params["sample"] == 40
    assert sum(one.size for one in some.clusters) == 90
    assert contents(cache.path / some.stage) != columns
    with pytest.raises(InputError, match="--sample 3"):
        cluster(Cache(cache.path), name, 3, sample=2)


def test_clusters_that_do_not_fit_name_a_sample(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "free_memory_bytes", lambda: room.BESIDE_BYTES + 50 * 16 * 4)
    with pytest.raises(InputError, match="--sample 25"):
        cluster(cache, "vggsound-resnet18", 3)
    assert cluster(cache, "vggsound-resnet18", 3, sample=25).done == 90
