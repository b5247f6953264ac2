"""`verify` looks at every file of caches and runs, and finds a flipped bit in any kind of them."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from avpipe.cache.verify import verify
from avpipe.pipeline.main import main
from avpipe.train.runs import verify as run_verify
from fake_clips import file_bytes
from faults import flips
from faults.flips import Bench, make_world

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("one_thread")]
NOT_CHECKED = {".lock"}
"""Of a run: a file without content."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("flips")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVPIPE_WEIGHTS_DIR", str(folder / "no-weights"))
        make_world(folder)
        yield folder


@pytest.fixture(scope="module")
def bench(world: Path) -> Bench:
    return Bench(world)


@pytest.fixture
def run(world: Path) -> Iterator[Path]:
    """The run, which is put back afterwards."""
    before = file_bytes(world / "run")
    yield world / "run"
    shutil.rmtree(world / "run")
    for name, content in before.items():
        (world / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (world / "run" / name).write_bytes(content)


def ask(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, Any, str]:
    capsys.readouterr()
    code = main([*map(str, words), "--json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out else None, captured.err


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_no_flipped_bit_is_silent(bench: Bench) -> None:
    found = bench.line(0, 0, count=240)
    assert found["silent"] == []
    hows = Counter({name.rpartition(": ")[0]: 0 for name in found["counts"]})
    assert set(hows) == set(bench.kinds) and len(hows) >= 20
    total = sum(n for name, n in found["counts"].items() if name.endswith(": found"))
    assert total > 220, found["counts"]


def test_any_number_of_flips_can_be_asked_for(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "flips.jsonl"
    assert flips.lacking(25, 7, log) == [(7, 0, 25, 0)]
    assert flips.lacking(2100, 7, log) == [(7, 0, 1000, 0), (7, 1, 1000, 0), (7, 2, 100, 0)]
    part, rest = bench.line(7, 0, 15), bench.line(7, 0, 25, 15)
    log.write_text("".join(json.dumps(one) + "\n" for one in (part, rest)))
    assert flips.lacking(25, 7, log) == [] == flips.lacking(20, 7, log)
    assert flips.lacking(1001, 7, log) == [(7, 0, 1000, 25), (7, 1, 1, 0)]
    assert flips.lacking(25, 8, log) == [(8, 0, 25, 0)]  # of another seed
    both = Counter(part["counts"]) + Counter(rest["counts"])
    assert both == Counter(bench.line(7, 0, 25)["counts"]) and both.total() == 25
    assert "| all | 25 |" in flips.table(log)


def test_a_part_of_the_kinds_can_be_asked_for(world: Path) -> None:
    found = Bench(world, ["commands.json", "exported cache's sums"]).line(0, 0, count=30)
    kinds = {name.rpartition(": ")[0] for name in found["counts"]}
    assert kinds == {"commands.json", "exported cache's sums"} and not found["silent"]
    with pytest.raises(SystemExit, match="no file is called 'shards'"):
        Bench(world, ["shards"])


def test_the_measure_would_notice_silence(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flips, "check", lambda run, path: run_verify.Found())
    found = bench.line(0, 0, count=40)
    assert {"evaluate/*.npz", "run.json"}.intersection(kind for kind, *_ in found["silent"])


def test_every_file_is_looked_at(run: Path, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the functions that the flips are shown to."""
    seen: list[Path] = []

    def look(owner: Path, path: Path) -> run_verify.Found:
        seen.append(path)
        return run_verify.Found()

    monkeypatch.setattr(run_verify, "check", look)
    report = run_verify.verify_runs(run)
    there = {path for path in run.rglob("*") if path.is_file() and path.name not in NOT_CHECKED}
    assert set(seen) == there and report.files == len(there) == len(seen)
    for cache in (world / "fake", world / "cache"):
        assert verify(cache).files == len(file_bytes(cache))


def test_each_damaged_file_is_named_with_what_makes_it_again(
    run: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Alone, with its command; the commands of all together, in their order, make all again."""
    before = file_bytes(run)
    lost = {"metrics.jsonl", "validation.jsonl", next(name for name in before if "board" in name)}
    for name in sorted(before.keys() - NOT_CHECKED):
        damage(run / name)
        code, found, err = ask(capsys, "verify", run)
        assert (code, list(found["damaged"]), found["ok"]) == (5, [name], False)
        assert found["commands"] or found["lost"], name
        assert err.count("\n") == 1 and f"{run}: 1 damaged file" in err
        (run / name).write_bytes(before[name])
    for name in before.keys() - NOT_CHECKED - lost - {"export/run.json"}:
        damage(run / name)
    redo(ask(capsys, "verify", run)[1]["commands"], world)
    assert ask(capsys, "verify", run)[0] == 0
    same = {name for name in before if name.endswith((".safetensors", ".pt", ".npz", ".csv"))}
    assert len(same) == 5
    assert {name: (run / name).read_bytes() for name in same} == {n: before[n] for n in same}


def redo(commands: list[str], world: Path) -> None:
    """Run what `verify` printed, from top to bottom."""
    named = {"TRUTH": world / "world", "HELD": world / "held.txt", "CACHE": world / "cache"}
    for line in commands:
        words = shlex.split(line, comments=True)
        if words[0] == "avpipe":
            assert main([str(named.get(word, word)) for word in words[1:]]) == 0, line
        else:
            subprocess.run(words, check=True)


def test_text_seeds_and_what_is_no_run(
    run: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("seed0", "seed1"):
        shutil.copytree(run, tmp_path / "runs" / name)
    damage(tmp_path / "runs/seed1/run.json")
    assert main(["verify", str(tmp_path / "runs")]) == 5
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(": 1 damaged")
    assert lines[1].startswith("damaged   seed1/run.json: ")
    restored, trained = lines[-2:]  # the export does not know the cache: training notes it
    assert restored.startswith("cp ") and restored.endswith("seed1/run.json")
    assert trained.startswith(f"avpipe train --cache {world}/cache ")
    assert main(["verify", str(tmp_path)]) == 4
    assert "holds no run" in capsys.readouterr().err
    assert main(["verify", str(world / "fake")]) == 0
    assert main(["verify", "--repair", str(run)]) == 2
    (run / "run.json").unlink()
    (run / "notes.html").write_text("<p>of the user")
    code, found, _ = ask(capsys, "verify", run)
    assert (code, found["damaged"]) == (5, {"run.json": "missing"})


def test_the_report_of_seeds_and_a_run_without_a_checkpoint(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(run, runs / "seed0")
    for name in ("checkpoints", "evaluate", "export"):
        shutil.rmtree(runs / "seed0" / name)
    shutil.copy(run / "report.html", runs)
    code, found, _ = ask(capsys, "verify", runs)
    assert code == 0
    assert any("seed0 has no checkpoint" in notice for notice in found["notices"])
    damage(runs / "report.html")
    code, found, _ = ask(capsys, "verify", runs)
    assert (code, list(found["damaged"])) == (5, ["report.html"])
    (command,) = found["commands"]
    assert command.startswith(f"avpipe report {runs} --out ")


def test_what_is_missing_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("checkpoints/00000004/optimizer.pt", "evaluate/synth-avpipe.csv",
                 "export/README.md"):  # fmt: skip
        (run / name).unlink()
        assert ask(capsys, "verify", run)[1]["damaged"][name] == "missing"


def test_what_older_versions_wrote_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / "evaluate/synth-avpipe.json"
    scores = json.loads(path.read_text())
    del scores["sha256"], scores["csv_sha256"]
    path.write_text(json.dumps(scores))
    code, found, _ = ask(capsys, "verify", run)
    assert code == 0 and len(found["notices"]) == 2
    assert all("has no sha256" in line for line in found["notices"])


def test_a_card_never_has_scores_that_were_flipped(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "evaluate/synth-avpipe.json"
    text = path.read_text()
    at = text.index('"loc_acc": ') + len('"loc_acc": ')
    path.write_text(text[:at] + ("1" if text[at] == "0" else "0") + text[at + 1 :])
    code, found, _ = ask(capsys, "export", run)
    assert code == 0 and f"{path} is damaged: the card leaves it out" in found["notices"][0]
    assert "Not evaluated" in (run / "export/README.md").read_text()


@pytest.mark.parametrize(
    "name", ["run.json", "checkpoints/00000004/weights.safetensors",
             "checkpoints/00000004/checkpoint.json",
             "export/run.json", "export/model.json", "export/model.safetensors"]
)  # fmt: skip
def test_no_command_reads_what_is_damaged(
    name: str, run: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(run / name)
    video = next((world / "synth/videos").iterdir())
    cached = ["--cache", f"{world}/cache", "--device", "cpu"]
    commands = [
        ["localize", video, "--run", run, "--out", tmp_path / "out", "--device", "cpu"],
        ["serve", run, "--port", "0", "--device", "cpu"],
        ["evaluate", run, "--annotations", world / "world", *cached],
        ["export", run, "--out", tmp_path / "export"],
    ]
    if name.startswith("export"):
        commands = [[word if word != run else run / "export" for word in commands[0]],
                    ["serve", run / "export", "--port", "0", "--device", "cpu"]]  # fmt: skip
    if name.endswith("checkpoint.json"):  # maps that are stored are of these very weights
        commands = [words for words in commands if words[0] != "evaluate"]
    for words in commands:
        capsys.readouterr()
        code, err = main([str(word) for word in words]), capsys.readouterr().err
        assert (code, err.count("avpipe: error: ")) == (5, 1), (words, err)
        assert f"{run / name} is damaged" in err
    assert not (tmp_path / "out").exists() and not (tmp_path / "export").exists()
