"""Dask workers under another host's name that see other disks, as one machine can have them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from media_factory import write_clip
from processes import start

pytest.importorskip("distributed", reason="needs avpipe[dask]")
from dask_cluster import Cluster, dask_cluster, environment
from distributed import Client

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "-mu", "hostname", "away"], capture_output=True).returncode,
        reason="needs the right to give a process a host name and mounts of its own",
    ),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler alone."""
    with dask_cluster(tmp_path_factory.mktemp("dask"), workers=0) as running:
        yield running


@contextmanager
def host(cluster: Cluster, folder: Path, mounts: str) -> Iterator[None]:
    """Start a worker on host `away`, once its disks are mounted."""
    worker = (
        f"exec {sys.executable} -m distributed.cli.dask_worker {cluster.address} --no-dashboard"
    )
    words = ["unshare", "-mu", "sh", "-ec", f"hostname away; {mounts}; {worker} --no-nanny"]
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [*words, "--nthreads", "1"], cwd=folder, env=environment(), stdout=log, stderr=log
        )
    try:
        with Client(cluster.address, timeout=120, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=120)
            yield
            process.send_signal(signal.SIGKILL)
            process.wait()
            while client.scheduler_info(n_workers=-1)["workers"]:
                time.sleep(0.02)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("mounts", "code", "line"),
    [
        ("true", 0, ""),
        (
            "mount --bind {cache} {cache}; mount -o remount,ro,bind {cache}",
            7,
            "host away: {cache}/manifest/writable: Read-only file system; nothing is lost",
        ),
        ("mount -t tmpfs none {cache}", 4, "host away does not see the cache {cache} (No such"),
        (
            "cp -a {cache} {copy}; mount --bind {copy} {cache}",
            4,
            "host away has another cache at {cache}: mount the folder of this process there",
        ),
        ("mount -t tmpfs none {videos}", 4, "host away cannot read {videos} (it is empty)"),
        ("mount -t tmpfs none {above}", 4, "host away cannot read {videos} (No such file or"),
    ],
)
def test_a_host_that_sees_other_disks_is_named(
    cluster: Cluster, tmp_path: Path, mounts: str, code: int, line: str
) -> None:
    places = {
        name: tmp_path / path
        for name, path in (
            ("above", "disk"), ("videos", "disk/videos"), ("cache", "cache"), ("copy", "copy"),
        )
    }  # fmt: skip
    places["videos"].mkdir(parents=True)
    for number in range(2):
        write_clip(places["videos"] / f"{number}.mp4", fps=8, seconds=1)
    command = ("extract", places["videos"], "--cache", places["cache"])
    part = start(*command, "--part", "1/2", "--shard-clips", "1", log=tmp_path / "here.log")
    assert part.wait() == 0
    with host(cluster, tmp_path, mounts.format(**places)):
        there = ("--backend", "dask", "--scheduler", cluster.address, "--json")
        run = start(*command, *there, log=tmp_path / "log")
        assert run.wait() == code, (tmp_path / "log").read_text()
    said = (tmp_path / "log").read_text()
    if code:
        assert f"avpipe: error: {line.format(**places)}" in said
        assert said.count("error:") == 1
    else:
        assert json.loads(said[said.index("{") :])["done"] == 1
    assert len(list((places["cache"] / "extract").glob("*.h5"))) == 2 - bool(code)
    assert not [path for path in places["cache"].rglob(".*") if path.is_file()]
    assert os.uname().nodename != "away"
