"""Commands beside each other on one cache: every way in which they may meet, to a bounded depth.

A command runs until it is about to make a call at which another one can tell, or undo, what it did;
there a schedule may let the other go on. Of two commands such calls are those on a path that both
touch, if one of them changes it; a listing of a folder meets every change of a name in it. All
schedules with one or two changes of the runner, and then each to its end, are tried.

I1. Each ends with a known exit code and at most one line of error; none hangs.
I2. Every shard that lies there then is whole and fits its manifest (`avpipe verify`), but for what
    was damaged before.
I3. One after the other, the same commands then finish, and leave what they leave undisturbed.
I4. No drafts are left after that.
"""

from __future__ import annotations

import itertools
import random
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from power_worlds import COMMANDS, Words, World, torn
from witnessed import Meeting

Schedule = tuple[tuple[int, int], ...]
Call = tuple[str, str, str]
_DRAFT = re.compile(r"\.(.+)\.[^./]+\.\d+\.\d+\.[0-9a-f]{8}")
_CHANGES = ("create", "rename", "link", "unlink", "mkdir", "rmdir")


@dataclass(frozen=True)
class Group:
    """Commands that run beside each other.

    Attributes:
        names: Of commands of `power_worlds`, or of `MORE`.
        begins_with: The folder of the world that the case is a copy of; "" for an empty one.
        codes: Exit codes that each may end with beside the others.
        same: Whether what they leave does not depend on their order.
    """

    names: tuple[str, ...]
    begins_with: str = ""
    codes: tuple[tuple[int, ...], ...] = ((0,), (0,), (0,))
    same: bool = True


MORE: Mapping[str, Words] = {
    "verify": ["verify"],
    "status": ["status"],
    "drop hints": ["drop", "hints/x"],
}
"""Commands that only run beside others; each gets `--cache`."""
GROUPS: Mapping[str, Group] = {
    "extract, extract": Group(("extract", "extract")),
    "extract more, extract more": Group(("extract more", "extract more"), "made"),
    "extract more, retry": Group(
        ("extract more", "extract --retry-failed"), "failed", ((0,), (0, 3)), same=False
    ),
    "retry, retry": Group(
        ("extract --retry-failed", "extract --retry-failed"), "failed", ((0, 3), (0, 3)), same=False
    ),
    "extract more, drop audio": Group(("extract more", "drop audio"), "made"),
    "extract more, drop hints": Group(("extract more", "drop hints"), "made", ((0,), (0, 4))),
    "drop hints, drop hints": Group(("drop hints", "drop hints"), "made", ((0, 4), (0, 4))),
    "drop audio, drop audio": Group(("drop audio", "drop audio"), "made"),
    "repair, repair": Group(("verify --repair", "verify --repair"), "hurt"),
    "extract more, repair": Group(
        ("extract more", "verify --repair"), "hurt", ((0, 5), (0,)), same=False
    ),
    "drop audio, repair": Group(
        ("drop audio", "verify --repair"), "hurt", ((0,), (0,)), same=False
    ),
    "drop hints, repair": Group(
        ("drop hints", "verify --repair"), "hurt", ((0, 4), (0,)), same=False
    ),
    "extract more, verify": Group(("extract more", "verify"), "made"),
    "drop audio, verify": Group(("drop audio", "verify"), "made"),
    "extract more, status": Group(("extract more", "status"), "made"),
    "extract more, drop audio, verify": Group(("extract more", "drop audio", "verify"), "made"),
    "extract more, train": Group(("extract more", "train here"), "learn"),
    "drop audio, train": Group(("drop audio", "train here"), "learn"),
}


def words_of(world: World, name: str) -> Words:
    """Return a command's arguments."""
    if name == "train here":
        words = [*COMMANDS["train"].words(world.folder, world.case)]
        at = words.index("--cache") + 1
        words[at] = world.case / "cache"
        return words
    return world.words(name) if name in COMMANDS else [*MORE[name], "--cache", world.case / "cache"]


def begin(world: World, group: Group) -> list[Words]:
    """Give commands a fresh start; return their arguments."""
    world.clear()
    if group.begins_with:
        shutil.copytree(world.folder / group.begins_with, world.case, dirs_exist_ok=True)
    return [words_of(world, name) for name in group.names]


