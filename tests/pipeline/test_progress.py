"""Progress where nobody watches: lines with one count from what was there to all there is."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from avpipe.pipeline import progress
from avpipe.pipeline.progress import Progress
from avpipe.pipeline.watch import watch, watch_stages


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let no time pass but what is waited."""
    now = [1000.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(Progress, "_line_due", None)

    def pass_time(seconds: float) -> None:
        now[0] += seconds

    return pass_time


def test_a_line_soon_and_then_now_and_again(
    wait: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("knn", 100) as bar:
        for _ in range(100):
            wait(1)
            bar.advance(1, note="well")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "knn 5/100 clips, 1.0 clips/s, 1.6 min left, well"
    assert [line.split()[1] for line in lines] == ["5/100", "35/100", "65/100", "95/100"]


def test_a_resumed_run_begins_with_what_is_there(
    wait: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with watch("train", "steps") as update:
        update(190, 560)
        wait(100)
        update(240, 560)
        wait(100)
        update(560, 560)
    assert capsys.readouterr().err.splitlines() == [
        "train 240/560 steps, 0.5 steps/s, 10.7 min left",
        "train 560/560 steps, 1.9 steps/s, 0.0 min left",
    ]


def test_many_short_bars_are_told_of(
    wait: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with watch_stages("frames") as update:
        for number in range(20):
            for done in (0, 10, 20):
                update(f"clip{number} drawn", done, 20)
                wait(2)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == ["clip1", "clip6", "clip11", "clip16"]
    assert lines[0] == "clip1 drawn 10/20 frames, 5.0 frames/s, 0.0 min left"


def test_a_bar_that_has_just_begun_tells_no_rate(
    wait: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with watch("data", "clips") as update:
        update(0, 9)
    wait(6)
    with watch("train", "steps") as update:
        update(0, 550)
        wait(0.01)
        update(4, 550, note="epoch 1/5")
        wait(40)
        update(204, 550)
    assert capsys.readouterr().err.splitlines() == [
        "train 4/550 steps, epoch 1/5",
        "train 204/550 steps, 5.1 steps/s, 1.1 min left",
    ]
