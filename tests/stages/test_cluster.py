"""Pseudo-labels: k-means against plain numpy, the same bytes every time, and the shards."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from avpipe.cache.schema import EXTRACT, Header, id_set_digest, shard_path
from avpipe.cache.shard import read_header
from avpipe.cache.state import drop_stage
from avpipe.cache.store import Cache
from avpipe.cache.verify import verify
from avpipe.cache.writer import Rows, write_shard
from avpipe.errors import CacheCorruptError, InputError
from avpipe.pipeline.main import main
from avpipe.pipeline.tally import status
from avpipe.pipeline.verified.caches import commands
from avpipe.stages.neighbors.cluster import cluster, purity
from avpipe.stages.neighbors.kmeans import assign, spherical_kmeans
from avpipe.stages.neighbors.kmeans_parts import labels_of, lloyd, swapped
from cache_factory import make_cache
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

ENCODER = "vggsound-resnet18"
STAGE = f"embeddings/{ENCODER}"


def blobs(num: int, dim: int, k: int, spread: float, seed: int) -> tuple[NDArray[Any], ...]:
    """Return unit vectors round k directions, and which direction each is round."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((k, dim))
    of = rng.integers(k, size=num)
    points = centres[of] + spread * rng.standard_normal((num, dim))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32), of


def plain_kmeans(unit: NDArray[Any], k: int, restarts: int) -> float:
    """Return the best sum of inner products that spherical k-means finds, in plain float64."""
    x, best = unit.astype(np.float64), -np.inf
    for start in range(restarts):
        centroids = x[np.random.default_rng(start).choice(len(x), k, replace=False)]
        for _ in range(60):
            of = (x @ centroids.T).argmax(axis=1)
            means = [x[of == c].sum(axis=0) if (of == c).any() else centroids[c] for c in range(k)]
            centroids = np.stack([mean / np.linalg.norm(mean) for mean in means])
        best = max(best, float((x @ centroids.T).max(axis=1).sum()))
    return best


@pytest.mark.parametrize(("num", "dim", "k", "spread"), [(600, 32, 7, 1.5), (300, 16, 11, 3.0)])
def test_centroids_are_as_good_as_plain_kmeans_finds(
    num: int, dim: int, k: int, spread: float
) -> None:
    unit, _ = blobs(num, dim, k, spread, seed=num)
    centroids = spherical_kmeans(unit, k, seed=0)
    products = unit.astype(np.float64) @ centroids.T.astype(np.float64)
    label, product = assign(unit, centroids)
    assert (label.dtype, product.dtype, centroids.dtype) == (np.int32, np.float32, np.float32)
    np.testing.assert_array_equal(label, products.argmax(axis=1))
    np.testing.assert_allclose(product, products.max(axis=1), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-6)
    assert product.sum() > 0.995 * plain_kmeans(unit, k, restarts=10)
    for number in range(k):  # each centroid is the direction of its own vectors
        mean = unit[label == number].sum(axis=0)
        assert mean @ centroids[number] / np.linalg.norm(mean) > 1 - 1e-5
    assert (np.diff(np.bincount(label, minlength=k)) <= 0).all()  # the largest comes first


@pytest.mark.parametrize("k", [11, 30, 100])
@pytest.mark.parametrize("spread", [0.6, 1.5])
def test_centroids_are_as_good_as_those_of_scikit_learn(k: int, spread: float) -> None:
    """Inertia: squared distances from the mean of one's cluster. Its best of ten starts."""
    unit, of = blobs(25 * k, 32, k, spread, seed=k)
    found = assign(unit, spherical_kmeans(unit, k, seed=1))[0]
    theirs = KMeans(k, n_init=10, random_state=0).fit(unit)
    assert inertia(unit, found) < 1.01 * inertia(unit, theirs.labels_)
    if spread < 1:  # groups that do not overlap
        assert adjusted_rand_score(of, found) > 0.99


def inertia(points: NDArray[Any], label: NDArray[Any]) -> float:
    """Return the sum of squared distances from the mean of one's cluster."""
    groups = [points[label == number].astype(np.float64) for number in np.unique(label)]
    return float(sum(((group - group.mean(axis=0)) ** 2).sum() for group in groups))


