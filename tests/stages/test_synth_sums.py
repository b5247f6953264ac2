"""`verify WORLD`: what `synth` made is whole, or is named with what makes it again."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from avpipe.pipeline.main import main
from avpipe.stages.sums import SUMS, file_problem, read_sums, summed_files
from avpipe.stages.synth.again import synth_options
from fake_clips import file_bytes


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world") / "synth"
    assert main(["synth", str(out), "--clips", "2", "--classes", "4", "--jobs", "1"]) == 0
    return out


def test_sha256sum_reads_the_sums_of_every_file(world: Path) -> None:
    assert set(read_sums(world)) == set(file_bytes(world)) - {SUMS}
    done = subprocess.run(["sha256sum", "-c", "--quiet", SUMS], cwd=world, check=False)
    assert done.returncode == 0


def verified(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], str]:
    capsys.readouterr()
    code = main(["verify", str(folder), "--json"])
    printed = capsys.readouterr()
    return code, json.loads(printed.out), printed.err


def follow(lines: list[str]) -> None:
    """Run what was printed, as it was printed."""
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[0] == "avpipe":
            assert main(words[1:]) == 0, line
        else:
            subprocess.run(words, check=True)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("how", [damage, Path.unlink], ids=["damaged", "gone"])
def test_each_file_is_named_and_made_again(
    how: Callable[[Path], None], world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stamp and the sums, too, each with the help of the other."""
    before = file_bytes(world)
    video = next(name for name in before if name.endswith(".mp4"))
    for name in ("labels.csv", "train.txt", "world.json", SUMS, video):
        how(world / name)
        code, found, _ = verified(world, capsys)
        assert (code, list(found["damaged"])) == (5, [name])
        follow(found["commands"])
        assert file_bytes(world) == before
    assert main(["verify", str(world)]) == 0


def test_what_is_no_file_is_damage_and_not_waited_for(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(world, tmp_path / "w")
    (folder / "labels.csv").unlink()
    os.mkfifo(folder / "labels.csv")
    code, told, _ = verified(folder, capsys)
    assert code == 5 and told["damaged"] == {"labels.csv": "not a regular file"}
    follow(told["commands"])
    assert file_bytes(folder) == file_bytes(world)
    assert file_problem(folder / "a\0b", "") == "no name of a file (embedded null byte)"


def test_a_world_without_stamp_and_sums_is_still_one(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it was of is lost, and no commands are said to be above."""
    left = shutil.copytree(world, tmp_path / "left")
    (left / "world.json").unlink()
    (left / SUMS).unlink()
    code, found, err = verified(left, capsys)
    assert (code, set(found["damaged"]), found["commands"]) == (5, {"world.json", SUMS}, [])
    assert "into another folder" in found["lost"][0]
    assert "no command makes that again" in err and "above" not in err


def test_a_world_that_is_not_finished_is_no_damage(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = tmp_path / "begun"
    begun.mkdir()
    shutil.copy(world / "world.json", begun)
    code, found, _ = verified(begun, capsys)
    assert (code, found["damaged"]) == (0, {})
    assert "is not finished: the same `avpipe synth` goes on" in found["notices"][0]


def test_options_of_a_composed_world_are_given_again() -> None:
    parameters = {
        "format": "x", "seed": 3, "clips": 9, "test": 4, "classes": 5, "objects": 3,
        "size": [0.3, 0.42], "noise_db": [12.0, 30.0], "held_out": ["a", "b c"], "material": "0f",
    }  # fmt: skip
    places = {"photos": "/p q", "sounds": "/s", "backgrounds": "/b", "splits": "/x.csv"}
    assert synth_options(parameters, places) == (
        "--seed 3 --clips 9 --test 4 --objects 3 --size 0.3 0.42 --noise 12.0 30.0 "
        "--held-out 'a,b c' --photos '/p q' --sounds /s --backgrounds /b --splits /x.csv"
    )


def test_a_damaged_clip_is_not_taken_for_a_good_one(world: Path) -> None:
    """Also where the same command runs again: what is there keeps the sum it had."""
    video = sorted((world / "videos").iterdir())[0]
    whole = video.read_bytes()
    video.write_bytes(whole[:-1] + b"x")
    assert main(["synth", str(world), "--clips", "2", "--classes", "4", "--jobs", "1"]) == 0
    damaged = {name for name, problem in summed_files(world) if problem}
    assert damaged == {f"videos/{video.name}"}
    video.write_bytes(whole)


def test_a_world_without_sums_is_told(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (world / SUMS).rename(world / "aside")
    stamp = (world / "world.json").read_text()
    (world / "world.json").write_text(stamp.replace(f' "sums": "{SUMS}",\n', ""))
    assert main(["verify", str(world)]) == 0
    assert "has no SHA256SUMS, an older avpipe made it" in capsys.readouterr().out
    (world / "aside").rename(world / SUMS)
    (world / "world.json").write_text(stamp)
