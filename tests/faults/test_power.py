"""The power fails at any moment: what was told to be done is there, and the rest is made again."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from injected import compiler
from power_loss import Recording, problem_after, record, shape, watched
from power_model import Choice, Disk
from power_worlds import COMMANDS, World, world_in
from witnessed import Event

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(compiler() is None, reason="no C compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="the library is preloaded as Linux does"),
]
LIGHT = [name for name, command in COMMANDS.items() if not command.learns]
HEAVY = [name for name, command in COMMANDS.items() if command.learns]
QUICK = {
    "evaluate": False, "evaluate over others": False, "export": True, "export over another": True,
    "localize": False, "localize --video": True, "import-checkpoint": True, "inspect --out": False,
}  # fmt: skip
"""Of the heavy ones, those that are done in a second, and whether a state is laid on a disk."""
LOST = Choice("", names=lambda _: "", keep=lambda: False, has_length=False)


@pytest.fixture(autouse=True)
def no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVPIPE_DEVICE", "cpu")
    monkeypatch.setenv("AVPIPE_WEIGHTS_DIR", "/nowhere")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_in(tmp_path_factory.mktemp("power")) as made:
        yield made


@pytest.fixture(scope="module")
def learning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVPIPE_DEVICE", "cpu")
        patch.setenv("AVPIPE_WEIGHTS_DIR", "/nowhere")
        with world_in(tmp_path_factory.mktemp("learning"), learns=True) as made:
            yield made


def events(top: Path, *calls: tuple[str, ...]) -> list[Event]:
    """Make calls on a file `a` with inode 1 and a folder `d` of a recording."""
    made = []
    for kind, *paths in calls:
        places = [str(top / path) for path in paths]
        inode = 1 if kind in ("create", "write", "truncate", "fsync") else -1
        made.append(Event(kind, *places, inode=inode, content=b"x" * 5000))
    return made


@pytest.mark.parametrize(
    ("calls", "left"),
    [
        ([("create", "a"), ("write", "a")], {}),
        ([("create", "a"), ("write", "a"), ("fsync", "a")], {}),
        ([("create", "a"), ("write", "a"), ("fsync", "")], {"a": b""}),
        ([("create", "a"), ("write", "a"), ("fsync", "a"), ("fsync", "")], {"a": b"x" * 5000}),
        ([("create", "a"), ("fsync", ""), ("rename", "a", "b")], {"a": b""}),
        ([("create", "a"), ("rename", "a", "b"), ("fsync", "")], {"b": b""}),
        ([("mkdir", "d"), ("create", "d/a"), ("fsync", "d")], {}),
        (
            [("mkdir", "d"), ("fsync", ""), ("create", "d/a"), ("fsync", "d")],
            {"d": None, "d/a": b""},
        ),
        ([("create", "a"), ("fsync", ""), ("unlink", "a")], {"a": b""}),
    ],
)
def test_what_is_not_synced_may_be_lost(
    calls: list[tuple[str, ...]], left: dict[str, bytes | None], tmp_path: Path
) -> None:
    disk = Disk(tmp_path)
    for event in events(tmp_path, *calls):
        disk.apply(event)
    assert disk.crashed(LOST) == left


def test_blocks_and_lengths_are_lost_each_for_itself(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    for event in events(tmp_path, ("create", "a"), ("fsync", ""), ("write", "a")):
        disk.apply(event)
    rng = random.Random(0)
    found = {disk.crashed(choice)["a"] for choice in disk.choices(rng, 60)}
    first, last = b"x" * 4096, b"x" * 904
    assert found == {
        b"", first + last, first + bytes(904), bytes(4096) + last, bytes(5000), first,
    }  # fmt: skip


@pytest.mark.parametrize("without", ["file", "folder"])
def test_a_command_that_does_not_sync_is_found(without: str, world: World) -> None:
    name = "extract more"
    whole = record(world, name)

    def is_synced(event: Event) -> bool:
        is_file = "." in Path(event.path).name
        return event.kind != "fsync" or is_file != (without == "file")

    careless = Recording(name, whole.begun, [event for event in whole.events if is_synced(event)])
    broken = [crash for crash in careless.crashes(0, 2) if crash.broken]
    assert broken
    if without == "file":  # and what is torn is found by `verify`
        assert any(problem_after(world, name, one.state).startswith("P2") for one in broken[:40])


@pytest.mark.parametrize("name", LIGHT)
def test_what_was_published_is_there(name: str, world: World) -> None:
    broken: dict[str, str] = {}
    different = {}
    for crash in record(world, name).crashes(0, 4):
        different[shape(crash.state)] = crash
        if crash.broken:
            broken.setdefault(crash.broken, crash.where)
    assert not broken
    for crash in random.Random(0).sample(list(different.values()), 2):
        assert problem_after(world, name, crash.state) == "", crash.where


@pytest.mark.parametrize("name", QUICK)
def test_what_was_written_with_networks_is_there(name: str, learning: World) -> None:
    broken: dict[str, str] = {}
    rng, chosen = random.Random(name), None
    for count, crash in enumerate(watched(learning, name).crashes(0, 1), 1):
        if rng.random() < 1 / count:
            chosen = crash
        if crash.broken:
            broken.setdefault(crash.broken, crash.where)
    assert chosen and not broken
    if QUICK[name]:
        assert problem_after(learning, name, chosen.state) == "", chosen.where


def test_a_file_with_other_bytes_than_its_first_and_last_is_found(world: World) -> None:
    name, path = "export-cache", "out/clips-000001.tar"
    world.calm(name)
    world.begin(name)
    world.witness.run(world.words(name))
    state = {**Disk.of(world.case).now(), path: b"half"}
    assert problem_after(world, name, state).startswith("P2: verify finds")
    del state["out/SHA256SUMS"]
    assert problem_after(world, name, state) == f"P2: ['{path}'] have their names, not their bytes"


def test_what_a_folder_was_told_to_hold_is_not_held_in_its_draft(tmp_path: Path) -> None:
    """Of a folder's draft nothing is promised; of the folder, all that was in it."""
    draft = ".d.host.1.1.00000000"
    names = [("mkdir", draft), ("create", f"{draft}/a"), ("mark", f"{draft}/a")]
    done = [("fsync", draft), ("rename", draft, "d")]
    rest = [("mark", "d"), ("mkdir", "other")]
    careful = Recording("x", Disk(tmp_path), events(tmp_path, *names, *done, ("fsync", ""), *rest))
    assert not any(crash.broken for crash in careful.crashes(0, 1))
    careless = Recording("x", Disk(tmp_path), events(tmp_path, *names, *done, *rest))
    assert "d was published and is gone" in {one.broken for one in careless.crashes(0, 1)}


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", [*LIGHT, *HEAVY])
def test_every_state_is_finished(
    name: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    world = request.getfixturevalue("learning" if name in HEAVY else "world")
    wrong, seen, count = [], set(), 0
    for crash in record(world, name).crashes(0, 4):
        count += 1
        if crash.broken:
            wrong.append(f"{crash.where}: {crash.broken}")
        if (key := shape(crash.state)) not in seen:
            seen.add(key)
            if problem := problem_after(world, name, crash.state):
                wrong.append(f"{crash.where}: {problem}")
    with capsys.disabled():
        print(f"\n{name}: {count} states, {len(seen)} of them different")
    assert not wrong, "\n".join(wrong[:20])