def test_two_centroids_in_one_group_part() -> None:
    """Lloyd's rounds alone leave two centroids in the first group and one between the others."""
    unit, of = blobs(300, 16, 3, 0.2, seed=4)
    stuck = np.stack([unit[of == 0][0], unit[of == 0][1], unit[of > 0].mean(axis=0)])
    stuck = lloyd(unit, stuck.astype(np.float32), 50, 0)
    assert adjusted_rand_score(of, labels_of(unit, stuck)[0]) < 0.8
    label, _ = labels_of(unit, swapped(unit, stuck, 0))
    assert adjusted_rand_score(of, label) == 1


def test_directions_far_apart_are_found_whole() -> None:
    unit, of = blobs(400, 64, 9, 0.3, seed=1)
    label, _ = assign(unit, spherical_kmeans(unit, 9, seed=5))
    assert purity(label, of) == purity(of, label) == 1


def test_length_does_not_matter_but_direction() -> None:
    """A long vector's centroid would win all inner products if lengths were kept."""
    rng = np.random.default_rng(2)
    short, long = np.eye(4)[0] + rng.normal(0, 0.05, (30, 4)), 40 * (np.eye(4)[:2].sum(axis=0))
    from avpipe.stages.neighbors.cosine import unit_vectors

    unit = unit_vectors(np.concatenate([short, np.tile(long, (30, 1))]))
    label, _ = assign(unit, spherical_kmeans(unit, 2, seed=0))
    assert sorted(map(len, map(set, (label[:30].tolist(), label[30:].tolist())))) == [1, 1]
    assert label[0] != label[30]


def test_odd_sets_of_vectors() -> None:
    same = np.tile(np.eye(5, dtype=np.float32)[2], (20, 1))
    centroids = spherical_kmeans(same, 3, seed=0)
    assert assign(same, centroids)[0].tolist() == [0] * 20
    zero = np.zeros((6, 5), np.float32)
    assert assign(zero, spherical_kmeans(zero, 2, seed=0))[0].tolist() == [0] * 6
    each = np.eye(5, dtype=np.float32)
    assert sorted(assign(each, spherical_kmeans(each, 5, seed=2**31 - 1))[0]) == list(range(5))


PROGRAM = """
import hashlib, sys
import numpy as np
from avpipe.stages.neighbors.kmeans import assign, spherical_kmeans
rng = np.random.default_rng(0)
x = rng.standard_normal((1500, 128)).astype(np.float32)
x /= np.linalg.norm(x, axis=1, keepdims=True)
c = spherical_kmeans(x, 20, 7)
print(hashlib.sha256(c.tobytes() + b"".join(a.tobytes() for a in assign(x, c))).hexdigest())
"""


def test_threads_do_not_matter() -> None:
    """Noise without clusters: the last bit of a sum would send k-means elsewhere."""
    found = set()
    for threads in ("1", "2", "5"):
        env = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=540
        )
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    assert len(found) == 1


def test_purity_counts_the_most_common_class_of_each_cluster() -> None:
    clusters, classes = np.array([0, 0, 0, 1, 1, 2]), np.array(["a", "a", "b", "b", "b", "a"])
    assert purity(clusters, classes) == pytest.approx(5 / 6)


def embedded(cache: Cache, values: NDArray[np.floating], weights: str = "w") -> Cache:
    """Write embeddings `values[row]` for every extracted shard; return the cache as it is now."""
    for number in range(cache.manifest.num_shards):
        rows = cache.shard(EXTRACT, number).rows
        extract = read_header(shard_path(cache.path, EXTRACT, number))
        header = Header(
            stage=STAGE, stage_version=1, shard=number, params={}, n=len(rows), done=len(rows),
            inputs={EXTRACT: extract.sha256}, weights=weights,
        )  # fmt: skip
        columns = {"row": Rows.array(rows), "value": Rows.array(values[rows])}
        write_shard(shard_path(cache.path, STAGE, number), header, columns)
    return Cache(cache.path)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    cache = make_cache(tmp_path_factory.mktemp("cluster") / "cache", 22, shard_clips=6)
    values = np.random.default_rng(6).standard_normal((4, 12)).astype(np.float32)
    values = values[np.arange(22) % 4] * np.linspace(1, 9, 22, dtype=np.float32)[:, None]
    values += np.random.default_rng(7).normal(0, 0.05, values.shape).astype(np.float32)
    embedded(cache, values)
    return SimpleNamespace(path=cache.path, values=values)


