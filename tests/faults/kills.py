"""SIGKILL at random moments of every command that writes, as often as one likes.

    python tests/faults/kills.py --count 1000 --seed 1 --log kills.jsonl

A line of the log is a kill: which command, at which moment, how the same command finished. A second
call with the same log goes on behind its last line. What is shown each time:

- what was published is whole (`avpipe verify` says so of caches and runs),
- no process is left,
- the same command ends well, and every file below its folder has the bytes of an undisturbed run;
  none is missing and none is left over, drafts included. TensorBoard's files, which hold times, are
  not compared.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avpipe.cache.verify import verify
from avpipe.train.runs.verify import is_run, verify_runs
from fake_clips import file_bytes
from faults.kill_cases import CASES, Case, make_base
from processes import descendants
from stopped import run_until_stopped
from warm import HEAVY, Processes, Warm

MODULES = (
    *HEAVY, "avpipe.stages.synth.run", "avpipe.stages.exchange.run", "avpipe.train.runs.peers",
    "avpipe.train.runs.export", "avpipe.pipeline.pages.report.run", "avpipe.cache.verify",
    "avpipe.pipeline.pages.report.overlays", "avpipe.pipeline.pages.report.scores",
    "avpipe.pipeline.extract.run", "avpipe.stages.neighbors.cluster",
    "avpipe.pipeline.verified.caches",
)  # fmt: skip
GONE_S = 300.0
"""What a killed command started has so long to end by itself."""


@dataclass(frozen=True)
class Calm:
    """A command that nobody disturbed: its files, how long it took, how many drafts it wrote."""

    files: dict[str, bytes]
    seconds: float
    drafts: int


class Killer:
    """Kills commands in a folder of its own, and looks at what is left."""

    def __init__(self, folder: Path, warm: Warm, names: Sequence[str] = tuple(CASES)) -> None:
        """Make what the commands of some cases read."""
        self.work, self._log, self._warm = folder / "work", folder / "log", warm
        self.base = make_base(folder, [CASES[name] for name in names])
        self._calm: dict[str, Calm] = {}

    def start(self, case: Case) -> Processes:
        """Start a command in the folder it writes into."""
        before = Path.cwd()
        os.chdir(self.work)
        try:
            self._log.unlink(missing_ok=True)
            return self._warm.command(*case.words.split(), log=self._log)
        finally:
            os.chdir(before)

    def fresh(self, case: Case) -> None:
        """Empty the folder that commands write into, and fill it with what is copied."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        for source, name in case.copied:
            shutil.copytree(self.base / source, self.work / name)

    def calm(self, name: str) -> Calm:
        """Run a command undisturbed, once."""
        if name not in self._calm:
            case = CASES[name]
            self.fresh(case)
            began, seen = time.monotonic(), set[str]()
            run = self.start(case)
            while run.running():
                seen.update(drafts(self.work))
                time.sleep(0.0005)
            seconds = time.monotonic() - began
            assert run.wait() == [case.fails], (name, self._log.read_text())
            self._calm[name] = Calm(files_below(self.work), seconds, len(seen))
        return self._calm[name]

    def kill(self, name: str, rng: random.Random) -> dict[str, Any]:
        """Kill a command at a moment that is drawn, let it finish, and say how that went."""
        calm, case = self.calm(name), CASES[name]
        at_draft = bool(rng.getrandbits(1)) and calm.drafts > 0
        moment = rng.randint(1, calm.drafts) if at_draft else rng.uniform(0, calm.seconds)
        self.fresh(case)
        run = self.start(case)
        seen, began = set[str](), time.monotonic()
        while run.running():
            if at_draft:
                seen.update(drafts(self.work))
                if len(seen) >= moment:
                    break
            elif time.monotonic() - began >= moment:
                break
            time.sleep(0.0002)
        family = descendants(run.pids[0])
        run.send(signal.SIGKILL)
        (code,) = run.wait()
        told = {"case": name, "at": "draft" if at_draft else "time", "moment": round(moment, 4)}
        told |= {"code": code, "drafts_left": sum(1 for _ in drafts(self.work))}
        return {**told, "why": self._after(case, calm, family)}

    def _after(self, case: Case, calm: Calm, family: list[int]) -> str:
        """Look at what a kill left and finish the command; return what is wrong, "" for nothing."""
        if left := still_running(family):
            return f"still running: {left}"
        if not case.words.startswith("verify") and (bad := damaged(self.work)):
            return f"damaged after the kill: {bad}"
        again = self.start(case)
        if again.wait() != [case.fails]:
            return f"the same command ended with {again.wait()}: {self._log.read_text()[-600:]}"
        return differences(calm.files, files_below(self.work))


