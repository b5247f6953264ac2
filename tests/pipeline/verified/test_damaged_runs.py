"""What `verify RUN` prints is run from top to bottom: then the run is whole."""

from __future__ import annotations

import itertools
import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from avpipe.pipeline.main import main
from avpipe.pipeline.verified.again import Again
from avpipe.train import recipe
from avpipe.train.recipe import load_recipe
from avpipe.train.runs.record import RunRecord
from cache_factory import make_cache
from evaluation_factory import TINY, change_page, write_world
from fake_clips import file_bytes
from peer_factory import network_of, write_released

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("one_thread")]

WEIGHTS = "checkpoints/00000004/weights.safetensors"
CHECKPOINT_RECORD = "checkpoints/00000004/checkpoint.json"
SCORES, MAPS = "evaluate/synth-avpipe.json", "evaluate/synth-maps.npz"
PARTS = {
    "record": ["run.json"],
    "weights": [WEIGHTS],
    "checkpoint's record": [CHECKPOINT_RECORD],
    "scores": [SCORES],
    "maps": [MAPS],
    "page": ["report.html"],
    "commands": ["commands.json"],
    "export": ["export/model.safetensors"],
    "export's record": ["export/run.json"],
}
"""A file of each kind that others are made with, or that is made with others."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run that was trained on a part of a cache, validated, scored, shown and exported."""
    folder = tmp_path_factory.mktemp("damaged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVPIPE_WEIGHTS_DIR", str(folder / "no-weights"))
        patch.setenv("AVPIPE_DEVICE", "cpu")
        cache = make_cache(folder / "clips", 28)
        (folder / "held.txt").write_text("\n".join(cache.ids[16:24]))
        (folder / "test.txt").write_text("\n".join(cache.ids[14:]))
        (folder / "truth").mkdir()
        write_world(folder / "truth")
        settings = [word for one in TINY for word in ("--set", one)]
        given = ["--cache", f"{folder}/clips", "--annotations", f"{folder}/truth"]
        run = f"{folder}/run"
        for words in (
            ["train", "--recipe", "compact", "--run", run, "--cache", f"{folder}/clips",
             "--val-ids", f"{folder}/held.txt", *settings],
            ["evaluate", run, *given],
            ["report", run, *given],
            ["export", run, "--license", "mit"],
        ):  # fmt: skip
            assert main(words) == 0
        yield folder


@pytest.fixture
def run(world: Path, tmp_path: Path) -> Path:
    return shutil.copytree(world / "run", tmp_path / "run")


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def ask(capsys: pytest.CaptureFixture[str], folder: Path) -> tuple[int, Any, str]:
    capsys.readouterr()
    code = main(["verify", str(folder), "--json"])
    printed = capsys.readouterr()
    return code, json.loads(printed.out), printed.err


def follow(lines: Sequence[str], **capitals: Path) -> None:
    """Run what was printed, as it was printed; capitals stand for what is not recorded."""
    for line in lines:
        words = [str(capitals.get(word, word)) for word in shlex.split(line, comments=True)]
        if words[0] == "avpipe":
            assert main(words[1:]) == 0, line
        else:
            subprocess.run(words, check=True)


def require_whole(world: Path, run: Path) -> None:
    """See that a run is what it was, but for curves with dates and pages with its path."""
    before, now = file_bytes(world / "run"), file_bytes(run)
    different = {name for name in before if now.get(name) != before[name]}
    assert {name for name in different if "tensorboard" not in name} <= {
        "report.html", "commands.json", "export/README.md",
    }  # fmt: skip


