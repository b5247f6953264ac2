"""Lines of metrics: their checksum, what damage does to readers, and what resuming removes."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from avpipe.errors import CacheUnwritableError
from avpipe.pipeline.pages.report.curves import read_history
from avpipe.train.notices import collected
from avpipe.train.runs.metric_lines import (
    append_lines,
    cut_lines,
    decode,
    last_loss,
    lines_problem,
    read_lines,
)

STEPS = [
    {"step": n, "epoch": 1, "lr": 1e-5 * n, "loss": 4.0 / n, "image_to_audio": -0.0}
    for n in range(1, 7)
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    append_lines(tmp_path / "metrics.jsonl", STEPS)
    return tmp_path / "metrics.jsonl"


def old_line(step: int, loss: float = 1.0) -> str:
    """As lines were written before they had a checksum."""
    return json.dumps({"step": step, "epoch": 1, "loss": loss}) + "\n"


def test_a_line_is_plain_json_with_a_checksum_that_anyone_can_compute(path: Path) -> None:
    assert read_lines(path) == STEPS
    for text, values in zip(path.read_text().splitlines(), STEPS, strict=True):
        record = json.loads(text)
        rest = dict(sorted((k, v) for k, v in record.items() if k != "crc32"))
        assert rest == values
        assert record["crc32"] == zlib.crc32(json.dumps(rest, separators=(",", ":")).encode())


def test_no_flipped_bit_is_silent(path: Path) -> None:
    """Every bit of the file: the values are read as they were, or a notice names file and line."""
    content = path.read_bytes()
    rng, silent, told_of = np.random.default_rng(0), 0, 0
    for bit in rng.choice(8 * len(content), 600, replace=False).tolist():
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with collected() as told:
            found = read_lines(path)
        silent += found != STEPS and not told
        told_of += bool(told)
        assert all(str(path) in line and "line" in line and "\n" not in line for line in told)
    assert silent == 0 and told_of > 550


@pytest.mark.parametrize(
    "text",
    [
        "5", "null", '"step"', "[]", "{}", "[[1]]", "", '{"loss": 1.0}', '{"step": "3"}',
        '{"step": 3, "loss": "1"}', '{"step": 3, "loss": null}', '{"step": true, "loss": 1.0}',
        '{"step": 3.0}', '{"step": 0}', '{"step": 3, "loss": NaN}', '{"step": 3, "loss": 1e999}',
        '{"stfp": 3, "loss": 1.0}', '{"crc33": 7, "step": 3}', '{"crc32": 7, "step": 3}',
        '{"crc32": "7", "step": 3}', "[" * 100_000, '{"step": ' + "9" * 5000 + "}", "\0" * 20,
    ],
)  # fmt: skip
def test_what_is_not_a_line_is_left_out_and_told(path: Path, text: str) -> None:
    lines = path.read_text().splitlines(keepends=True)
    lines[2] = text + "\n"
    path.write_text("".join(lines))
    with collected() as told:
        assert read_lines(path) == [*STEPS[:2], *STEPS[3:]]
        assert read_history(path.parent, "run").steps == [*STEPS[:2], *STEPS[3:]]
    assert told == [f"{path}: line 3 is damaged: the other lines are read"]


def test_several_damaged_lines_are_one_notice(path: Path) -> None:
    path.write_text("5\n" * 7 + path.read_text() + '{"step": 7, "lo')
    with collected() as told:
        assert read_lines(path) == STEPS
    assert told == [
        f"{path}: line 14, the last, is not whole: it is left out",
        f"{path}: lines 1, 2, 3, 4, 5 and 2 more are damaged: the other lines are read",
    ]


def test_lines_of_older_versions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(old_line(1, 3.0) + old_line(2, 2.5))
    append_lines(path, [{"step": 3, "epoch": 1, "loss": 2.0}])
    with collected() as told:
        assert [line["loss"] for line in read_lines(path)] == [3.0, 2.5, 2.0]
        assert last_loss(path) == 2.0
        assert last_loss(tmp_path / "none.jsonl") is None
    assert told == []


def steps_in(path: Path) -> list[int | None]:
    """Return each line's step, None for a damaged one."""
    lines = [decode(text) for text in path.read_bytes().splitlines()]
    return [None if line is None else int(line.values["step"]) for line in lines]


