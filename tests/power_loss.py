"""What the power may leave of a command, and whether it keeps its promises.

P1. What a command told to be published, or ended with, is there after a crash: its bytes, or those
    that took their place later.
P2. Nothing that bears its final name is torn: `avpipe verify` finds no damage that was not there.
P3. The same command finishes with the bytes of an undisturbed run, and leaves no drafts.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from power_model import Disk, State, below, fingerprint, lay
from power_worlds import COMMANDS, World, torn, torn_run, torn_sums
from witnessed import Event

_DRAFT = re.compile(r"\.(.+)\.[^./]+\.\d+\.\d+\.[0-9a-f]{8}")
_UNPROMISED = re.compile(r"(^|/)(\.lock$|tensorboard/|durations\.journal)|tfevents")
"""Locks, and what is told to be of no consequence."""


@dataclass(frozen=True)
class Crash:
    """A state that the power may leave.

    Attributes:
        where: Number of the last recorded call, what it was, and what the crash chose.
        state: What lies on the disk.
        broken: Which promise P1 it breaks; "" if none.
    """

    where: str
    state: State = field(repr=False)
    broken: str = ""


@dataclass
class Promises:
    """What a command told to be there: path to all that may lie there from then on."""

    disk: Disk
    kept: dict[str, list[object]] = field(default_factory=dict)
    ended: bool = False

    def take(self, event: Event) -> None:
        """Take up what a recorded call promises, and what takes the place of promised files."""
        if event.kind == "mark":
            path = event.path.removeprefix(f"{self.disk.top}/")
            if self.disk.find(event.path) is not None and not in_draft(path):
                self.kept[path] = []
        if not self.kept or event.kind == "fsync":
            return
        now = without_drafts(self.disk.now())
        for path, values in self.kept.items():
            value = below(now, path)
            if value not in values:
                values.append(value)

    def take_end(self) -> None:
        """Take up that all there is was told to be done."""
        now = without_drafts(self.disk.now())
        self.kept = {
            path: [below(now, path)]
            for path, content in now.items()
            if content is not None and not _UNPROMISED.search(path)
        }
        self.ended = True

    def broken(self, state: State) -> str:
        """Say which promise a state breaks; "" if none."""
        state = without_drafts(state)
        for path, values in self.kept.items():
            if below(state, path) not in values:
                return f"{path} was published and is {'other' if path in state else 'gone'}"
        for path, content in state.items() if self.ended else ():
            if content is not None and path not in self.kept and not _UNPROMISED.search(path):
                return f"{path} was removed and is back"
        return ""


@dataclass(frozen=True)
class Recording:
    """A command that ran once while it was watched.

    Attributes:
        begun: What lay there.
        events: What it changed.
    """

    name: str
    begun: Disk
    events: list[Event] = field(repr=False)

    def crashes(self, seed: int, num_random: int) -> Iterator[Crash]:
        """Yield the states of every moment; can be done once."""
        disk, promises = self.begun, Promises(self.begun)
        for number, event in enumerate([*self.events, None]):
            rng = random.Random(f"{seed} {number}")
            if event:
                disk.apply(event)
                promises.take(event)
            else:
                promises.take_end()
            if event is None or event.kind not in ("mark", "fsync"):
                what = f"{event.kind} {event.target or event.path}" if event else "its end"
                for choice in disk.choices(rng, num_random):
                    state = disk.crashed(choice)
                    where = f"{self.name}: call {number}, {what}: {choice.name}"
                    yield Crash(where, state, promises.broken(state))


def watched(world: World, name: str) -> Recording:
    """Run a command that is watched."""
    world.begin(name)
    begun = Disk.of(world.case)
    ended, events = world.witness.record(world.words(name))
    assert ended.code in COMMANDS[name].codes, ended
    return Recording(name, begun, events)


def record(world: World, name: str) -> Recording:
    """Run a command that is watched; see that the recording holds all that it did."""
    recording = watched(world, name)
    assert world.files() == world.calm(name), f"{name} leaves other bytes when it is run again"
    replayed = Disk.of(world.case)
    world.begin(name)
    check = Disk.of(world.case)
    for event in recording.events:
        check.apply(event)
    found = {path: value for path, value in check.now().items() if "tfevents" not in path}
    live = {path: value for path, value in replayed.now().items() if "tfevents" not in path}
    assert found == live, (
        f"the recording of {name} lacks {sorted(live.items() ^ found.items())[:1]}"
    )
    return recording


@lru_cache(4096)
def in_draft(path: str) -> bool:
    """Whether a path is that of a draft, or of something in one."""
    return any(_DRAFT.fullmatch(part) for part in path.split("/"))


def without_drafts(state: State) -> State:
    """Return a state without what nothing is promised of."""
    return {path: content for path, content in state.items() if not in_draft(path)}


def shape(state: State) -> str:
    """Return a digest of a state that does not depend on who wrote its drafts."""
    named = {
        "/".join(_DRAFT.sub(r".\1.draft", part) for part in path.split("/")): content
        for path, content in state.items()
    }
    return fingerprint(named)[:16]


def problem_after(world: World, name: str, state: State) -> str:
    """Lay a state on the disk, check it, run the command again; say what is wrong."""
    command = COMMANDS[name]
    calm = world.calm(name)
    world.clear()
    lay(state, world.case)
    problem = ""
    if not command.mixes:
        problem = torn_run(world.case / "run") or torn_sums(world.case / "out")
    if command.once:
        problem = problem or world.half_written(name)
    if command.cache:
        problem = problem or torn(world.case / command.cache, is_hurt=command.begins_with == "hurt")
    if problem:
        return f"P2: {problem}"
    again = world.witness.run(world.words(name))
    if again.code not in command.codes or again.problem():
        return f"P3: exit code {again.code}: {again.problem() or again.stderr}"
    left = world.files()
    if drafts := [path for path in left if _DRAFT.fullmatch(path.rpartition("/")[2])]:
        return f"P3: {drafts} are left"
    if name == "verify --repair":  # what cannot be read is moved away, nothing is lost
        left = {path.replace("/damaged/", "/"): digest for path, digest in left.items()} | left
    if command.grows or name == "verify --repair":
        left = {path: digest for path, digest in left.items() if path in calm}
    if left != calm:
        different = {path for path, _ in left.items() ^ calm.items()}
        return f"P3: other files or bytes: {sorted(different)}"
    return ""
