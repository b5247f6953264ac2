"""Figures of docs/scale.md: measured ones say which bench made them, the others follow."""

import itertools
import json
import math
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from avpipe.cache.schema import AUDIO_RATE_HZ
from avpipe.pipeline.commands.plan import plan as plan_command
from avpipe.pipeline.costs import model as cost_model
from avpipe.stages.spectrogram import FRONT_ENDS
from avpipe.stages.teachers.protocol import load_teacher

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
SIZES = (1e5, 1e6, 1e7, 1e8)
UNITS = {
    **{"s": 1.0, "min": 60.0, "h": 3600.0, "days": 86400.0, "years": 365.25 * 86400},
    **{"GB": 1e9, "TB": 1e12, "MiB": 2.0**20, "GiB": 2.0**30},
}


def table(first: str) -> dict[str, list[str]]:
    """Return a table's rows by their first cell; it is the one whose head begins with `first`."""
    lines = PAGE[PAGE.index(f"| {first} |") :].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    return {title: rest for title, *rest in cells}


def amount(text: str) -> tuple[float, float]:
    """Return a figure, and half of its last digit, in seconds or bytes."""
    number, unit = text.split()
    _, _, decimals = number.partition(".")
    return float(number) * UNITS[unit], 0.5 * 10.0 ** -len(decimals) * UNITS[unit]


def row_bytes(*teachers: str) -> int:
    columns = [c for name in teachers for c in load_teacher(name).COLUMNS.values()]
    return sum(np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape in columns)


def test_bytes_of_a_clip_are_those_of_its_columns() -> None:
    front_end = FRONT_ENDS["257x276"]
    expected = [
        257 * front_end.wide_columns * 2, 10 * AUDIO_RATE_HZ * 2, row_bytes("detr-r50"),
        row_bytes("panns-wavegram"), row_bytes("imagenet-resnet18", "vggsound-resnet18"),
        2 * 1000 * (4 + 2), row_bytes("mobilenet-v2-448"), row_bytes("efficientat-mn04"),
    ]  # fmt: skip
    rows = table("per clip")
    assert [int(cells[0].replace(",", "")) for cells in rows.values()] == expected
    for (each, *shown), wanted in zip(rows.values(), expected, strict=True):
        assert int(each.replace(",", "")) == wanted
        for size, text in zip(SIZES, shown, strict=True):
            value, slack = amount(text)
            assert value == pytest.approx(wanted * size, abs=slack * 1.01), (wanted, text)
    files = [math.ceil(size / 256) for size in SIZES]
    assert "{:,}, {:,}, {:,} and {:,} files".format(*files) in PAGE
    assert f"{(455 * 256 * 3 + expected[0]) * 1e5 / 1e9:.0f} GB (computed)" in PAGE
    assert f"{2**31 - 1:,} rows" in PAGE


def test_times_follow_from_measured_ones() -> None:
    rows = table("part")
    assert len(rows) == 13
    for title, (measured, law, *shown) in rows.items():
        figure, _, at = measured.partition(" at ")
        if at:
            base, _ = amount(figure)
            num_clips = float(at.replace(",", ""))
        else:
            base, num_clips = float(figure.split()[0]) / 1000, 1.0
        power = 2 if law == "with N²" else 1
        for size, text in zip(SIZES, shown, strict=True):
            value, slack = amount(text)
            assert value == pytest.approx(base * (size / num_clips) ** power, abs=slack * 1.01), (
                title,
                text,
            )


def test_core_hours_are_arithmetic() -> None:
    assert f"{3.03 / 16 * 1e6 / 3600:.0f} core-hours (extrapolated)" in PAGE
    hours = [0.010 * size / 3600 for size in SIZES]
    assert f"{hours[0]:.2f} core-hours per 100 k, {hours[1]:.1f} per 1 M" in PAGE
    assert f"{hours[2]:.0f} per 10 M, {hours[3]:.0f} per 100 M" in PAGE


def test_tables_are_those_of_the_cost_model() -> None:
    assert cost_model.byte_table() in PAGE
    assert cost_model.time_table() in PAGE


@pytest.mark.parametrize("size", [100_000, 1_000_000, 20_000_000])
def test_a_plan_grows_as_it_says(size: int) -> None:
    document = cost_model.plan(size, cost_model.Means(cores=4, extract_ms=40))
    rows = {row["what"]: row for row in document["stages"]}
    needed = [one.each for one in cost_model.costs()[0] if one.road != cost_model.SMALL]
    assert document["bytes"] == size * sum(needed)
    assert rows["extract"]["core_hours"] == pytest.approx(0.040 * size / 3600)
    assert rows["extract"]["hours"] == pytest.approx(0.010 * size / 3600)
    title = "neighbours, 512 numbers, k = 1000, two threads"
    search, (measured,) = rows[title], [one for one in cost_model.costs()[1] if one.title == title]
    seconds = measured.seconds * (size / measured.clips) ** 2
    assert search["core_hours"] == pytest.approx(2 * seconds / 3600)
    assert {row["growth"] for row in rows.values() if row["stage"] != "knn"} == {1.0}
    assert search["growth"] == 2.0


