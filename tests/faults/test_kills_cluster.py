"""SIGKILL during `cluster`: the same command finishes the same bytes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from avpipe.cache.verify import verify
from fake_clips import file_bytes, make_cache
from processes import start

pytestmark = pytest.mark.faults

IDS = [f"c{number:02d}" for number in range(24)]
COMMAND = ("cluster", "--k", "3", "--weights", "random")


@pytest.mark.slow
def test_killed_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    log = tmp_path / "log"
    calm = make_cache(tmp_path / "calm", IDS, shard_clips=4)
    assert start(*COMMAND, "--cache", calm, log=log).wait(200) == 0, log.read_text()
    cache = make_cache(tmp_path / "cache", IDS, shard_clips=4)

    def published() -> int:
        return sum(len(list(cache.glob(f"{stage}/*/*.h5"))) for stage in ("embeddings", "clusters"))

    for wanted in (3, 7, 10):  # six shards of embeddings come first, then six of clusters
        process = start(*COMMAND, "--cache", cache, log=log)
        while process.poll() is None and published() < wanted:
            time.sleep(0.0005)
        process.kill()
        process.wait()
        assert wanted <= published()
        assert verify(cache).damaged == {}
    assert start(*COMMAND, "--cache", cache, log=log).wait(200) == 0, log.read_text()
    assert file_bytes(cache) == file_bytes(calm)
