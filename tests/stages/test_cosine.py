"""Exact neighbours against numpy in float64, on both searches: ties, copies, odd vectors."""

from __future__ import annotations

import threading
import time

import faiss
import numpy as np
import pytest
import torch
from avpipe.stages.neighbors import candidates, cosine
from avpipe.stages.neighbors.cosine import knn
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray


@pytest.fixture(autouse=True, params=["faiss", "torch"])
def search(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run every test with either search; PyTorch's, which serves GPUs, on the CPU."""
    if request.param == "torch":
        monkeypatch.setattr(cosine, "candidates", candidates.by_torch)
    return str(request.param)


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
    for start in range(0, len(embeddings), 500):
        check_block(cosines[start : start + 500], index[start:][:500], similarity[start:][:500])


def check_block(
    cosines: NDArray[np.float64], index: NDArray[np.int32], similarity: NDArray[np.float32]
) -> None:
    """Compare some vectors' neighbours with all their cosines."""
    there = np.arange(index.shape[1]) < np.isfinite(cosines).sum(axis=1)[:, None]
    np.testing.assert_array_equal(index >= 0, there)
    assert (similarity[~there] == 0).all()
    ascending = np.sort(index, axis=1)
    assert (np.diff(ascending, axis=1)[ascending[:, :-1] >= 0] > 0).all()  # none twice
    rounded = np.round(cosines, 9)  # copies of one vector have the same score
    order = np.argsort(-rounded, axis=1, kind="stable")[:, : index.shape[1]]
    wanted = np.take_along_axis(cosines, order, axis=1)
    own = np.take_along_axis(cosines, index, axis=1)
    np.testing.assert_allclose(similarity[there], wanted[there], atol=1e-6)
    np.testing.assert_allclose(similarity[there], own[there], atol=1e-6)
    # float32 cannot tell scores apart that differ by less than 1e-7; rows ascend among equals
    unlike = (index != order) & there
    assert (np.abs(own[unlike] - wanted[unlike]) < 3e-7).all()
    level = np.take_along_axis(rounded, index, axis=1)
    equal = (level[:, 1:] == level[:, :-1]) & there[:, 1:]
    assert (np.diff(index, axis=1)[equal] > 0).all()


@pytest.mark.parametrize(("num", "dim", "k"), [(300, 64, 10), (1100, 33, 100), (50, 8, 49)])
def test_knn_is_brute_force(num: int, dim: int, k: int) -> None:
    check(np.random.default_rng(num).standard_normal((num, dim)).astype(np.float32), k)


@pytest.mark.parametrize("num", [2500, pytest.param(5000, marks=pytest.mark.slow)])
def test_thousands_of_vectors_with_copies(num: int) -> None:
    """As embeddings are: none negative, in clusters, some clips twice, some silent."""
    rng = np.random.default_rng(11)
    centres = rng.standard_normal((40, 512))
    vectors = centres[rng.integers(0, 40, num)] + rng.standard_normal((num, 512))
    vectors = np.maximum(vectors, 0).astype(np.float32)
    vectors[rng.choice(num, 600)] = vectors[rng.choice(num, 600)]
    vectors[rng.choice(num, 150)] = vectors[0]
    vectors[rng.choice(num, 20)] = 0
    check(vectors, 100)


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
    monkeypatch.setattr(candidates, "BASE_BLOCK", 97)
    monkeypatch.setattr(candidates, "SUM_BLOCK", 5)
    monkeypatch.setattr(cosine, "QUERY_BLOCK", 41)
    monkeypatch.setattr(cosine, "_EXACT_VALUES", 1000)
    monkeypatch.setattr(cosine, "_NORM_ROWS", 17)
    check(vectors, 60)
    index, similarity = knn(vectors, 60)
    np.testing.assert_array_equal(index, whole[0])
    np.testing.assert_allclose(similarity, whole[1], atol=2e-7)


def test_the_number_of_threads_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(12).standard_normal((900, 48)).astype(np.float32)
    monkeypatch.setattr(cosine, "QUERY_BLOCK", 100)
    found = []
    before = faiss.omp_get_max_threads()
    try:
        for num_threads in (1, 5):
            faiss.omp_set_num_threads(num_threads)
            found.append(knn(vectors, 70))
            assert faiss.omp_get_max_threads() == num_threads  # the caller's setting is kept
    finally:
        faiss.omp_set_num_threads(before)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_blocks_wait_for_who_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results do not pile up in memory when the disk is slow."""
    searched = []
    find = cosine._search

    def count(*call: object) -> cosine.NearestRows:
        searched.append(call[-1])
        return find(*call)

    monkeypatch.setattr(cosine, "_search", count)
    unit = cosine.unit_vectors(np.random.default_rng(0).standard_normal((400, 8)))
    blocks = [range(i, i + 4) for i in range(0, 400, 4)]
    found = cosine.nearest(unit, 400, 3, blocks)
    next(found)
    time.sleep(0.1)
    assert len(searched) <= faiss.omp_get_max_threads() + 2
    found.close()
    assert len(searched) <= faiss.omp_get_max_threads() + 2
    assert not [t for t in threading.enumerate() if "ThreadPool" in t.name]


def test_low_precision_of_other_parts_of_a_program_does_not_matter() -> None:
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        check(np.random.default_rng(9).standard_normal((200, 512)).astype(np.float32), 20)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.gpu
def test_a_gpu_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cosine, "candidates", candidates.candidates)
    rng = np.random.default_rng(10)
    vectors = np.maximum(rng.standard_normal((3000, 2048)), 0).astype(np.float32)
    vectors[:100] = vectors[200]
    by_cpu, by_gpu = knn(vectors, 300), knn(vectors, 300, device="cuda")
    np.testing.assert_array_equal(by_gpu[0], by_cpu[0])
    np.testing.assert_allclose(by_gpu[1], by_cpu[1], atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_held_out_vectors_are_never_found(data: st.DataObject) -> None:
    num = data.draw(st.integers(1, 40))
    vectors = np.random.default_rng(num).integers(-1, 2, (num, 3))  # full of copies and zeros
    barred = np.array(data.draw(st.lists(st.booleans(), min_size=num, max_size=num)))
    k = data.draw(st.integers(1, 45))
    index, _ = knn(vectors, k, exclude=barred)
    assert not np.isin(index, np.flatnonzero(barred)).any()
    assert not (index == np.arange(num)[:, None]).any()
    allowed = (~barred).sum() - ~barred  # of each, the others
    np.testing.assert_array_equal((index >= 0).sum(axis=1), np.minimum(allowed, index.shape[1]))


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
