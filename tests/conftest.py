"""Fixtures for all tests."""

import ctypes
import gc
import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from avpipe.pipeline.extract.settings import ExtractSettings
from avpipe.pipeline.progress import Progress
from warm import LIGHT, STORED, Warm

ROOT = Path(__file__).parents[1]

# Threads that wait for each other crawl on a busy machine, as one is that runs these tests. Before
# anything loads PyTorch; for the processes that tests start too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test cuts the power: what a killed process has written is there without waiting for the disk.
os.fsync = lambda fd: None


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks: by default large ones come back as pages zeroed anew."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for option, value in ((-3, 1 << 30), (-1, (1 << 31) - 1)):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
        if mallopt is not None:
            mallopt(option, value)


keep_freed_memory()


@pytest.fixture(autouse=True)
def no_outer_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no variable of the person who runs the tests change what they show."""
    for name in ("CACHE", "JOBS", "DEVICE", "WEIGHTS_DIR", "CONFIG"):
        monkeypatch.delenv(f"AVPIPE_{name}", raising=False)


@pytest.fixture(autouse=True)
def no_progress_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Print no line of progress just because the tests before took a while."""
    monkeypatch.setattr(Progress, "_line_due", math.inf)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Keep torch to one thread: threads that wait for each other crawl on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """Start processes that have PyTorch loaded."""
    with Warm() as server:
        yield server


@pytest.fixture(scope="session")
def light() -> Iterator[Warm]:
    """Start processes that have the command line loaded."""
    with Warm(LIGHT) as server:
        yield server


@pytest.fixture(scope="session")
def stored() -> Iterator[Warm]:
    """Start processes that have loaded what reads caches and decodes, and no PyTorch."""
    with Warm(STORED) as server:
        yield server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first; skip what needs a GPU or real clips where there are none."""
    _sort_files(items)
    lacking = []
    if not (ROOT.parent / "shared" / "clips").is_dir():
        lacking.append(("clips", "no ../shared/clips beside the checkout"))
    if any(item.get_closest_marker("gpu") for item in items) and not _has_gpu():
        lacking.append(("gpu", "no GPU"))
    for item in items:
        for marker, reason in lacking:
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish() -> None:
    """Let collections of garbage pass over what was imported: they look at it again and again."""
    gc.collect()
    gc.freeze()


def _sort_files(items: list[pytest.Item]) -> None:
    """Put files of few and long tests first, then those of many: no worker waits for the other."""
    sizes = Counter(item.path for item in items)
    long = {item.path for item in items if item.get_closest_marker("faults")}
    long |= {path for path in sizes if path.name == "test_cli_demo.py"}
    items.sort(key=lambda item: (item.path not in long, -sizes[item.path], str(item.path)))


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


class Summary:
    """What a run that did something returns."""

    def as_json(self) -> dict[str, object]:
        return {
            "schema": "avpipe.extract/1",
            **{"done": 3, "skipped": 1, "failed": 1, "failed_total": 2},
            **{"seconds": 2.0, "per_second": 2.0},
        }

    def raise_for_failures(self) -> None:
        pass


Runner = Callable[[BaseException | None], list[ExtractSettings]]


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Put a runner in place that notes its settings, then raises the given error or returns."""

    def replace(error: BaseException | None) -> list[ExtractSettings]:
        given: list[ExtractSettings] = []

        def extract(settings: ExtractSettings) -> Summary:
            given.append(settings)
            if error is not None:
                raise error
            return Summary()

        fake = ModuleType("avpipe.pipeline.extract.run")
        fake.extract = extract  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, fake.__name__, fake)
        return given

    return replace
