"""What of a machine this process may use, of made-up files such as the kernel shows."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from avpipe import machine
from avpipe.machine import free_memory_bytes, known_free_bytes, memory_limit

ROOT = Path(__file__).parents[2]
KB, GB = 1024, 10**9
HOST = 256 * GB // KB * KB


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    path = tmp_path / "meminfo"
    path.write_text(f"MemTotal: 1 kB\nMemAvailable:   {HOST // KB} kB\nBuffers: 3 kB\n")
    return path


def groups(folder: Path, own: str, files: dict[str, str]) -> tuple[Path, Path]:
    (folder / "own").write_text(own)
    for name, content in files.items():
        path = folder / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return folder / "groups", folder / "own"


def test_memory_of_a_container_of_version_2(tmp_path: Path, meminfo: Path) -> None:
    stat = "anon 1000\ninactive_file 300000000\nactive_file 5"
    files = {
        "job/memory.max": str(2 * GB), "job/memory.current": str(GB), "job/memory.stat": stat,
        "job/step/memory.max": "max", "job/step/memory.current": "7", "job/step/memory.stat": stat,
    }  # fmt: skip
    made_up = groups(tmp_path, "0::/job/step\n", files)
    assert memory_limit(*made_up) == 2 * GB
    assert known_free_bytes(meminfo, *made_up) == 1_300_000_000  # files not read lately give way
    (tmp_path / "groups/job/step/memory.max").write_text("1000\n")  # the inner group is smaller
    assert known_free_bytes(meminfo, *made_up) == 1000
    (tmp_path / "groups/job/memory.current").write_text(str(3 * GB))  # a limit may be lowered later
    assert known_free_bytes(meminfo, *made_up) == 0


def test_memory_of_a_container_of_version_1(tmp_path: Path, meminfo: Path) -> None:
    files = {
        "memory/memory.limit_in_bytes": "9223372036854771712",
        "memory/memory.usage_in_bytes": str(500 * GB),
        "memory/job/memory.limit_in_bytes": str(3 * GB),
        "memory/job/memory.usage_in_bytes": str(GB),
        "memory/job/memory.stat": "inactive_file 9\ntotal_inactive_file 100",
    }
    made_up = groups(tmp_path, "4:memory:/job\n3:cpu,cpuacct:/\n", files)
    assert (memory_limit(*made_up), known_free_bytes(meminfo, *made_up)) == (3 * GB, 2 * GB + 100)


def test_the_host_may_have_less_left_than_a_container_is_granted(
    tmp_path: Path, meminfo: Path
) -> None:
    files = {"memory.max": str(1000 * GB), "memory.current": "0"}
    assert known_free_bytes(meminfo, *groups(tmp_path, "0::/\n", files)) == HOST


def test_where_no_file_says_it_a_quarter_of_the_memory_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = tmp_path / "nowhere"
    assert known_free_bytes(nowhere, nowhere, nowhere) is None
    monkeypatch.setattr(machine, "known_free_bytes", lambda: None)
    assert 1e7 < free_memory_bytes() < 1e14


def test_nobody_else_asks_the_machine() -> None:
    """Which cores and how much memory there are is asked in one file, which GPU in another."""
    leaves = {"machine.py", "devices.py", "pipeline/doctor/machine.py", "pipeline/doctor/probe.py"}
    asks = {"cpu_count", "sched_getaffinity", "sysconf", "is_available"}
    texts = ("meminfo", "cgroup")
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name in leaves or name.startswith((".", "tests/", "bench/", "docs/", "build/")):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            asked = isinstance(node, ast.Attribute) and node.attr in asks
            named = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if asked or (named and any(text in node.value for text in texts)):
                found.append(f"{name}:{node.lineno}")
    assert found == []
