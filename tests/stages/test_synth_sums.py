"""`verify WORLD`: what `synth` made is whole, or is named with what makes it again."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest
from avpipe.pipeline.main import main
from avpipe.stages.synth.sums import SUMS, read_sums, world_files
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


def test_each_damaged_file_is_named_and_made_again(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = file_bytes(world)
    video = next(name for name in before if name.endswith(".mp4"))
    for name in ("labels.csv", "train.txt", "world.json", SUMS, video):
        content = bytearray(before[name])
        content[len(content) // 2] ^= 1
        (world / name).write_bytes(content)
        capsys.readouterr()
        assert main(["verify", str(world), "--json"]) == 5
        found = json.loads(capsys.readouterr().out)
        assert list(found["damaged"]) == [name]
        if name == "world.json":
            assert found["lost"] and not found["commands"]
            (world / name).write_bytes(before[name])
            continue
        removed, made = map(shlex.split, found["commands"])
        assert removed == ["rm", "-f", str(world / name)]
        (world / name).unlink()
        assert main(made[1:]) == 0
        assert file_bytes(world) == before
    assert main(["verify", str(world)]) == 0


def test_a_damaged_clip_is_not_taken_for_a_good_one(world: Path) -> None:
    """Also where the same command runs again: what is there keeps the sum it had."""
    video = sorted((world / "videos").iterdir())[0]
    whole = video.read_bytes()
    video.write_bytes(whole[:-1] + b"x")
    assert main(["synth", str(world), "--clips", "2", "--classes", "4", "--jobs", "1"]) == 0
    damaged = {name for name, problem in world_files(world) if problem}
    assert damaged == {f"videos/{video.name}"}
    video.write_bytes(whole)


def test_a_world_without_sums_is_told(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (world / SUMS).rename(world / "aside")
    assert main(["verify", str(world)]) == 0
    assert "has no SHA256SUMS, an older avpipe made it" in capsys.readouterr().out
    (world / "aside").rename(world / SUMS)
