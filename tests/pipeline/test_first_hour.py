"""What a new user runs into: each error says what to type, and that can be typed as it stands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from avpipe.cache.schema import AUDIO, EXTRACT, shard_path
from avpipe.cache.state import drop_stage
from avpipe.cache.store import Cache
from avpipe.errors import AvpipeError, InputError, MissingDependencyError
from avpipe.pipeline.commands.verify import verify
from avpipe.pipeline.demo import run as demo_module
from avpipe.pipeline.extract.scan import scan
from avpipe.pipeline.fixes import shown
from avpipe.pipeline.id_lists import read_ids
from avpipe.pipeline.main import main
from avpipe.stages.embed.todo import plan_embed
from avpipe.stages.neighbors.vectors import id_set, vector_source
from avpipe.stages.synth.hard import read_world as read_classes
from avpipe.train.notices import collected
from avpipe.train.runs.card import read_scores
from avpipe.train.runs.checkpoint import require_checkpoint
from avpipe.train.runs.record import no_run
from avpipe.train.tables.results import read_results, results_path
from avpipe.train.truths.world_lists import read_world
from avpipe.weights.checkpoint import require_exact
from embedded_cache import embedded
from fake_clips import make_cache, publish_manifest

NAME = "it's my folder"
"""With what a shell would split and what it would wait for."""


def commands_in(text: str) -> list[list[str]]:
    """Return the commands that a line names, as a shell splits them."""
    return [shlex.split(one) for one in re.findall(r"`(avpipe [^`]*)`", text)]


def planned(folder: Path) -> None:
    publish_manifest(folder, ["one"])
    plan_embed(folder, "hints", ["mobilenet-v2"], specs=["random"])


def damaged_list(folder: Path) -> None:
    folder.mkdir()
    (folder / "run.json").write_text("{")
    read_ids(folder / "run.json")


def damaged_cache(folder: Path) -> None:
    make_cache(folder, ["one"])
    (shard,) = folder.glob("extract/*.h5")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    verify(cache=folder)


def dropped_sound(folder: Path) -> None:
    make_cache(folder, ["one"])
    drop_stage(folder, AUDIO)
    plan_embed(folder, "hints", ["efficientat-mn04"], specs=["random"])


def mixed_hints(folder: Path) -> None:
    cache = Cache(make_cache(folder, ["a", "b", "c", "d", "e"]))
    values, stage = np.ones((5, 2), np.float32), "hints/mobilenet-v2"
    embedded(cache, values, stage, "one")
    kept = shard_path(folder, stage, 0).read_bytes()
    embedded(cache, values, stage, "other")
    shard_path(folder, stage, 0).write_bytes(kept)
    vector_source(Cache(folder), "mobilenet-v2", id_set(cache, None, ()))


def damaged_results(folder: Path) -> None:
    (folder / "evaluate").mkdir(parents=True)
    results = results_path(folder, "synth", "avpipe")
    results.with_name(f"{results.name}.json").write_text("{")
    read_results(results)


def empty_world(folder: Path) -> None:
    folder.mkdir()
    read_world(folder)


@pytest.mark.parametrize(
    ("raises", "words"),
    [
        (Cache, ["extract", "INPUT", "--cache"]),
        (planned, ["extract", "--cache"]),
        (damaged_cache, ["verify", "--repair", "--cache"]),
        (damaged_list, ["verify"]),
        (dropped_sound, ["extract", "--overwrite", "--cache"]),
        (
            lambda folder: drop_stage(make_cache(folder, ["one"]), EXTRACT),
            ["extract", "--overwrite", "--cache"],
        ),
        (mixed_hints, ["embed-teachers", "--visual", "mobilenet-v2", "--audio", "none",
                       "--overwrite", "--cache"]),
        (damaged_results, ["evaluate"]),
        (require_checkpoint, ["train", "--run"]),
        (read_classes, ["synth"]),
        (empty_world, ["synth"]),
    ],
)  # fmt: skip
def test_folders_with_spaces_are_quoted_in_the_commands_that_errors_name(
    raises: Callable[[Path], object], words: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / NAME
    with pytest.raises(AvpipeError) as caught:
        raises(folder)
    assert commands_in(shown(caught.value)) == [["avpipe", *words, str(folder)]]


def test_folders_of_runs_are_quoted_too(tmp_path: Path) -> None:
    run = tmp_path / NAME
    assert commands_in(no_run(run)) == [["avpipe", "train", "--run", str(run)]]
    (run / "evaluate").mkdir(parents=True)
    (run / "evaluate" / "vggss.json").write_text("{")
    with collected() as told:
        assert read_scores(run) == []
    assert commands_in(told[0]) == [["avpipe", "evaluate", str(run)]]


def test_a_mistyped_folder_is_told_with_the_one_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "videos").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^vidoes: No such .*; did you mean videos\?$"):
        scan(["vidoes"])
    with pytest.raises(InputError, match=rf"did you mean {tmp_path}/videos\?$"):
        scan([f"{tmp_path}/vidoes/"])
    with pytest.raises(InputError, match=rf"^clips: No such file or directory in {tmp_path}$"):
        scan(["clips"])
    with pytest.raises(InputError, match=r"^gone/v: No such file or directory in "):
        scan(["gone/v"])
    with pytest.raises(InputError, match=r"^/gone/v: No such file or directory$"):
        scan(["/gone/v"])


def test_a_folder_of_sounds_is_told_what_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r": no clips found; videos are .*: \.3gp .*\.webm$"):
        scan([str(tmp_path)])
    (tmp_path / "a.mp3").touch()
    with pytest.raises(InputError, match=r"left alone: 1 \.mp3\); videos are .*: \.3gp"):
        scan([str(tmp_path)])


@pytest.mark.parametrize(
    ("words", "listed"),
    [(["xyzzy"], "avpipe --help"), (["extract", "--xyzzy"], "avpipe extract --help")],
)
def test_a_name_like_no_other_is_told_with_what_lists_them(
    words: list[str], listed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    line = capsys.readouterr().err
    assert "xyzzy" in line and line.endswith(f"; `{listed}` lists what there is\n")


def test_extract_says_how_to_look_at_what_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    cache = tmp_path / NAME
    words = ["extract", str(tmp_path / "a.mp4"), "--cache", str(cache), "--backend", "sequential"]
    assert main(words) == 3
    told = commands_in(capsys.readouterr().out)
    assert told == [["avpipe", "inspect", "--failures", "--cache", str(cache)]]


def test_one_file_gets_no_second_id_where_names_are_not_read_as_utf8(tmp_path: Path) -> None:
    (tmp_path / "Türe.mp4").touch()
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "door.mp4").touch()
    program = "import sys; from avpipe.pipeline.extract.scan import scan; scan(sys.argv[1:])"
    utf8 = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "1"}
    plain = {**utf8, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    def told(folder: Path, environment: dict[str, str]) -> str:
        command = [sys.executable, "-c", program, str(folder)]
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        return done.stderr.decode()

    assert "put PYTHONUTF8=1 before the command" in told(tmp_path, plain)
    assert told(tmp_path, utf8) == told(tmp_path / "plain", plain) == ""


def test_weights_of_another_network_are_told_to_be_replaced(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match=r"lacks a\.weight; name another file$"):
        require_exact({}, {"a.weight": torch.zeros(1)}, tmp_path / "b.pt", "Net")


def test_the_demo_is_gone_on_with_by_a_command_that_the_shell_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / NAME
    folder.mkdir()
    for name in ("avpipe", "python"):
        (folder / name).touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", "/usr/bin")
    assert shlex.split(demo_module.program_name()) == [str(folder / "avpipe")]
    monkeypatch.setenv("PATH", str(folder))
    assert demo_module.program_name() == "avpipe"
    (folder / "avpipe").unlink()  # python -m avpipe of a checkout that is not installed
    assert demo_module.program_name() == "avpipe"


def test_what_the_lines_of_the_readme_leave_in_a_clone_is_no_change_of_it() -> None:
    root = Path(__file__).parents[2]
    commands = (root / "README.md").read_text().partition("```text\n")[2].partition("```")[0]
    ignored = (root / ".gitignore").read_text().splitlines()
    for name in ("videos", "runs/", "localized/"):
        assert name.rstrip("/") in commands and f"/{name}" in ignored
    assert "/avcache/" in ignored  # the default of all five