def test_a_plan_says_what_stops_first() -> None:
    def stops(size: int, **means: float) -> str:
        return str(cost_model.plan(size, cost_model.Means(4, **means))["stops_first"])

    assert stops(100_000).startswith("nothing within a month; the longest is train (an epoch")
    assert stops(100_000, disk_bytes=10**10).startswith("the disk: 110 GB are to be stored, 10 GB")
    assert stops(10**7, memory_bytes=2**31).startswith("the manifest: planning takes 4.7 GB")
    assert stops(10**8).startswith("knn (neighbours, 512 numbers")
    assert "2,147,483,647 rows" in stops(3 * 10**9)


def test_a_gpu_is_assumed_by_name_only() -> None:
    plain = cost_model.plan(10**6, cost_model.Means(4, gpus=2))
    assert all(row["gpu_hours"] == 0 for row in plain["stages"])
    assert any(line.startswith("GPUs: nothing was measured") for line in plain["missing"])
    assumed = cost_model.plan(10**6, cost_model.Means(4, gpus=2, gpu_factor=50))
    (row,) = (row for row in assumed["stages"] if "detr" in row["what"])
    assert row["gpu_hours"] == pytest.approx(0.1459 * 10**6 / 3600 / 50)
    assert row["hours"] == pytest.approx(row["gpu_hours"] / 2) and row["core_hours"] == 0
    (line,) = assumed["assumptions"]
    assert line == "a GPU does the work of 50 cores (--gpu-factor, not measured)"


def test_every_figure_says_where_it_was_measured() -> None:
    for cost in cost_model.costs()[1]:
        bench = cost.where.split(",")[0]
        assert (ROOT / bench).is_file() and cost.title in PAGE


def test_the_command_prints_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    plan_command(clips=2_000_000, cores=64, gpus=8, cluster=True, gpu_factor=100, recipe="slavc")
    text = capsys.readouterr().out
    assert "2,000,000 clips, 64 cores, 8 GPUs: 2.2 TB to store, frames not counted" in text
    assert "assumed: a GPU does the work of 100 cores" in text
    assert "missing: extract: depends on the videos" in text and "N^2" in text
    assert "for recipe slavc: DETR, PANNs and neighbours; `--recipe cached` plans" in text


def test_the_road_of_readme_is_planned_with_its_networks_and_its_recipe(
    capsys: pytest.CaptureFixture[str],
) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    road = readme[readme.index("avpipe embed-teachers") :].split("```")[0].split()
    options = dict(itertools.pairwise(road))
    visual = f"{options['--visual']}-{options['--visual-size']}"
    audio, recipe = options["--audio"], options["--recipe"]
    plan_command(clips=1200, cores=2, json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["recipe"] == recipe and document["road"] == cost_model.SMALL
    whats = " ".join(row["what"] for row in document["stages"])
    assert all(f"`{name}`" in whats for name in (visual, audio, recipe))
    assert not any(name in whats for name in ("detr", "panns", "neighbours", "slavc"))
    stored = [(257 * 462 + 10 * AUDIO_RATE_HZ) * 2, row_bytes(visual, audio)]
    assert document["bytes"] == 1200 * sum(stored)
    (row,) = (row for row in document["stages"] if recipe in row["what"])
    assert row["hours"] == pytest.approx(33 / 3600)  # as docs/log.md has it of these clips
    plan_command(clips=1200, cores=2, recipe="compact")
    assert "detr-r50" in capsys.readouterr().out


@pytest.mark.parametrize("code", [0, 3, 143])
def test_the_array_of_slurm_runs_a_part_and_is_put_back_in_time(code: int, tmp_path: Path) -> None:
    script = PAGE[PAGE.index("#!/bin/bash") :].split("```")[0]
    programs = {
        "srun": 'exec "$@"',
        "avpipe": f'echo "$AVPIPE_CACHE $AVPIPE_JOBS $*"; exit {code}',
        "scontrol": 'echo "scontrol $*"',
    }
    for name, line in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o700)
    task = {"CPUS_PER_TASK": "8", "ARRAY_TASK_ID": "3", "ARRAY_TASK_COUNT": "8"}
    env = {f"SLURM_{name}": value for name, value in {**task, "ARRAY_JOB_ID": "77"}.items()}
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], env={**env, "PATH": path}, capture_output=True, text=True
    )
    lines = ["/shared/avcache 8 extract --part 3/8", *["scontrol requeue 77_3"] * (code == 143)]
    assert (done.returncode, done.stdout.splitlines()) == (code, lines)
    directives = re.findall(r"^#SBATCH (.+)$", script, re.MULTILINE)
    assert {"--array=0-7", "--requeue", "--signal=TERM@60", "--open-mode=append"} < set(directives)
