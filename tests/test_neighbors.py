"""Exact neighbours against numpy, ties and odd vectors included; and the shards that keep them."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from avpipe.cache.schema import EXTRACT, Header, shard_path
from avpipe.cache.shard import read_header
from avpipe.cache.store import Cache
from avpipe.cache.verify import verify
from avpipe.cache.writer import Rows, write_shard
from avpipe.errors import CacheCorruptError, InputError
from avpipe.stages import cosine
from avpipe.stages.neighbors import id_set_digest, knn, neighbors
from cache_factory import make_cache
from numpy.typing import NDArray


def brute_force(embeddings: NDArray[np.floating], barred: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return all cosines in float64, -inf where there may be no neighbour."""
    x = embeddings.astype(np.float64)
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    x = np.divide(x, norm, out=np.zeros_like(x), where=norm > 0)
    cosines = x @ x.T
    cosines[:, barred] = -np.inf
    np.fill_diagonal(cosines, -np.inf)
    return cosines


def check(
    embeddings: NDArray[np.floating], k: int, exclude: NDArray[np.generic] | None = None
) -> None:
    """Compare with brute force: scores everywhere, rows in the order (score, row)."""
    barred = np.zeros(len(embeddings), bool)
    if exclude is not None:
        barred[exclude] = True
    cosines = brute_force(embeddings, barred)
    index, similarity = knn(embeddings, k, exclude=exclude)
    width = min(k, len(embeddings) - 1)
    assert index.shape == similarity.shape == (len(embeddings), width)
    assert (index.dtype, similarity.dtype) == (np.int32, np.float32)
    assert (np.diff(similarity, axis=1)[index[:, 1:] >= 0] <= 0).all()
    for row in range(len(embeddings)):
        there = int(np.isfinite(cosines[row]).sum())
        found, kept = index[row, :there], similarity[row, :there]
        assert (index[row, there:] == -1).all()
        assert (similarity[row, there:] == 0).all()
        assert len(set(found.tolist())) == len(found)
        rounded = np.round(cosines[row], 9)  # copies of one vector have the same score
        order = np.lexsort((np.arange(len(embeddings)), -rounded))[:width][:there]
        np.testing.assert_allclose(kept, cosines[row, order], atol=1e-6)
        np.testing.assert_allclose(kept, cosines[row, found], atol=1e-6)
        unlike = found != order
        # float32 cannot tell scores apart that differ by less than 1e-7; rows ascend among equals
        assert (np.abs(cosines[row, found] - cosines[row, order])[unlike] < 3e-7).all()
        equal = np.diff(rounded[found]) == 0
        assert (np.diff(found)[equal] > 0).all()


@pytest.mark.parametrize(("num", "dim", "k"), [(300, 64, 10), (1100, 33, 100), (50, 8, 49)])
def test_knn_is_brute_force(num: int, dim: int, k: int) -> None:
    check(np.random.default_rng(num).standard_normal((num, dim)).astype(np.float32), k)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_copies_come_in_the_order_of_their_rows(dtype: type) -> None:
    rng = np.random.default_rng(1)
    base = rng.standard_normal((40, 24))
    vectors = np.concatenate([base, base[:30], 3 * base[:20], base[:5].repeat(20, 0)]).astype(dtype)
    shuffled = vectors[rng.permutation(len(vectors))]
    for k in (1, 7, 25, 40, len(vectors)):
        check(shuffled, k)


def test_more_copies_than_neighbours() -> None:
    """The lowest rows win although FAISS hands out any of them."""
    vectors = np.ones((400, 16), np.float32)
    vectors[200:] = np.random.default_rng(0).standard_normal((200, 16))
    index, similarity = knn(vectors, 5)
    assert index[0].tolist() == [1, 2, 3, 4, 5]
    assert index[3].tolist() == [0, 1, 2, 4, 5]
    assert (index[10:200] == np.arange(5)).all()
    assert similarity[:200].tolist() == np.ones((200, 5)).tolist()


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((500, 32)).astype(np.float32)
    vectors[100:160] = vectors[7]
    whole = knn(vectors, 60)
    monkeypatch.setattr(cosine, "BASE_BLOCK", 37)
    monkeypatch.setattr(cosine, "QUERY_BLOCK", 41)
    monkeypatch.setattr(cosine, "_EXACT_PAIRS", 13)
    monkeypatch.setattr(cosine, "_NORM_ROWS", 17)
    check(vectors, 60)
    index, similarity = knn(vectors, 60)
    np.testing.assert_array_equal(index, whole[0])
    np.testing.assert_allclose(similarity, whole[1], atol=2e-7)


