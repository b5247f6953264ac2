"""The cache that `bench/knn.py` makes is one that `knn` takes."""

from pathlib import Path

from avpipe.cache.schema import NEIGHBORS
from avpipe.cache.store import Cache
from avpipe.stages.neighbors.run import neighbors
from bench_modules import bench_modules


def test_neighbours_of_a_cache_without_clips(tmp_path: Path) -> None:
    with bench_modules("common", "knn") as modules:
        modules["knn"].make_cache(tmp_path / "cache", 300, 64)
        neighbors(Cache(tmp_path / "cache"), modules["knn"].ENCODER, 5)
    assert [*(tmp_path / "cache" / NEIGHBORS).rglob("*.h5")]
