"""SIGKILL during `embed-teachers` and `knn`: the same command finishes the same bytes."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from avpipe.cache.verify import verify
from fake_clips import file_bytes, make_cache
from warm import Warm

pytestmark = pytest.mark.faults

IDS = [f"c{number:02d}" for number in range(24)]
TEACHER = ("--visual", "imagenet-resnet18", "--audio", "none", "--weights", "random")
NEIGHBORS = ("--image", "imagenet-resnet18", "--audio", "none", "--weights", "random", "--k", "5")


@pytest.mark.parametrize(
    ("command", "stage"),
    [
        pytest.param(("embed-teachers", *TEACHER), "hints/imagenet-resnet18", id="embed-teachers"),
        pytest.param(("knn", *NEIGHBORS), "neighbors/*", id="knn", marks=pytest.mark.slow),
    ],
)
def test_killed_again_and_again(
    command: tuple[str, ...], stage: str, tmp_path: Path, warm: Warm
) -> None:
    log = tmp_path / "log"
    calm = make_cache(tmp_path / "calm", IDS, shard_clips=4)
    assert warm.command(*command, "--cache", calm, log=log).wait() == [0], log.read_text()
    cache = make_cache(tmp_path / "cache", IDS, shard_clips=4)

    def published() -> int:
        return len(list(cache.glob("embeddings/*/*.h5"))) + len(list(cache.glob(f"{stage}/*.h5")))

    for _ in range(3):
        before = published()
        process = warm.command(*command, "--cache", cache, log=log)
        while process.running() and published() == before:
            time.sleep(0.001)
        process.send(signal.SIGKILL)
        process.wait()
        assert published() > before
        assert verify(cache).damaged == {}
    assert warm.command(*command, "--cache", cache, log=log).wait() == [0], log.read_text()
    assert file_bytes(cache) == file_bytes(calm)
