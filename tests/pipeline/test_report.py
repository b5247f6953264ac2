"""What people see: tables, sizes, the renderings of each command's document."""

from typing import Any

import pytest
from avpipe.pipeline import output
from avpipe.pipeline.commands import extract, localize, train
from avpipe.pipeline.commands.status import status_text
from avpipe.pipeline.commands.verify import verify_text
from avpipe.pipeline.networks.dry_run import estimate_text
from avpipe.pipeline.verified.document import document


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_500_000, "1.5 MB"),
        (4 * 10**16, "40000.0 TB"),
    ],
)
def test_sizes(num_bytes: int, text: str) -> None:
    assert output.size_text(num_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (1.64, "1.6 s"),
        (59.4, "59 s"),
        (90, "2 min"),
        (3599, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (86_400 * 3 + 7200, "3 d 2 h"),
    ],
)
def test_times(seconds: float, text: str) -> None:
    assert output.time_text(seconds) == text


def test_table_aligns_and_cuts_nothing() -> None:
    assert output.table(("name", "clips"), [("a" * 9, 5), ("b", 1234)]).splitlines() == [
        "name       clips",
        "----------------",
        "aaaaaaaaa      5",
        "b           1234",
    ]


def stage(**values: Any) -> dict[str, Any]:
    base = {"name": "extract", "done": 7, "stale": 0, "missing": 0, "dropped": False}
    return base | {"bytes": 2_000_000, "params": {}, "weights": [], "mixed": {}} | values


def test_status() -> None:
    document = {
        "schema": "avpipe.status/1",
        "clips": {"total": 10, "done": 7, "failed": 3, "todo": 0},
        "failures": {"empty": 1, "no_audio": 2},
        "stages": [
            stage(mixed={"av": ["18.0.0", "18.1.0"]}),
            stage(name="audio", dropped=True),
        ],
        "ids": {"listed": 3, "absent": 1, "first_absent": ["x"]},
    }
    text = status_text(document)
    lines = text.splitlines()
    assert lines[0] == "10 clips: 7 done, 3 failed, 0 todo"
    assert lines[4:6] == ["no_audio      2", "empty         1"]
    assert "audio       7      0  dropped  2.0 MB" in lines
    assert "extract: made with av 18.0.0 and 18.1.0" in lines
    assert "numpy" not in text
    assert "first absent  x" in lines


def test_verify() -> None:
    sound = document(files=5, size=10, damaged={}, commands=[], lost=[])
    assert sound["ok"] and verify_text(sound) == "5 files, 10 B: none damaged"
    damaged = {
        "audio/0000001.h5": "sha256 differs",
        "extract/0000002.h5": "/c/extract/0000002.h5: cut off; run x",
    }
    repaired = ["audio/0000001.h5 moved to damaged/"]
    line = "avpipe extract --cache c"
    found = document(files=5, size=10, damaged=damaged, commands=[line], lost=[], repaired=repaired)
    assert not found["ok"]
    assert verify_text(found).splitlines() == [
        "5 files, 10 B: 2 damaged",
        "damaged   audio/0000001.h5: sha256 differs",
        "damaged   extract/0000002.h5: cut off; run x",
        "repaired  audio/0000001.h5 moved to damaged/",
        "",
        "to make the rest again:",
        line,
    ]


def test_fields() -> None:
    document = {"schema": "x/1", "done": 3, "failed_by_reason": {"empty": 2, "oom": 1}}
    document |= {"bytes_in": 1500, "seconds": 7500.0, "left": {"": 2, "(hidden)": 3}}
    document |= {"ignored": {}, "file": None, "ok": True, "first": ["a", "b"]}
    assert output.fields_text(document).splitlines() == [
        "done              3",
        "failed by reason  2 empty, 1 oom",
        "bytes in          1.5 kB",
        "seconds           2 h 5 min",
        "left              2 (no suffix), 3 (hidden)",
        "ignored           -",
        "file              -",
        "ok                true",
        "first             a, b",
    ]


def test_what_a_run_did_is_said_in_words() -> None:
    document: dict[str, Any] = {"schema": "x/1", "planned": 7, "done": 3, "skipped": 1}
    document |= {"failed": 3, "failed_by_reason": {"empty": 2, "oom": 1}, "failed_total": 4}
    document |= {"ignored": {}, "seconds": 1.2, "per_second": 5.0}
    assert output.run_text(document).splitlines() == [
        "new clips         7",
        "done now          3",
        "finished before   1",
        "failed now        3",
        "why they failed   2 empty, 1 oom",
        "failed in all     4",
        "time              1.2 s",
        "clips per second  5.0",
    ]
    noticed = output.run_text({**document, "notices": ["videos: a sound has no picture"]})
    assert noticed.splitlines()[-1] == "videos: a sound has no picture"
    estimate = {"new": 2, "pending": 1, "bytes_in": 1500, "bytes_out": 3, "seconds": 60.0}
    assert extract.estimate_text(estimate).splitlines() == [
        "new clips             2",
        "clips planned before  1",
        "to read               1.5 kB",
        "to write              3 B",
        "time                  1 min",
    ]


def test_runs_and_estimates() -> None:
    run: dict[str, Any] = {"run": "runs/a", "seed": 3, "clips": 24, "batch_size": 8}
    run |= {"num_steps": 60, "done": 20, "loss": 0.5, "per_second": 9.96, "weights": None}
    done = {**run, "run": "r", "done": 0, "loss": None, "per_second": 0.0, "weights": "random:0"}
    assert train.train_text(
        {"runs": [run, done], "mean": {"val_loss": None}, "std": None}
    ).splitlines() == [
        "run     seed  clips  batch  steps  done now  loss   steps/s",
        "-----------------------------------------------------------",
        "runs/a     3     24      8     60        20  0.500  10.0",
        "r          3     24      8     60         0  -      0.0",
        "r began with RANDOM weights (seed 0), for tests and demos: they know nothing",
    ]
    timed = [{**run, "seconds": 20.0, "waited_s": 0.5}, {**done, "seconds": 0.0, "waited_s": 0.0}]
    told = train.train_text({"runs": timed, "mean": {"val_loss": None}, "std": None})
    assert told.splitlines()[4] == "runs/a waited for clips 2.5% of its time"
    assert "r waited" not in told
    row = {"stage": "hints/x", "clips": 3, "bytes_out": 2000, "seconds": 1.6}
    assert estimate_text({"device": "cpu", "stages": [row]}).splitlines()[2:] == [
        "hints/x      3  2.0 kB  1.6 s"
    ]


def test_pictures() -> None:
    document = {"failed": {"b": "empty no bytes"}, "notices": ["c: cut"], "pictures": ["o/a.png"]}
    document["videos"] = ["o/a.mp4"]
    told = ["failed  b: empty no bytes", "c: cut", "o/a.png", "o/a.mp4"]
    assert localize.localize_text(document).splitlines() == told


def test_random_weights_stand_in_the_status() -> None:
    document = {
        "clips": {"total": 7, "done": 7, "failed": 0, "todo": 0},
        "failures": {},
        "stages": [
            stage(name="hints/a", weights=["random:0"]),
            stage(name="hints/b", weights=["ab" * 32]),
            stage(name="hints/c", weights=["random:0"]),
        ],
    }
    (line,) = [line for line in status_text(document).splitlines() if "RANDOM" in line]
    assert line.endswith("they know nothing: hints/a, hints/c")
