"""Shards of neighbours: what they hold, whose they are, how a search resumes."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from avpipe.cache.schema import id_set_digest, shard_path
from avpipe.cache.shard import read_header
from avpipe.cache.store import Cache
from avpipe.cache.verify import verify
from avpipe.errors import CacheCorruptError, InputError
from avpipe.pipeline.commands.knn import knn as knn_command
from avpipe.pipeline.networks import source
from avpipe.stages.neighbors import candidates, cosine
from avpipe.stages.neighbors.cosine import knn
from avpipe.stages.neighbors.run import NeighborSummary, neighbors
from cache_factory import make_cache
from called import document_of
from embedded_cache import contents, embedded, stored
from hypothesis import assume, given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    cache = make_cache(tmp_path_factory.mktemp("knn") / "cache", 22, shard_clips=6)
    values = np.random.default_rng(6).standard_normal((22, 12)).astype(np.float32)
    embedded(cache, values, "embeddings/imagenet-resnet18")
    return SimpleNamespace(path=cache.path, values=values)


@pytest.fixture
def cache(template: SimpleNamespace, tmp_path: Path) -> Cache:
    shutil.copytree(template.path, tmp_path / "cache")
    return Cache(tmp_path / "cache")


@pytest.fixture(scope="module")
def reused(template: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all examples of a property."""
    path = tmp_path_factory.mktemp("reused") / "cache"
    shutil.copytree(template.path, path)
    return path


def test_shards_hold_what_knn_finds(cache: Cache, template: SimpleNamespace) -> None:
    told = []
    summary = neighbors(cache, "imagenet-resnet18", 7, progress=lambda *call: told.append(call))
    assert summary.stage == f"neighbors/image-imagenet-resnet18@{id_set_digest(cache.ids)[:8]}"
    assert (summary.done, summary.skipped, summary.k, summary.notices) == (22, 0, 7, ())
    assert [call[1:] for call in told] == [(n, 22) for n in (0, 6, 12, 18, 22)]
    row, rows, similarity = stored(cache, summary.stage)
    index, expected = knn(template.values, 7)
    assert row.tolist() == list(range(22))
    assert (rows.dtype, similarity.dtype) == (np.int32, np.float16)
    np.testing.assert_array_equal(rows, index)
    np.testing.assert_allclose(similarity, expected, atol=1e-3)
    header = cache.shard(summary.stage, 0).header
    assert header.weights == "w"
    assert verify(cache.path).ok
    assert neighbors(cache, "imagenet-resnet18", 7).skipped == 22


def test_a_killed_search_resumes_with_the_same_bytes(cache: Cache) -> None:
    folder = cache.path / neighbors(cache, "imagenet-resnet18", 7).stage
    before = contents(folder)
    for name in list(before)[::2]:
        (folder / name).unlink()

    class Killed(Exception):
        pass

    def die(stage: str, done: int, total: int) -> None:
        told.append((done, total))
        if len(told) == 2:
            raise Killed

    told: list[tuple[int, int]] = []
    with pytest.raises(Killed):
        neighbors(cache, "imagenet-resnet18", 7, progress=die)
    assert len(contents(folder)) == 3
    summary = neighbors(cache, "imagenet-resnet18", 7, progress=lambda *call: told.append(call[1:]))
    assert (summary.done, summary.skipped) == (6, 16)
    assert told == [(10, 22), (16, 22), (16, 22), (22, 22)]
    assert contents(folder) == before


def test_clips_held_out_are_neither_asked_nor_found(
    cache: Cache, template: SimpleNamespace
) -> None:
    hold_out = ["clip000", "clip007", "clip021", "elsewhere"]
    summary = neighbors(cache, "imagenet-resnet18", 30, hold_out=hold_out)
    row, rows, _ = stored(cache, summary.stage)
    kept = [i for i in range(22) if i not in (0, 7, 21)]
    assert row.tolist() == kept
    assert rows.shape == (19, 18)
    assert not np.isin(rows, [0, 7, 21]).any()
    np.testing.assert_array_equal(rows, np.array(kept)[knn(template.values[kept], 18)[0]])
    assert summary.notices == ("k 30 is clipped to 18, the number of other clips in the set",)


