"""Commands beside each other on one cache: each ends as it should, and nothing is lost or torn."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator

import pytest
from injected import compiler
from interleaved import (
    GROUPS,
    Schedule,
    alone,
    begin,
    meeting_points,
    problem_of,
    sampled,
    schedules,
    traces,
)
from power_worlds import World, world_in

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(compiler() is None, reason="no C compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="the library is preloaded as Linux does"),
]
LIGHT = [name for name in GROUPS if "train" not in name]
EVERY_DAY = ["extract, extract", "extract more, drop audio", "drop hints, drop hints"]


@pytest.fixture(autouse=True)
def no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVPIPE_DEVICE", "cpu")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_in(tmp_path_factory.mktemp("meetings")) as made:
        yield made


@pytest.fixture(scope="module")
def learning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVPIPE_DEVICE", "cpu")
        with world_in(tmp_path_factory.mktemp("learning"), learns=True) as made:
            yield made


def test_calls_meet_where_one_changes_what_the_other_sees() -> None:
    reads = [("open", "", "/c/a"), ("open", "", "/c/b"), ("list", "", "/c")]
    writes = [("create", "", "/c/.a.host.1.0123abcd"), ("rename", "/c/.a.host.1.0123abcd", "/c/a")]
    assert meeting_points([reads, writes]) == [[0, 2], [0, 1]]
    assert meeting_points([reads, reads]) == [[], []]


def test_all_schedules_of_a_depth() -> None:
    points = [[1, 3], [2]]
    assert list(schedules(points, 1)) == [((0, 1),), ((0, 3),), ((1, 2),)]
    two = [((0, 1), (1, 2)), ((0, 3), (1, 2)), ((1, 2), (0, 1)), ((1, 2), (0, 3))]
    assert [one for one in schedules(points, 2) if len(one) == 2] == two
    three = [one for one in schedules(points, 3) if len(one) == 3]
    assert three == [((0, 1), (1, 2), (0, 2))]


def test_a_schedule_is_kept_to(world: World) -> None:
    group = GROUPS["drop audio, verify"]
    points = meeting_points(traces(world, group))
    schedule = ((0, points[0][1]), (1, points[1][1]))
    met = world.witness.step(begin(world, group), schedule)
    who = [number for number, *_ in met.trace]
    first, second = schedule[0][1], schedule[1][1]
    assert who[:first] == [0] * first and who[first : first + second] == [1] * second
    rest = who[first + second :]
    assert rest == sorted(rest) and set(rest) == {0, 1}


@pytest.mark.parametrize("name", EVERY_DAY)
def test_some_schedules(name: str, world: World) -> None:
    group = GROUPS[name]
    points = meeting_points(traces(world, group))
    assert all(points)
    calm = alone(world, group)
    for schedule in sampled(schedules(points, 2), 3, seed=1):
        assert problem_of(world, group, schedule, calm) == "", schedule


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", GROUPS)
def test_every_change_of_the_runner(
    name: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """All schedules with one change, and 100 of those with two."""
    world = request.getfixturevalue("world" if name in LIGHT else "learning")
    group = GROUPS[name]
    points = meeting_points(traces(world, group))
    every: list[Schedule] = list(schedules(points, 1))
    two = [schedule for schedule in schedules(points, 2) if len(schedule) == 2]
    every += random.Random(0).sample(two, min(100, len(two)))
    calm = alone(world, group)
    wrong = [
        f"{schedule}: {problem}"
        for schedule in every
        if (problem := problem_of(world, group, schedule, calm))
    ]
    with capsys.disabled():
        print(f"\n{name}: {len(every)} of {len(two) + len(every)} schedules")
    assert not wrong, "\n".join(wrong[:20])