def test_excluded_rows_are_never_neighbours() -> None:
    vectors = np.random.default_rng(4).standard_normal((120, 16)).astype(np.float32)
    barred = np.arange(0, 120, 3)
    mask = np.zeros(120, bool)
    mask[barred] = True
    check(vectors, 10, barred)
    check(vectors, 119, mask)
    assert not np.isin(knn(vectors, 119, exclude=barred)[0], barred).any()
    assert (knn(vectors, 5, exclude=np.ones(120, bool))[0] == -1).all()


def test_zero_vectors_have_cosine_zero() -> None:
    vectors = np.random.default_rng(5).standard_normal((30, 8)).astype(np.float32)
    vectors[[3, 11]] = 0
    check(vectors, 29)
    assert knn(vectors, 29)[1][3].tolist() == [0] * 29


def test_odd_vectors() -> None:
    vectors = np.ones((5, 3), np.float32)
    for value in (np.nan, np.inf):
        vectors[2, 1] = value
        with pytest.raises(ValueError, match="row 2 "):
            knn(vectors, 2)
    with pytest.raises(ValueError, match="k = 0"):
        knn(np.ones((5, 3)), 0)
    with pytest.raises(ValueError, match=r"\(5,\)"):
        knn(np.ones(5), 1)
    assert knn(np.ones((1, 3)), 4)[0].shape == (1, 0)
    assert knn(np.ones((0, 3)), 4)[0].shape == (0, 0)
    huge = np.array([[1e30, 0], [1e30, 1e28], [1e-30, 0]])
    assert knn(huge, 1)[0].ravel().tolist() == [2, 0, 0]


def embedded(cache: Cache, values: NDArray[np.floating], stage: str, weights: str = "w") -> None:
    """Write embeddings `values[row]` for every extracted shard."""
    for number in range(cache.manifest.num_shards):
        rows = cache.shard(EXTRACT, number).rows
        extract = read_header(shard_path(cache.path, EXTRACT, number))
        header = Header(
            stage=stage, stage_version=1, shard=number, params={}, n=len(rows), done=len(rows),
            inputs={EXTRACT: extract.sha256}, weights=weights,
        )  # fmt: skip
        columns = {"row": Rows.array(rows), "value": Rows.array(values[rows])}
        write_shard(shard_path(cache.path, stage, number), header, columns)


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


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.h5"))}


def stored(cache: Cache, stage: str) -> tuple[NDArray[np.int64], ...]:
    shards = [cache.shard(stage, number) for number in range(cache.manifest.num_shards)]
    names = ("row", "rows", "similarity")
    return tuple(np.concatenate([shard.column(name) for shard in shards]) for name in names)


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
    document = summary.as_json()
    assert document["schema"] == "avpipe.knn/1"
    assert document["done"] == 22


def test_a_killed_search_resumes_with_the_same_bytes(cache: Cache) -> None:
    folder = cache.path / neighbors(cache, "imagenet-resnet18", 7).stage
    before = contents(folder)
    for name in list(before)[::2]:
        (folder / name).unlink()

    class Killed(Exception):
        pass

    def die(stage: str, done: int, total: int) -> None:
        if done:
            raise Killed

    with pytest.raises(Killed):
        neighbors(cache, "imagenet-resnet18", 7, progress=die)
    assert len(contents(folder)) == 3
    summary = neighbors(cache, "imagenet-resnet18", 7)
    assert (summary.done, summary.skipped) == (6, 16)
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
    one = neighbors(cache, "imagenet-resnet18", 2, ids=few[:1])
    assert stored(cache, one.stage)[1].shape == (1, 0)
    with pytest.raises(InputError, match="no finished clip is left"):
        neighbors(cache, "imagenet-resnet18", 2, ids=["nowhere"])


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