@pytest.fixture
def cache(template: SimpleNamespace, tmp_path: Path) -> Cache:
    shutil.copytree(template.path, tmp_path / "cache")
    return Cache(tmp_path / "cache")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.h5"))}


def stored(cache: Cache, stage: str, name: str) -> NDArray[Any]:
    paths = sorted((cache.path / stage).glob("*.h5"))
    return np.concatenate([h5py.File(path)[name][()] for path in paths])


def test_shards_hold_labels_and_centroids(cache: Cache, template: SimpleNamespace) -> None:
    told = []
    found = cluster(cache, ENCODER, 4, progress=lambda *call: told.append(call))
    assert found.stage == f"clusters/{ENCODER}-k4@{id_set_digest(cache.ids)[:8]}"
    assert [call[1:] for call in told] == [(n, 22) for n in (0, 6, 12, 18, 22)]
    assert (found.done, found.skipped, found.notices) == (22, 0, ())
    assert stored(cache, found.stage, "row").tolist() == list(range(22))
    label = stored(cache, found.stage, "label")
    assert len({(row % 4, number) for row, number in enumerate(label)}) == 4
    centroids = cache.shard(found.stage, 2).column("centroids")
    assert centroids.shape == (4, 12)
    unit = template.values / np.linalg.norm(template.values, axis=1, keepdims=True)
    expected = (unit @ centroids.T).max(axis=1)
    np.testing.assert_allclose(stored(cache, found.stage, "similarity"), expected, atol=1e-6)
    assert [(one.size, one.share) for one in found.clusters] == [(6, 1)] * 2 + [(5, 1)] * 2
    assert {one.label for one in found.clusters} == {f"class{i}" for i in range(4)}
    assert found.purity == 1
    assert found.purity_shuffled is not None and found.purity_shuffled < 0.8
    header = cache.shard(found.stage, 0).header
    assert header.weights == "w"
    assert header.params["seed"] == 0 and header.params["k"] == 4
    assert set(header.inputs) == {"ids", STAGE}
    again = cluster(cache, ENCODER, 4)
    assert (again.done, again.skipped, again.clusters) == (0, 22, found.clusters)


def test_the_same_bytes_again_and_after_a_kill(cache: Cache) -> None:
    folder = cache.path / cluster(cache, ENCODER, 4, seed=3).stage
    before = contents(folder)
    shutil.rmtree(folder)
    cluster(cache, ENCODER, 4, seed=3)
    assert contents(folder) == before
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
        cluster(cache, ENCODER, 4, seed=3, progress=die)
    found = cluster(cache, ENCODER, 4, seed=3, progress=lambda *call: told.append(call[1:]))
    assert (found.done, found.skipped) == (6, 16)
    assert told == [(10, 22), (16, 22), (16, 22), (22, 22)]
    assert contents(folder) == before


def test_another_seed_or_other_weights_are_refused(cache: Cache, template: SimpleNamespace) -> None:
    stage = cluster(cache, ENCODER, 4).stage
    with pytest.raises(CacheCorruptError, match=r"made with seed 0, this run asks for 1.*--over"):
        cluster(cache, ENCODER, 4, seed=1)
    assert cluster(cache, ENCODER, 4, seed=1, overwrite=True).done == 22
    assert cluster(cache, ENCODER, 5).stage != stage  # another k is another folder
    old = Cache(cache.path).shard(stage, 0).column("centroids")
    cache = embedded(cache, -template.values)
    assert cluster(cache, ENCODER, 4, seed=1).done == 22  # new embeddings: made again
    new = Cache(cache.path).shard(stage, 0).column("centroids")
    assert (old @ new.T).min() < -0.99  # and no centroid of the old ones is kept
    cache = embedded(cache, template.values, weights="random:0")
    with pytest.raises(CacheCorruptError, match=r"made with weights w, .* asks for random:0"):
        cluster(cache, ENCODER, 4, seed=1)