@settings(max_examples=25, deadline=None)
@given(
    held_out=st.sets(st.integers(0, 21), max_size=20),
    listed=st.none() | st.sets(st.integers(0, 21), min_size=1),
    k=st.integers(1, 25),
)
def test_a_clip_held_out_can_never_be_a_neighbour(
    reused: Path, held_out: set[int], listed: set[int] | None, k: int
) -> None:
    allowed = (set(range(22)) if listed is None else listed) - held_out
    assume(len(allowed) > 1)
    cache = Cache(reused)
    ids = None if listed is None else [cache.ids[row] for row in listed]
    hold_out = [cache.ids[row] for row in held_out]
    summary = neighbors(cache, "imagenet-resnet18", k, ids=ids, hold_out=hold_out, overwrite=True)
    row, rows, _ = stored(Cache(reused), summary.stage)
    assert set(row.tolist()) == allowed
    assert set(rows.ravel().tolist()) <= allowed
    assert not (rows == row[:, None]).any()
    assert rows.shape[1] == min(k, len(allowed) - 1)


def test_copies_and_silence_have_defined_neighbours(
    cache: Cache, template: SimpleNamespace
) -> None:
    values = template.values.copy()
    values[[4, 9, 15]] = values[2]
    values[[5, 6]] = 0
    embedded(cache, values, "embeddings/imagenet-resnet18")
    _, rows, similarity = stored(cache, neighbors(Cache(cache.path), "imagenet-resnet18", 21).stage)
    assert rows[9, :3].tolist() == [2, 4, 15]
    assert similarity[9, :3].tolist() == [1, 1, 1]
    assert rows[5].tolist() == [row for row in range(22) if row != 5]
    assert not similarity[5].any()


