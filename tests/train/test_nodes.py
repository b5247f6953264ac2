"""`torchrun --nnodes 2`: an agent on each of two hosts, here both on this one; and a lost rank."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from avpipe.cache.store import Cache
from avpipe.pipeline import main as program
from cache_factory import add_inputs, make_cache
from processes import descendants

RECIPE = [
    "width=16", "embed_dim=12", "image_init=scratch", "batch_norm=frozen", "precision=fp32",
    "visual_dropout=0", "audio_dropout=0", "image_size=40", "image_resize=48", "audio_pool=8",
    "batch_size=8", "ema=0.5",
]  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cache = make_cache(tmp_path_factory.mktemp("cache"), 25)
    add_inputs(cache)
    return cache


def nodes(cache: Cache, run: Path, epochs: int) -> list[subprocess.Popen[str]]:
    """Start the agents of two hosts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        meeting = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1",
        "--rdzv-backend", "c10d", "--rdzv-endpoint", meeting, "--rdzv-id", "avpipe", "-m", "--",
        "avpipe", "train", "--recipe", "slavc", "--cache", str(cache.path), "--run", str(run),
        "--device", "cpu", "--threads", "1",
    ]  # fmt: skip
    for value in [*RECIPE, f"epochs={epochs}"]:
        command += ["--set", value]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    return [
        subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for _ in range(2)
    ]


def finish(agents: list[subprocess.Popen[str]]) -> tuple[list[int], str]:
    """Wait for both; return their exit codes and all they said."""
    said = "".join(agent.communicate(timeout=540)[0] for agent in agents)
    return [agent.returncode for agent in agents], said


@pytest.mark.slow
@pytest.mark.faults
def test_two_nodes_train_one_run_and_go_on_after_one_is_lost(cache: Cache, tmp_path: Path) -> None:
    codes, said = finish(nodes(cache, tmp_path / "whole", 2))
    assert codes == [0, 0], said
    assert json.loads((tmp_path / "whole/run.json").read_text())["num_ranks"] == 2

    agents = nodes(cache, tmp_path / "lost", 60)
    lines = tmp_path / "lost/metrics.jsonl"
    deadline = time.monotonic() + 540
    while not (lines.exists() and lines.read_text().count("\n") > 2):
        assert time.monotonic() < deadline and all(agent.poll() is None for agent in agents)
        time.sleep(0.01)
    (lost,) = descendants(agents[1].pid)[:1]
    os.kill(lost, signal.SIGKILL)
    codes, said = finish(agents)
    assert 0 not in codes
    codes, again = finish(nodes(cache, tmp_path / "lost", 60))
    assert codes == [0, 0], again
    assert "another process of this run has ended" in said


@pytest.mark.parametrize(
    ("size", "text", "told"),
    [
        ("2", "[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer", 1),
        ("1", "[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer", 0),
        ("2", "mat1 and mat2 shapes cannot be multiplied", 0),
    ],
)
def test_a_lost_process_is_one_line(
    size: str, text: str, told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", size)
    found = program._as_expected(RuntimeError(text), program.State(wants_help=False))
    assert bool(found) == bool(told)
    assert not told or "the same torchrun command goes on from the last checkpoint" in str(found)