def traces(world: World, group: Group) -> list[list[Call]]:
    """Run each command alone, from the same start; return its calls."""
    found = []
    for number in range(len(group.names)):
        words = begin(world, group)[number]
        met = world.witness.step([words])
        found.append([(kind, first, second) for _, kind, first, second in met.trace])
    return found


def meeting_points(calls: Sequence[Sequence[Call]]) -> list[list[int]]:
    """Return for each command the numbers of the calls that meet another command's."""
    effects = [[_effects(call) for call in one] for one in calls]
    found = []
    for who, mine in enumerate(effects):
        theirs = [effect for other, many in enumerate(effects) if other != who for effect in many]
        changed = {path for effect in theirs for path in effect[1]}
        seen = changed | {path for effect in theirs for path in effect[0]}
        found.append(
            [
                number
                for number, (looks, changes) in enumerate(mine)
                if looks & changed or changes & seen
            ]
        )
    return found


def _effects(call: Call) -> tuple[set[str], set[str]]:
    """Return what a call looks at, and what it changes; a folder's list is `folder/`."""
    kind, first, second = call
    paths = {path for path in (first, second) if path and not _is_draft(path)}
    if kind == "list":
        return {f"{path}/" for path in paths}, set()
    if kind not in _CHANGES:
        return paths, set()
    listed = {f"{PurePosixPath(path).parent}/" for path in (first, second) if path}
    return set(), paths | listed  # a draft is seen in lists alone, nobody else opens it


def _is_draft(path: str) -> bool:
    return bool(_DRAFT.fullmatch(PurePosixPath(path).name))


def schedules(points: Sequence[Sequence[int]], depth: int) -> Iterator[Schedule]:
    """Yield every schedule with up to `depth` changes of the runner at meeting points.

    A command that is stopped at its call number n has made n calls.
    """
    for count in range(1, depth + 1):
        for runners in itertools.product(range(len(points)), repeat=count):
            if any(a == b for a, b in itertools.pairwise(runners)):
                continue
            yield from _stops(points, runners)


def _stops(points: Sequence[Sequence[int]], runners: Sequence[int]) -> Iterator[Schedule]:
    for stops in itertools.product(*(points[who] for who in runners)):
        made = [0] * len(points)
        schedule = []
        for who, stop in zip(runners, stops, strict=True):
            schedule.append((who, stop - made[who]))
            made[who] = stop
        if all(steps > 0 for _, steps in schedule):
            yield tuple(schedule)


def sampled(found: Iterator[Schedule], number: int, seed: int) -> list[Schedule]:
    """Return some of the schedules, each as likely as any other."""
    every = list(found)
    return random.Random(seed).sample(every, min(number, len(every)))


def alone(world: World, group: Group) -> dict[str, str]:
    """Return what commands leave that run one after the other."""
    words = begin(world, group)
    for one in words:
        world.witness.run(one)
    _again(world, group, words)
    return world.files()


def _again(world: World, group: Group, words: Sequence[Words]) -> str:
    """Run commands once more, one after the other; say which one cannot finish."""
    for number, one in enumerate(words):
        if group.names[number] == "drop hints":
            continue
        ended = world.witness.run(one)
        if ended.code not in (0, *group.codes[number]) or ended.problem():
            return f"I3: {group.names[number]} cannot finish: {ended.code} {ended.stderr}"
    return ""


def problem_of(world: World, group: Group, schedule: Schedule, calm: Mapping[str, str]) -> str:
    """Run commands as a schedule says; say what is wrong, "" if nothing."""
    words = begin(world, group)
    met = world.witness.step(words, schedule)
    if problem := _bad_end(group, met):
        return problem
    if problem := torn(world.case / "cache", is_hurt=group.begins_with == "hurt"):
        return f"I2: {problem}"
    if problem := _again(world, group, words):
        return problem
    left = world.files()
    if drafts := [path for path in left if _is_draft(path)]:
        return f"I4: {drafts} are left"
    if group.same and left != calm:
        different = sorted({path for path, _ in left.items() ^ calm.items()})
        return f"I3: other files or bytes: {different}"
    return ""


def _bad_end(group: Group, met: Meeting) -> str:
    if met.hang:
        return f"I1: {met.hang}"
    for name, ended, codes in zip(group.names, met.ended, group.codes, strict=False):
        if ended.problem():
            return f"I1: {name}: {ended.problem()}"
        if ended.code not in codes:
            return f"I1: {name} ended with {ended.code}: {ended.stderr}"
    return ""
