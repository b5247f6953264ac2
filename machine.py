"""What of this machine this process may use: cores, memory; and the fastest number of threads.

Threads of one step wait for each other many times. Where other programs want the cores too, each
wait lasts until a thread that lost its core has one again: two threads may then be ten times slower
than one. Nothing but trying tells.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .errors import UsageError

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
MEMORY = Path("/proc/meminfo")

AUTO: Final = "auto"
MOST_THREADS = 1024
GAIN = 1.05
"""How many times faster all threads have to be to be taken: one is the safe choice."""
_LEAST, _ROUNDS = 2, 3
_ENOUGH = 2.5
"""A difference that no further round would turn."""
_LONG_S = 10.0
"""After that a round is the last, even the first: setting up is little of such steps."""
_BLOCK = bytes(1 << 20)
_NO_LIMIT = 1 << 60
"""Version 1 writes a number above this for a group without a limit."""


def usable_cores() -> int:
    """Count the CPU cores this process may use; a batch system may grant fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return installed_cores()


def installed_cores() -> int:
    """Count the CPU cores of the machine, whoever may use them."""
    return os.cpu_count() or 1


def granted_cores() -> int:
    """Count the usable cores whose time the control groups grant, at least one."""
    quota = core_quota()
    return usable_cores() if quota is None else max(1, min(usable_cores(), int(quota)))


def core_quota(root: Path = CGROUPS, own: Path = OWN_CGROUP) -> float | None:
    """Return how many cores' time the control groups grant; None: all."""
    quotas = []
    for folder in _group_folders("cpu", root, own):
        halves = (_words_of(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        for words in (_words_of(folder / "cpu.max"), [word for half in halves for word in half]):
            if len(words) == 2 and words[0].isdigit():  # neither `max` nor -1
                quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def memory_limit(root: Path = CGROUPS, own: Path = OWN_CGROUP) -> int | None:
    """Return how many bytes the control groups grant; None: all there are."""
    return min((limit for limit, _ in _memory_grants(root, own)), default=None)


def known_free_bytes(
    meminfo: Path = MEMORY, root: Path = CGROUPS, own: Path = OWN_CGROUP
) -> int | None:
    """Return the memory that this process may still take; None where the system does not say.

    It is what the machine has left, or what is left of a control group's grant: the smaller.
    """
    left = [max(0, limit - used) for limit, used in _memory_grants(root, own)]
    if meminfo.is_file():
        for line in meminfo.read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                left.append(int(line.split()[1]) * 1024)
    return min(left, default=None)


def has_room(num_bytes: int) -> bool:
    """Tell whether this process can have so much more address space."""
    try:
        mmap.mmap(-1, num_bytes).close()
    except (OSError, MemoryError):
        return False
    return True


def free_memory_bytes() -> int:
    """Return the memory that this process may still take; where nothing says, a quarter of all."""
    known = known_free_bytes()
    if known is None:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    return known


def _memory_grants(root: Path, own: Path) -> Iterator[tuple[int, int]]:
    """Yield the limit of each control group that has one, and the bytes that are in use of it.

    Files that were read lie in memory too, and count as used; those not read lately
    (`inactive_file`) give way as soon as a program wants the room, so they are left out.
    """
    for folder in _group_folders("memory", root, own):
        for limit_name, used_name, cached_name in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit, used = _words_of(folder / limit_name), _words_of(folder / used_name)
            if limit and limit[0].isdigit() and int(limit[0]) < _NO_LIMIT:
                stat = _words_of(folder / "memory.stat")
                cached = dict(zip(stat[::2], stat[1::2], strict=False)).get(cached_name, "0")
                yield int(limit[0]), max(0, int(used[0]) - int(cached)) if used else 0


def _group_folders(controller: str, root: Path, own: Path) -> Iterator[Path]:
    """Yield the folders of this process's group and of all above it, of both versions."""
    if not own.exists():
        return
    for line in own.read_text().splitlines():
        _, controllers, place = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / controller if controllers else root
        group = top / place.lstrip("/")
        yield from (one for one in (group, *group.parents) if one.is_relative_to(top))


def _words_of(file: Path) -> list[str]:
    """Return the words of a control group's file, none where it is missing."""
    return file.read_text().split() if file.is_file() else []


def parse_threads(text: str) -> int | None:
    """Parse `--threads auto|N`; None is `auto`.

    Raises:
        UsageError: Neither.
    """
    if text == AUTO:
        return None
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MOST_THREADS):
        raise UsageError(f"--threads {text}: should be auto, or a number from 1 to {MOST_THREADS}")
    return int(text)


@dataclass(frozen=True)
class Trial:
    """What trying numbers of threads found.

    Attributes:
        threads: The number to take.
        seconds: What a step took with each number that was tried; empty if none was.
    """

    threads: int
    seconds: dict[int, float]

    def text(self, unit: str = "steps/s") -> str:
        """Say what was taken and why, as in `1 thread: 3.0 steps/s, 0.5 with 2`."""
        rates = {number: 1 / max(seconds, 1e-9) for number, seconds in self.seconds.items()}
        ours = rates.pop(self.threads)
        others = ", ".join(f"{rate:.2g} with {number}" for number, rate in rates.items())
        plural = "" if self.threads == 1 else "s"
        return f"{self.threads} thread{plural}: {ours:.2g} {unit}, {others}"


def try_threads(step: Callable[[], object], most: int, set_threads: Callable[[int], None]) -> Trial:
    """Time a step with one thread and with `most`, in turn, and say which number is faster.

    Args:
        step: Does the work once. The first call with each number of threads is not counted.
        most: Threads that the machine grants; with one nothing is tried.
        set_threads: Called with the number of threads before each step. The last number it gets
            is one of those tried, not necessarily the one to take.
    """
    if most <= 1:
        return Trial(1, {})
    took: dict[int, list[float]] = {most: [], 1: []}
    started = time.perf_counter()
    for round_ in range(_ROUNDS + 1):
        for number, seconds in took.items():
            set_threads(number)
            began = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - began)
        long = time.perf_counter() - started > _LONG_S
        if round_ == 0 and not long:
            took = {number: [] for number in took}
        elif long or (round_ >= _LEAST and _is_clear(*took.values())):
            break
    typical = {number: sorted(seconds)[(len(seconds) - 1) // 2] for number, seconds in took.items()}
    return Trial(most if typical[1] > GAIN * typical[most] else 1, typical)


def _is_clear(some: list[float], others: list[float]) -> bool:
    """Whether all of one side are far above all of the other."""
    return min(some) > _ENOUGH * max(others) or min(others) > _ENOUGH * max(some)


def free_cores(most: int | None = None, for_s: float = 0.2) -> float:
    """Measure how many cores' time this process gets when it asks for all that are granted.

    Args:
        most: Cores to ask for; None for those granted.
        for_s: Seconds to ask for it.

    Returns:
        About `most` on a quiet machine, less where other programs run.
    """
    import hashlib
    from concurrent.futures import ThreadPoolExecutor

    most = most or granted_cores()
    end = time.perf_counter() + for_s

    def work() -> None:
        while time.perf_counter() < end:
            hashlib.sha256(_BLOCK).digest()  # without the interpreter's lock

    began, spent = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(most) as pool:
        for job in [pool.submit(work) for _ in range(most)]:
            job.result()
    return (time.process_time() - spent) / (time.perf_counter() - began)