def test_id_sets_and_what_cannot_be_clustered(cache: Cache, template: SimpleNamespace) -> None:
    few = ["clip001", "clip002", "clip003", "clip020", "nowhere"]
    found = cluster(cache, ENCODER, 2, ids=few, hold_out=["clip002"])
    assert stored(cache, found.stage, "row").tolist() == [1, 3, 20]
    assert found.notices == ("1 of 5 listed ids are not in the cache, nowhere first",)
    with pytest.raises(InputError, match="4 clips make no 5 clusters; give --k 4 or less"):
        cluster(cache, ENCODER, 5, ids=few)
    with pytest.raises(InputError, match=r"no listed clip is finished in .*cache, nowhere first"):
        cluster(cache, ENCODER, 1, ids=["nowhere"])
    with pytest.raises(InputError, match="embeddings/panns-cnn14 is not complete"):
        cluster(cache, "panns-cnn14", 2)
    cache = embedded(cache, np.ones_like(template.values))
    found = cluster(cache, ENCODER, 3)
    assert [one.size for one in found.clusters] == [22, 0, 0]
    assert (found.clusters[1].label, found.clusters[1].share) == (None, None)
    assert found.notices == ("2 of 3 clusters are empty: fewer sounds than that are distinct",)
    bad = template.values.copy()
    bad[8, 3] = np.nan
    with pytest.raises(InputError, match=r"clip clip008 \(row 8\)"):
        cluster(embedded(cache, bad), ENCODER, 4)


def test_status_verify_and_drop_know_the_stage(cache: Cache) -> None:
    stage = cluster(cache, ENCODER, 4, seed=2).stage
    (row,) = [row for row in status(cache.path)["stages"] if row["name"] == stage]
    assert (row["done"], row["missing"], row["weights"]) == (22, 0, ["w"])
    assert verify(cache.path).ok
    path = cache.path / stage / "0000001.h5"
    before = path.read_bytes()
    offset = read_header(path).columns["centroids"].offset
    path.write_bytes(before[:offset] + bytes([before[offset] ^ 1]) + before[offset + 1 :])
    report = verify(cache.path, repair=True)
    assert list(report.damaged) == [f"{stage}/0000001.h5"]
    assert commands(cache.path, report) == [
        f"avpipe cluster --k 4 --encoder {ENCODER} --seed 2 --cache {cache.path}"
    ]
    assert cluster(Cache(cache.path), ENCODER, 4, seed=2).done == 6
    assert path.read_bytes() == before
    assert drop_stage(cache.path, stage) > 0
    assert not (cache.path / stage).exists()


Ask = Callable[..., Any]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a command with --json; return its document."""

    def run(*words: str) -> Any:
        capsys.readouterr()
        assert main([*words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


@pytest.mark.usefixtures("one_thread")
def test_the_command_embeds_then_clusters(
    tmp_path: Path, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_cache(tmp_path / "cache", 12, shard_clips=8).path
    words = ("cluster", "--k", "4", "--weights", "random", "--cache", str(path))
    estimate = ask(*words, "--dry-run")
    assert [(row["stage"], row["clips"]) for row in estimate["stages"]] == [(STAGE, 12)]
    made = ask(*words)
    assert (made["schema"], made["embedded"], made["done"]) == ("avpipe.cluster/1", 12, 12)
    assert made["weights"] == {STAGE: "random:0"}
    assert sum(one["size"] for one in made["clusters"]) == 12
    assert made["purity"] > 0.9 > made["purity_shuffled"]  # each class has a tone of its own
    (tmp_path / "test.txt").write_text("clip000\nclip001\n")
    again = ask(*words, "--hold-out", str(tmp_path / "test.txt"), "--seed", "4")
    assert (again["embedded"], again["done"], again["seed"]) == (0, 10, 4)
    assert main([*words]) == 0
    text = capsys.readouterr().out
    assert "purity" in text and "RANDOM weights" in text and "class2" in text
    for name in ("detr-r50", "none"):
        for more in ((), ("--dry-run",)):
            assert main(["cluster", "--encoder", name, *more, "--cache", str(path)]) == 2
            told = capsys.readouterr().err
            assert f"--encoder {name}: no audio teacher" in told and ", none" not in told


def test_without_labels_there_is_no_purity(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = cache.manifest.lines
    bare = ((row, {**line, "label": None}) for row, line in lines())
    monkeypatch.setattr(type(cache.manifest), "lines", lambda self: bare)
    cache.__dict__["ids"] = [f"clip{row:03d}" for row in range(22)]
    found = cluster(cache, ENCODER, 4)
    assert (found.purity, found.purity_shuffled) == (None, None)
    assert all(one.label is None for one in found.clusters)
