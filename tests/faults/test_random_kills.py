"""A few of the random kills of `kills.py`, of commands that no other test kills."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import fault_commands
import power_worlds
import pytest
from faults.kill_cases import CASES, needs_of
from faults.kills import Killer, damaged, differences
from warm import Warm

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("one_thread")]
HERE = ("drop", "verify --repair", "export", "export-cache")


@pytest.fixture(scope="module")
def killer(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killer]:
    folder = tmp_path_factory.mktemp("kills")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVPIPE_WEIGHTS_DIR", str(folder / "no-weights"))
        yield Killer(folder, warm, HERE)


@pytest.mark.parametrize("name", HERE)
def test_killed_at_a_random_moment(killer: Killer, name: str) -> None:
    found = killer.kill(name, random.Random(f"3:{name}"))
    assert found["why"] == ""


def test_what_a_kill_may_not_leave_would_be_noticed(killer: Killer, tmp_path: Path) -> None:
    calm = {"a.h5": b"1", "b.h5": b"2"}
    assert differences(calm, dict(calm)) == ""
    found = differences(calm, {"a.h5": b"0", ".b.h5.host.1.12345678": b""})
    assert found == ".b.h5.host.1.12345678 is left over, a.h5 is other, b.h5 is missing"
    killer.fresh(CASES["verify --repair"])
    assert len(damaged(killer.work)) == 3
    (tmp_path / "run/checkpoints/00000001").mkdir(parents=True)
    assert "run/checkpoints/00000001/optimizer.pt" in damaged(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        [case.words for case in CASES.values()],
        list(fault_commands.COMMANDS),
        list(power_worlds.COMMANDS),
    ],
    ids=["kills", "system calls", "power"],
)
def test_every_command_that_writes_is_among_the_cases(names: list[str]) -> None:
    assert {name.split()[0] for name in names} >= {
        "extract", "embed-teachers", "knn", "cluster", "train", "evaluate", "localize", "export",
        "export-cache", "import-checkpoint", "report", "drop", "verify", "synth",
    }  # fmt: skip


def test_a_case_has_what_it_needs() -> None:
    assert needs_of(CASES["report"]) == {"run", "cache", "world"}


def test_a_command_is_killed_before_its_end(killer: Killer) -> None:
    codes = [killer.kill("export", random.Random(seed))["code"] for seed in range(2)]
    assert -signal.SIGKILL in codes