def test_what_is_made_again_is_cut_and_nothing_else(path: Path) -> None:
    before = path.stat().st_ino
    assert cut_lines(path, 6) is cut_lines(path, 9) is None
    assert path.stat().st_ino == before  # not even written again
    with path.open("a") as file:
        file.write('{"step": 7, "lo')
    assert cut_lines(path, 6) is None
    assert steps_in(path) == [1, 2, 3, 4, 5, 6] and path.read_bytes().endswith(b"}\n")
    assert cut_lines(path, 4) is None
    assert steps_in(path) == [1, 2, 3, 4]
    assert cut_lines(path, 0) is None
    assert path.read_bytes() == b""
    assert cut_lines(path.with_name("none.jsonl"), 3) is None


@pytest.mark.parametrize(
    ("number", "done", "left", "told"),
    [
        (3, 4, [1, 2, None, 4], True),
        (4, 4, [1, 2, 3, None], True),
        (5, 4, [1, 2, 3, 4], False),
        (1, 6, [None, 2, 3, 4, 5, 6], True),
        (6, 6, [1, 2, 3, 4, 5, None], True),
    ],
)
@pytest.mark.parametrize("text", [b"5\n", b'{"step": 999, "los\xff": 1.0}\n', b"\0\0\n"])
def test_a_damaged_line_of_a_step_that_is_done_stays(
    path: Path, number: int, done: int, left: list[int | None], told: bool, text: bytes
) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number - 1] = text
    path.write_bytes(b"".join(lines))
    notice = cut_lines(path, done)
    assert steps_in(path) == left
    assert (notice is not None) == told
    if told:
        assert path.read_bytes().splitlines(keepends=True)[number - 1] == text
        assert notice and f"{path}: line {number} is damaged" in notice


def test_a_lost_end_of_a_line_costs_no_other(path: Path) -> None:
    content = path.read_bytes()
    ends = [at for at, byte in enumerate(content) if byte == 0x0A]
    for end, left in ((ends[1], [1, None, 4]), (ends[3], [1, 2, 3, None]), (ends[5], [1, 2, 3, 4])):
        path.write_bytes(content[:end] + b"\x0b" + content[end + 1 :])
        notice = cut_lines(path, 4)
        assert steps_in(path) == left
        assert (notice is None) == (None not in left)
    path.write_bytes(content[:-1])
    assert cut_lines(path, 6) is None
    assert path.read_bytes() == content


def test_a_step_that_its_place_denies_is_damage_where_no_checksum_speaks(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(old_line(1) + old_line(6) + old_line(3) + old_line(4))
    notice = cut_lines(path, 3)
    assert path.read_text() == old_line(1) + old_line(6) + old_line(3)
    assert notice and "line 2 is damaged" in notice


def test_lines_of_epochs_are_steps_apart(tmp_path: Path) -> None:
    path = tmp_path / "validation.jsonl"
    append_lines(path, [{"step": 10 * n, "epoch": n, "loss": 1.0} for n in (1, 2, 3)])
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + "5\n" + lines[2])
    assert cut_lines(path, 15, every=10) is None
    assert steps_in(path) == [10]
    path.write_text(lines[0] + "5\n" + lines[2])
    assert cut_lines(path, 25, every=10)
    assert steps_in(path) == [10, None]


def test_a_folder_that_cannot_be_written_is_told(path: Path) -> None:
    (path.parent / "x").mkdir()
    with pytest.raises(CacheUnwritableError, match=r"x: .*; make its folder writable"):
        append_lines(path.parent / "x", STEPS)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda lines: lines, ""),
        (lambda lines: lines[:4], "ends at step 4, the checkpoint has done 5"),
        (lambda lines: lines[:2] + lines[3:], "the line of step 3 is missing"),
        (lambda lines: [b"".join(lines).replace(b"2, \"loss\": 0.5", b"2, \"loss\": 0.7")],
         "line 2 is damaged"),
        (lambda lines: [*lines[:4], lines[4][:-1]], "line 5, the last, has no end"),
        (lambda lines: [*lines[:4], lines[4][:-9]], "line 5 is damaged"),
        (lambda lines: [*lines, lines[4][:-9]], ""),  # a kill, behind the checkpoint
        (lambda lines: [*lines[:4], lines[4][:-1] + b"\x0b"], "line 5 is damaged"),
    ],
)  # fmt: skip
def test_what_verify_says_of_lines(
    change: Callable[[list[bytes]], list[bytes]], problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "metrics.jsonl"
    append_lines(path, [{"step": step, "loss": 0.5} for step in range(1, 6)])
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    assert lines_problem(path, 5, all_steps=True) == problem