def drafts(folder: Path) -> Iterator[str]:
    """Yield the drafts below a folder; any of them may go meanwhile."""
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            if name.startswith(".") and name.count(".") > 3:
                yield f"{place}/{name}"


def still_running(family: list[int]) -> list[int]:
    """Wait for what a command started to end; return what does not."""
    end = time.monotonic() + GONE_S
    while left := [pid for pid in family if _runs(pid)]:
        if time.monotonic() > end:
            return left
        time.sleep(0.01)
    return []


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def damaged(folder: Path) -> list[str]:
    """Return what is damaged in the caches and runs of a folder."""
    caches = [path.parent for path in folder.glob("*/manifest")]
    found = [f"{cache.name}/{name}" for cache in caches for name in verify(cache).damaged]
    tops = [
        path for path in folder.iterdir() if not path.name.startswith(".")
    ]  # drafts are no runs
    runs = [path for path in tops if is_run(path) or any(path.glob("seed*/run.json"))]
    return [*found, *(f"{run.name}/{name}" for run in runs for name in verify_runs(run).damaged)]


def files_below(folder: Path) -> dict[str, bytes]:
    """Return every file but TensorBoard's."""
    return {name: text for name, text in file_bytes(folder).items() if "tensorboard/" not in name}


def differences(expected: dict[str, bytes], found: dict[str, bytes]) -> str:
    """Say how files differ from those of an undisturbed run; "" where they do not."""
    parts = [f"{name} is missing" for name in expected.keys() - found]
    parts += [f"{name} is left over" for name in found.keys() - expected]
    parts += [
        f"{name} is other" for name in expected.keys() & found if expected[name] != found[name]
    ]
    return ", ".join(sorted(parts))


def run(count: int, seed: int, log: Path, names: Sequence[str], folder: Path) -> Counter[str]:
    """Kill until the log has `count` lines of this seed; return how many went wrong, by case."""
    lines = log.read_text().splitlines() if log.exists() else []
    done = {one["number"] for one in map(json.loads, lines) if one["seed"] == seed}
    wrong: Counter[str] = Counter()
    with Warm(MODULES) as warm, log.open("a") as file:
        killer = Killer(folder, warm, names)
        for number in sorted(set(range(count)) - done):
            name = names[number % len(names)]
            began = time.monotonic()
            found = killer.kill(name, random.Random(f"{seed}:{number}"))
            seconds = round(time.monotonic() - began, 2)
            line = {"number": number, "seed": seed, **found, "seconds": seconds}
            file.write(json.dumps(line) + "\n")
            file.flush()
            wrong[name] += bool(found["why"])
    return +wrong


def table(log: Path) -> str:
    """Return the counts of a log, a line for each command."""
    kills = [json.loads(line) for line in log.read_text().splitlines()]
    rows = ["| command | kills | before its end | at a draft | drafts left | wrong | s a kill |"]
    rows.append("|---|---|---|---|---|---|---|")
    for name in [*CASES, "all"]:
        own = [one for one in kills if name in (one["case"], "all")]
        if own:
            counts = (
                len(own),
                sum(one["code"] == -signal.SIGKILL for one in own),
                sum(one["at"] == "draft" for one in own),
                sum(one["drafts_left"] > 0 for one in own),
                sum(bool(one["why"]) for one in own),
                f"{sum(one['seconds'] for one in own) / len(own):.1f}",
            )
            rows.append(f"| {name} | {' | '.join(map(str, counts))} |")
    return "\n".join(rows)


def main() -> int:
    """Run from the command line; 1 where something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=len(CASES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, default=Path("kills.jsonl"))
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--table", action="store_true", help="only print the log's counts")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    log = options.log.absolute()
    if not options.table:
        with tempfile.TemporaryDirectory(prefix="avpipe-kills-") as folder:
            os.environ["AVPIPE_WEIGHTS_DIR"] = f"{folder}/no-weights"
            run(options.count, options.seed, log, options.case or list(CASES), Path(folder))
    print(table(log))
    return int(any(json.loads(line)["why"] for line in log.read_text().splitlines()))


if __name__ == "__main__":
    run_until_stopped(main)
