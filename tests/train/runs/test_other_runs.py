"""A record and weights that do not belong together are not taken for a run."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from avpipe.errors import CacheCorruptError, UsageError
from avpipe.pipeline.main import main
from avpipe.pipeline.verified.runs import runs_document
from avpipe.train import load_run
from avpipe.train.data.columns import Inputs
from avpipe.train.learner import build_student
from avpipe.train.objectives import load_objective
from avpipe.train.recipe import load_recipe
from avpipe.train.runs.checkpoint import save_checkpoint
from avpipe.train.runs.export import export_run
from avpipe.train.runs.exported import is_left_of_export
from avpipe.train.runs.made_by import noted
from avpipe.train.runs.peers import import_checkpoint
from avpipe.train.runs.record import (
    RunRecord,
    identity_of,
    other_run,
    read_record,
    write_record,
)
from avpipe.train.runs.sealed import DIGEST, seal
from avpipe.train.runs.verify import RunsReport, verify_runs
from avpipe.train.start import Notices, claimed, open_record
from evaluation_factory import change_page

pytestmark = pytest.mark.usefixtures("one_thread")
RECORD = RunRecord(
    load_recipe("compact", ["width=16"]), "compact", 0, "avcache", "d", 4, ("a", "b"), {}
)
OTHER = "seed is 1, not 0 as in run.json"
load: Callable[[Path], Any] = load_run


def write_run(folder: Path, seed: int, step: int = 5) -> Path:
    record = replace(RECORD, seed=seed)
    student = build_student(record.recipe, load_objective(record.recipe.objective), seed, Inputs())
    save_checkpoint(folder, step, student.state_dict(), {}, record)
    write_record(folder, record)
    return folder


def verified(folder: Path) -> RunsReport:
    """Verify a run that has no losses."""
    report = verify_runs(folder)
    report.damaged.pop("metrics.jsonl", None)
    return report


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    return write_run(tmp_path / "one", 0), write_run(tmp_path / "other", 1, step=9)


@pytest.mark.parametrize("act", [load, lambda run: export_run(run, run / "export")])
def test_the_record_of_another_run(act: Callable[[Path], Any], runs: tuple[Path, Path]) -> None:
    one, other = runs
    shutil.copy(one / "run.json", other)
    with pytest.raises(CacheCorruptError, match="00000009 is of another run") as caught:
        act(other)
    assert OTHER in str(caught.value) and "\n" not in str(caught.value)
    told = {"run.json": f"the checkpoints are of another run: {OTHER}"}
    report = verified(other)
    assert report.damaged == told
    assert "put back a copy" in runs_document(other, report)["lost"][0]


def test_the_copy_in_an_export_is_put_back(runs: tuple[Path, Path]) -> None:
    one, other = runs
    export_run(other, other / "export")
    shutil.copytree(other / "export", other / "another")
    shutil.copy(one / "run.json", other / "another")
    shutil.copy(one / "run.json", other)
    report = verified(other)
    assert set(report.damaged) == {"run.json", "another/model.json"}
    lines = runs_document(other, report)["commands"]
    assert lines[0] == f"cp -- {other}/export/run.json {other}/run.json"
    assert not any(line.startswith("rm") for line in lines)


def test_a_checkpoint_of_another_run(runs: tuple[Path, Path]) -> None:
    one, other = runs
    shutil.copytree(other / "checkpoints/00000009", one / "checkpoints/00000009")
    with pytest.raises(CacheCorruptError, match="00000009 is of another run"):
        load_run(one)
    student = build_student(RECORD.recipe, load_objective(RECORD.recipe.objective), 0, Inputs())
    with pytest.raises(CacheCorruptError, match="00000009 is of another run"):
        open_record(one, RECORD, student, ())
    report = verified(one)
    assert report.damaged["checkpoints/00000009/checkpoint.json"] == OTHER
    assert f"rm -r {one}/checkpoints/00000009" in runs_document(one, report)["commands"]


def test_a_checkpoint_keeps_its_step(runs: tuple[Path, Path]) -> None:
    one, _ = runs
    (one / "checkpoints/00000005").rename(one / "checkpoints/00000007")
    with pytest.raises(CacheCorruptError, match=r"00000007/checkpoint\.json is damaged"):
        load_run(one)
    name = "checkpoints/00000007/checkpoint.json"
    assert verified(one).damaged[name] == "its step is 5, that of its folder 00000007"


def test_an_export_of_another_run(runs: tuple[Path, Path], tmp_path: Path) -> None:
    """Also one that an older version wrote: what it tells has stood there always."""
    one, other = runs
    out = tmp_path / "out"
    export_run(other, out)
    load_run(out)
    shutil.copy(one / "run.json", out)
    with pytest.raises(CacheCorruptError, match=r"out/model\.json is of another run") as caught:
        load_run(out)
    assert OTHER in str(caught.value)
    assert verified(out).damaged == {"model.json": f"it is of another run: {OTHER}"}


def test_older_checkpoints_do_not_say_whose_they_are(runs: tuple[Path, Path]) -> None:
    one, _ = runs
    change_page(one, seed=1)
    load_run(one)
    assert verified(one).damaged == {}


def test_a_record_that_is_changed_by_hand_is_taken_at_its_word(runs: tuple[Path, Path]) -> None:
    """As docs/troubleshooting.md says: without its digest."""
    one, _ = runs
    page = json.loads((one / "run.json").read_text())
    del page[DIGEST]
    page["recipe"]["image_test"] = "tensor"
    (one / "run.json").write_text(json.dumps(seal(page)))
    with pytest.raises(CacheCorruptError, match="image_test is squash, not tensor as in run"):
        load_run(one)
    (one / "run.json").write_text(json.dumps(page))
    assert load_run(one).recipe.image_test == "tensor"


def test_what_another_version_tells_besides_is_left_aside() -> None:
    told = identity_of(RECORD)
    assert other_run(RECORD, told) == "" and other_run(RECORD, {}) == ""
    recipe = {name: value for name, value in told["recipe"].items() if name != "width"}
    assert other_run(RECORD, {**told, "recipe": {**recipe, "later": 1}, "later": 2}) == ""
    assert other_run(RECORD, {"recipe": {"width": 17}}) == "width is 17, not 16 as in run.json"
    assert "ids_sha256 is" in other_run(replace(RECORD, ids=("a",)), told)


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "checkpoints/00000005/optimizer.pt"])
def test_a_pipe_in_a_file_s_place_is_damage_and_not_waited_for(
    name: str, runs: tuple[Path, Path]
) -> None:
    one, _ = runs
    (one / name).unlink(missing_ok=True)
    os.mkfifo(one / name)
    assert verify_runs(one).damaged[name] == "not a regular file"


def test_pipes_beside_a_run_are_not_waited_for(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = runs
    for path in (one / "commands.json", one / "README.md", other / "metrics.jsonl",
                 tmp_path / "own.toml"):  # fmt: skip
        os.mkfifo(path)
    assert noted(one) == {} and not is_left_of_export(one)
    with pytest.raises(UsageError, match=r"own\.toml' \(not a regular file\)"):
        load_recipe(str(tmp_path / "own.toml"))
    assert main(["report", str(other), "--out", str(tmp_path / "page.html")]) == 7
    told = "metrics.jsonl: not a regular file; move it away, then run the same command again"
    assert told in capsys.readouterr().err


def test_nothing_is_trained_or_imported_in_an_export(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_run(runs[0], out)
    told = "out holds an exported run; name another folder with --run"
    with pytest.raises(UsageError, match=told), claimed(out, Notices(None)):
        pass
    (tmp_path / "released.pth").touch()
    before = read_record(out)
    with pytest.raises(UsageError, match=told):
        import_checkpoint(tmp_path / "released.pth", "slavc", out)
    assert read_record(out) == before
    assert not (out / ".lock").exists()