def mended(
    names: Sequence[str], world: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Damage files, follow what `verify` prints, and look."""
    for name in names:
        damage(run / name)
    code, found, _ = ask(capsys, run)
    told = {*found["damaged"]}
    if CHECKPOINT_RECORD in names:  # which holds the digest of the weights
        told |= {*names} & {WEIGHTS}
    assert (code, told) == (5, {*names})
    assert found["commands"] and not found["lost"]
    follow(found["commands"], TRUTH=world / "truth", CACHE=world / "clips", HELD=world / "held.txt")
    code, found, _ = ask(capsys, run)
    assert (code, found["damaged"]) == (0, {})
    require_whole(world, run)
    assert json.loads((run / "run.json").read_text())["cache"] == str(world / "clips")


@pytest.mark.parametrize(
    "names",
    [
        ("run.json", WEIGHTS, "export/model.safetensors"),
        ("run.json", "export/model.json", SCORES, MAPS, "report.html"),
        ("run.json", "commands.json"),
    ],
    ids=["record, weights and export", "record and all that shows it", "record and commands"],
)
def test_what_is_damaged_together_is_mended_in_the_printed_order(
    names: Sequence[str], world: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mended(names, world, run, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [*itertools.combinations(PARTS, 2)], ids=" and ".join)
def test_any_two_files_are_mended(
    kinds: tuple[str, str], world: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [name for kind in kinds for name in PARTS[kind]]
    if set(kinds) == {"record", "export's record"}:
        for name in names:
            damage(run / name)
        code, found, err = ask(capsys, run)
        assert (code, found["commands"]) == (5, [])
        assert len(found["lost"]) == 1 and "put back a copy" in found["lost"][0]
        assert "commands above" not in err
        return
    mended(names, world, run, capsys)


def test_what_was_given_is_given_again(
    world: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Options that a command was asked with, not those that a file's name tells alone."""
    words = ["evaluate", str(run), "--cache", f"{world}/clips", "--annotations", f"{world}/truth"]
    words += ["--ids", f"{world}/test.txt", "--alpha", "0.3", "--negatives", "silence,noise"]
    assert main([*words, "--negatives-seed", "3", "--batch-size", "4"]) == 0
    listed = next(path for path in (run / "evaluate").glob("synth@*.json"))
    before = listed.read_bytes()
    for path in (listed, next((run / "evaluate").glob("synth@*-noise-*.npz"))):
        damage(path)
    damage(run / WEIGHTS)
    damage(run / "report.html")
    damage(run / "export/README.md")
    _, found, _ = ask(capsys, run)
    train, evaluate, report, export = (
        next(line for line in found["commands"] if line.startswith(f"avpipe {word}"))
        for word in ("train", "evaluate", "report", "export")
    )
    assert f"--val-ids {world}/held.txt" in train and f"--ids {run}/run.json" in train
    for option in ("--alpha 0.3", "--negatives silence,noise", "--negatives-seed 3",
                   f"--annotations {world}/truth", f"--ids {world}/test.txt"):  # fmt: skip
        assert option in evaluate
    assert f"--annotations {world}/truth" in report and f"--cache {world}/clips" in report
    assert "--license mit" in export
    follow(found["commands"])
    assert ask(capsys, run)[0] == 0
    assert listed.read_bytes() == before


def test_files_that_are_gone_are_damage(
    world: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = ["run.json", "metrics.jsonl", "validation.jsonl", SCORES, "evaluate/synth-avpipe.csv",
            WEIGHTS, "export/model.json", "export/model.safetensors", "export/README.md",
            "export/run.json"]  # fmt: skip
    for name in gone:
        content = (run / name).read_bytes()
        (run / name).unlink()
        code, found, _ = ask(capsys, run)
        assert (code, found["damaged"]) == (5, {name: "missing"})
        (run / name).write_bytes(content)
    shutil.rmtree(run / "checkpoints")
    code, found, _ = ask(capsys, run)
    assert (code, found["damaged"]) == (5, {"checkpoints": "missing"})
    follow(found["commands"])
    require_whole(world, run)
    for name in ("export/model.json", "export/model.safetensors", "export/README.md"):
        (run / name).unlink()
    code, found, _ = ask(capsys, run)
    assert (code, len(found["damaged"])) == (5, 3)
    follow(found["commands"])
    require_whole(world, run)


def test_an_export_without_its_description_is_damaged(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where it lies alone, as it was fetched: no command is said to be above."""
    folder = shutil.copytree(world / "run/export", tmp_path / "fetched")
    (folder / "model.json").unlink()
    code, found, err = ask(capsys, folder)
    assert (code, found["damaged"], found["commands"]) == (5, {"model.json": "missing"}, [])
    assert "fetch it again" in found["lost"][0]
    assert "1 damaged file; no command makes that again" in err


def test_a_run_by_python_code_has_no_commands(
    run: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its record still tells; what it does not know is asked for in capitals."""
    (run / "commands.json").unlink()
    assert ask(capsys, run)[0] == 0
    for name in (WEIGHTS, SCORES):
        damage(run / name)
    _, found, _ = ask(capsys, run)
    _, train, evaluate = found["commands"]
    assert "--val-ids HELD" in train and f"--cache {world}/clips" in train
    assert "--annotations TRUTH" in evaluate


def test_what_is_made_again_after_a_checkpoint_is_no_damage(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A power failure may tear lines of steps that no checkpoint holds."""
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b"\0" * 40 + b"\n" + b"\0" * 9)
    assert ask(capsys, run)[0] == 0
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run / "metrics.jsonl").write_bytes(b"".join(lines[:3]) + b"\0" * 40 + b"\n")
    assert list(ask(capsys, run)[1]["damaged"]) == ["metrics.jsonl"]


def test_how_it_learnt_is_told_by_the_record_where_no_command_is_noted(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "commands.json").unlink()
    change_page(run, num_ranks=2, image_weights="random:0", threads=3)
    damage(run / WEIGHTS)
    line = ask(capsys, run)[1]["commands"][1]
    assert line.startswith("torchrun --nproc-per-node 2 -m -- avpipe train ")
    assert "--weights random" in line and "--threads 3" in line


def test_a_recipe_of_ones_own_is_named_by_its_file(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(recipe.__file__).parent / "recipes/compact.toml").read_text()
    (tmp_path / "own.toml").write_text(text)
    (tmp_path / "some.txt").write_text("\n".join(f"clip{number:03d}" for number in range(4)))
    words = ["--recipe", f"{tmp_path}/own.toml", "--cache", f"{world}/clips"]
    words += ["--hold-out", f"{tmp_path}/some.txt", "--run", f"{tmp_path}/runs", "--seeds", "3"]
    settings = [word for one in (*TINY, "epochs=1") for word in ("--set", one)]
    assert main(["train", *words, *settings]) == 0
    weights = next((tmp_path / "runs/seed3/checkpoints").glob("*/weights.safetensors"))
    before = weights.read_bytes()
    damage(weights)
    _, found, _ = ask(capsys, tmp_path / "runs")
    assert f"--recipe {tmp_path}/own.toml" in found["commands"][1]
    follow(found["commands"])
    assert weights.read_bytes() == before
    assert ask(capsys, tmp_path / "runs")[0] == 0


def test_a_page_on_several_runs_is_written_again(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("seed0", "seed1"):
        shutil.copytree(world / "run", tmp_path / "runs" / name)
    assert main(["report", str(tmp_path / "runs"), "--cache", f"{world}/clips"]) == 0
    page = tmp_path / "runs/report.html"
    before = page.read_bytes()
    damage(page)
    _, found, _ = ask(capsys, tmp_path / "runs")
    follow(found["commands"])
    assert page.read_bytes() == before


def test_an_imported_run_is_imported_again_from_where_the_file_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    released = write_released(tmp_path, "ez-vsl", network_of("ez-vsl"))
    run = tmp_path / "run"
    words = ["import-checkpoint", str(released), "--from", "ez-vsl", "--run", str(run)]
    assert main([*words, "--set", "image_test=tensor"]) == 0
    before = file_bytes(run)
    shutil.rmtree(run / "checkpoints/00000000")
    code, found, _ = ask(capsys, run)
    assert (code, found["damaged"], found["lost"]) == (5, {"checkpoints": "missing"}, [])
    follow(found["commands"])
    assert file_bytes(run) == before


def test_an_import_by_another_hand_is_a_line_all_the_same() -> None:
    found = RunRecord(
        load_recipe("ez-vsl"), "x", 0, "", "", 4, (), {}, imported={"from": 5, "variant": []}
    )
    line = Again(Path("run"), found, {}).weights()
    assert line == "avpipe import-checkpoint None --from 5 --run run"
