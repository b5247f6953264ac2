"""What must hold after a command of which a call failed, and after the same command again."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path

from avpipe.cache.manifest import Manifest
from avpipe.cache.schema import EXTRACT, MANIFEST
from avpipe.cache.state import shard_numbers
from avpipe.cache.store import Cache
from avpipe.cache.verify import verify
from avpipe.train.runs.sealed import unseal
from fault_commands import COMMANDS, Bench
from injected import FAULTS, KINDS, MOVES, Outcome

_DRAFT = re.compile(r"\..+\.\d+(\.\d+)?\.[0-9a-f]{8}")
Files = dict[str, str]


@dataclass
class Checker:
    """Knows what undisturbed commands leave.

    Attributes:
        bench: Where commands run.
    """

    bench: Bench
    _calm: dict[str, tuple[Files, int]] = field(default_factory=dict)
    _digests: dict[tuple[int, int, int], str] = field(default_factory=dict)
    _world: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    def calm(self, command: str) -> tuple[Files, int]:
        """Return the files that a command leaves that nothing disturbs, and how many its calls are.

        It runs once.
        """
        if command not in self._calm:
            found = self.bench.injector(command).run(self.bench.begin(command))
            assert (found.code, found.problem()) == (0, ""), found
            self._calm[command] = self.files(), found.calls
        return self._calm[command]

    def files(self) -> Files:
        """Return the digest of each file of the case.

        TensorBoard's are left out: their names and their lines hold the time of day.
        """
        case = self.bench.case
        found = (path for path in case.rglob("*") if path.is_file())
        return {
            path.relative_to(case).as_posix(): self._digest(path)
            for path in found
            if "tfevents" not in path.name
        }

    def _digest(self, path: Path) -> str:
        """Hash a file; one with several names, as those of the world have, once."""
        stat = path.stat()
        key = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if stat.st_nlink == 1:
            return sha256(path.read_bytes()).hexdigest()
        if key not in self._digests:
            self._digests[key] = sha256(path.read_bytes()).hexdigest()
        return self._digests[key]

    def world(self) -> dict[str, tuple[int, int, int]]:
        """Return what tells a change of a file that no command may change."""
        found = {}
        for top in self.bench.world.iterdir():
            for path in (top, *top.rglob("*")) if top != self.bench.case else ():
                stat = path.stat()
                found[str(path)] = (stat.st_ino, stat.st_size * path.is_file(), stat.st_mtime_ns)
        return found

    def survives(
        self, command: str, fault: str, at: int, kinds: Sequence[str] | None = None
    ) -> tuple[Outcome, str]:
        """Let a call of a command fail, then run the same command again.

        Args:
            command: One of `COMMANDS`.
            fault: One of `FAULTS`.
            at: Number of the call.
            kinds: Which calls are counted; those that the fault can happen to.

        Returns:
            How it ended at the fault, and what was lost; "" if nothing was.
        """
        calm, _ = self.calm(command)
        bench = self.bench
        world, self._world = self._world or self.world(), {}
        words, injector = bench.begin(command), bench.injector(command)
        begun = self.files()
        kinds = kinds or kinds_of(fault)
        found = injector.run(words, at=at, error=FAULTS[fault], kinds=kinds)
        left = self.files()
        if problem := found.problem() or self._broken(command, begun, left, calm):
            return found, problem
        is_done = left == calm
        again = injector.run(words)
        expected = (0, 4) if is_done and command.startswith("drop") else (0,)  # nothing to drop
        if again.code not in expected or again.problem():
            return found, f"rerun: code {again.code} {again.problem()}: {again.stderr}"
        if problem := self._unlike(command, self.files(), calm):
            return found, f"rerun: {problem}"
        now = self.world()
        if now != world:
            return found, "a file was changed that is not the command's"
        self._world = now  # what the next case begins with
        return found, ""

    def _broken(self, command: str, begun: Files, left: Files, calm: Files) -> str:
        """Say what has a name and neither its first nor its last content; "" if nothing has."""
        known = COMMANDS[command]
        if command != "verify --repair":
            for name in known.caches:
                if problem := _cache_problem(self.bench.case / name):
                    return f"{name}: {problem}"
        for name, digest in left.items():
            if _is_draft(name) or digest in (begun.get(name), calm.get(name, digest)):
                continue
            base = name.rpartition("/")[2]
            if not any(fnmatch(base, pattern) for pattern in known.changing):
                return f"{name} has its name and not its content"
            if problem := _unreadable(self.bench.case / name):
                return f"{name}: {problem}"
        return ""

    def _unlike(self, command: str, left: Files, calm: Files) -> str:
        """Say in what the files differ from those that nothing disturbed; "" if they do not."""
        if command == "verify --repair":  # a shard that cannot be read is moved away, none is lost
            moved = {name.replace("hurt/damaged/", "hurt/"): left[name] for name in left}
            kept = moved | left
            return "" if calm.items() <= kept.items() else f"lost: {calm.items() - kept.items()}"
        if stray := sorted(left.keys() - calm.keys()):
            return f"stray files: {stray}"
        if missing := sorted(calm.keys() - left.keys()):
            return f"missing files: {missing}"
        changed = sorted(name for name in calm if left[name] != calm[name])
        return f"other bytes: {changed}" if changed else ""


def kinds_of(fault: str) -> Sequence[str]:
    """Return the calls that a fault can happen to."""
    return MOVES if fault == "short" else KINDS


def _is_draft(name: str) -> bool:
    return any(_DRAFT.fullmatch(part) for part in name.split("/"))


def _cache_problem(cache: Path) -> str:
    """Say what is wrong with a cache: damage, or a clip that counts twice or not at all."""
    if not any((cache / MANIFEST).glob("*.jsonl")):
        return ""  # nothing is planned: nothing is promised
    if damaged := verify(cache).damaged:
        return f"damaged: {damaged}"
    manifest, opened = Manifest(cache), Cache(cache)
    times = Counter({row: 0 for row in range(manifest.num_rows)})
    for number in range(manifest.num_shards):
        if number in shard_numbers(cache, EXTRACT):
            shard = opened.shard(EXTRACT, number)
            times.update(shard.rows.tolist())
            times.update(shard.column("failed_row").tolist())
        else:
            times.update(manifest.shard_rows(number))
    wrong = [row for row, count in times.items() if count != 1]
    return f"rows {wrong} are not exactly once done, failed or to do" if wrong else ""


def _unreadable(path: Path) -> str:
    """Say why a file that will change cannot be read as it is; "" if it can."""
    try:
        if path.name == "run.json":
            unseal(path.read_bytes())
        elif path.suffix == ".jsonl":
            for line in path.read_text().splitlines():
                json.loads(line)
        elif path.suffix == ".safetensors":
            from safetensors.torch import load_file

            load_file(path)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