def test_small_shards_are_searched_together(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """One block of queries is several shards, of which some may be there already."""
    asked = []
    search = cosine._search

    def note(*call: Any) -> cosine.NearestRows:
        asked.append(call[-1])
        return search(*call)

    monkeypatch.setattr(cosine, "_search", note)
    monkeypatch.setattr("avpipe.stages.neighbors.run.QUERY_BLOCK", 10)
    folder = cache.path / neighbors(cache, "imagenet-resnet18", 7).stage
    assert sorted(asked, key=lambda block: block.start) == [range(12), range(12, 22)]
    before = contents(folder)
    (folder / "0000001.h5").unlink()
    asked.clear()
    assert neighbors(cache, "imagenet-resnet18", 7).done == 6
    assert asked == [range(12)]
    assert contents(folder) == before


def test_pytorch_writes_what_faiss_writes(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = neighbors(cache, "imagenet-resnet18", 7).stage
    by_faiss = stored(cache, stage)
    shutil.rmtree(cache.path / stage)
    monkeypatch.setattr(
        cosine, "candidates", lambda base, device: candidates.by_torch(base, device[:3])
    )
    assert neighbors(cache, "imagenet-resnet18", 7, device="cpu:0").stage == stage
    by_torch = stored(Cache(cache.path), stage)
    np.testing.assert_array_equal(by_torch[1], by_faiss[1])
    np.testing.assert_allclose(by_torch[2], by_faiss[2], atol=1e-3)
    assert "torch" in read_header(shard_path(cache.path, stage, 0)).versions


def test_an_id_set_has_its_own_folder(cache: Cache) -> None:
    few = ["clip001", "clip002", "clip003", "clip020", "nowhere"]
    summary = neighbors(cache, "imagenet-resnet18", 2, ids=few)
    assert summary.done == 4
    assert summary.notices == ("1 of 5 listed ids are not in the cache, nowhere first",)
    assert summary.stage.endswith(f"@{id_set_digest(few[:4])[:8]}")
    assert id_set_digest(few) == id_set_digest(reversed(few))
    row, rows, _ = stored(cache, summary.stage)
    assert row.tolist() == [1, 2, 3, 20]
    assert np.isin(rows, [1, 2, 3, 20]).all()
    assert neighbors(cache, "imagenet-resnet18", 2).stage != summary.stage
    again = neighbors(cache, "imagenet-resnet18", 2, ids=few)
    assert (again.done, again.skipped) == (0, 4)
    with pytest.raises(InputError, match="clip001 is the only finished clip of the set"):
        neighbors(cache, "imagenet-resnet18", 2, ids=few[:1])
    with pytest.raises(InputError, match=r"no listed clip is finished in .*cache, nowhere first"):
        neighbors(cache, "imagenet-resnet18", 2, ids=["nowhere"])


def test_an_empty_set_is_told_with_its_reason(cache: Cache) -> None:
    with pytest.raises(InputError, match="--hold-out leaves no clip: it holds all 22 of the set"):
        neighbors(cache, "imagenet-resnet18", 2, hold_out=cache.ids)
    with pytest.raises(InputError, match="--hold-out leaves no clip: it holds all 2 of the set"):
        neighbors(cache, "imagenet-resnet18", 2, ids=cache.ids[:2], hold_out=cache.ids[:3])
    with pytest.raises(InputError, match=r"1 of 1 listed ids .*, '\\x00\\udcff' first"):
        neighbors(cache, "imagenet-resnet18", 2, ids=["\0\udcff"])


def test_another_k_or_other_weights_are_refused(cache: Cache, template: SimpleNamespace) -> None:
    stage = neighbors(cache, "imagenet-resnet18", 5).stage
    with pytest.raises(CacheCorruptError, match=r"made with k 5, this run asks for 6.*--overwrite"):
        neighbors(cache, "imagenet-resnet18", 6)
    assert neighbors(cache, "imagenet-resnet18", 6, overwrite=True).done == 22
    embedded(cache, -template.values, "embeddings/imagenet-resnet18")
    cache = Cache(cache.path)
    assert neighbors(cache, "imagenet-resnet18", 6).done == 22  # new embeddings: made again
    embedded(cache, template.values, "embeddings/imagenet-resnet18", weights="random:0")
    cache = Cache(cache.path)
    with pytest.raises(CacheCorruptError, match=r"made with weights w, .* asks for random:0"):
        neighbors(cache, "imagenet-resnet18", 6)
    assert neighbors(cache, "imagenet-resnet18", 6, overwrite=True).stage == stage


def test_missing_and_bad_embeddings_are_named(cache: Cache, template: SimpleNamespace) -> None:
    with pytest.raises(InputError, match="embeddings/vggsound-resnet18 is not complete"):
        neighbors(cache, "vggsound-resnet18", 5)
    bad = template.values.copy()
    bad[8, 3] = np.nan
    embedded(cache, bad, "embeddings/imagenet-resnet18")
    with pytest.raises(InputError, match=r"clip clip008 \(row 8\)"):
        neighbors(Cache(cache.path), "imagenet-resnet18", 5)


def test_a_teachers_hint_serves_too_its_map_averaged(
    cache: Cache, template: SimpleNamespace
) -> None:
    maps = np.random.default_rng(8).standard_normal((22, 12, 7, 7)).astype(np.float16)
    embedded(cache, maps, "hints/detr-r50")
    summary = neighbors(cache, "detr-r50", 5)
    assert summary.stage.startswith("neighbors/image-detr-r50@")
    expected = knn(maps.astype(np.float32).mean(axis=(2, 3)), 5)[0]
    np.testing.assert_array_equal(stored(cache, summary.stage)[1], expected)


def test_the_command_searches_on_its_device(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `auto` comes to, once for the encoders and the search."""
    asked = []

    def note(*_: object, device: str, **__: object) -> NeighborSummary:
        asked.append(device)
        return NeighborSummary("neighbors/x", 5, 22, 0, 1.0)

    monkeypatch.setattr(source, "embed", lambda *_, device, **__: asked.append(device) or DONE)
    monkeypatch.setattr("avpipe.stages.neighbors.run.neighbors", note)
    monkeypatch.setattr("avpipe.devices.usable_device", {"auto": "cuda"}.get)
    document_of(knn_command, cache=cache.path, k=5, audio="none", weights=["random"])
    assert asked == ["cuda", "cuda"]


DONE = SimpleNamespace(done=0, weights={})
