"""SIGKILL during `cluster`: the same command finishes the same bytes."""

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
COMMAND = ("cluster", "--k", "3", "--weights", "random")


@pytest.mark.slow
def test_killed_again_and_again(tmp_path: Path, warm: Warm) -> None:
    log = tmp_path / "log"
    calm = make_cache(tmp_path / "calm", IDS, shard_clips=4)
    assert warm.command(*COMMAND, "--cache", calm, log=log).wait() == [0], log.read_text()
    cache = make_cache(tmp_path / "cache", IDS, shard_clips=4)

    def published() -> int:
        return sum(len(list(cache.glob(f"{stage}/*/*.h5"))) for stage in ("embeddings", "clusters"))

    for wanted in (3, 7, 10):  # six shards of embeddings come first, then six of clusters
        process = warm.command(*COMMAND, "--cache", cache, log=log)
        while process.running() and published() < wanted:
            time.sleep(0.0005)
        process.send(signal.SIGKILL)
        process.wait()
        assert wanted <= published()
        assert verify(cache).damaged == {}
    assert warm.command(*COMMAND, "--cache", cache, log=log).wait() == [0], log.read_text()
    assert file_bytes(cache) == file_bytes(calm)
