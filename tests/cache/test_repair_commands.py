"""What `verify --repair` prints makes the damaged shards again, run as it stands."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avpipe.cache.schema import AUDIO, EXTRACT, Header, shard_path
from avpipe.cache.store import Cache
from avpipe.cache.verify import verify
from avpipe.cache.writer import Rows, write_shard
from avpipe.pipeline.main import main
from avpipe.pipeline.verified.caches import verify_document
from cache_factory import make_cache
from fake_clips import file_bytes

IMAGE, SOUND = "imagenet-resnet18", "vggsound-resnet18"


def run(cache: Path, words: str) -> None:
    assert main([*shlex.split(words), "--weights", "random", "--cache", str(cache)]) == 0, words


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stages of four commands, with two k and a set of ids."""
    folder = tmp_path_factory.mktemp("repair")
    cache = make_cache(folder / "cache", 9, shard_clips=5).path
    (folder / "few.txt").write_text("".join(f"clip00{number}\n" for number in (1, 2, 6, 7)))
    run(cache, f"knn --image {IMAGE} --audio none --k 3")
    run(cache, f"knn --image none --audio {SOUND} --k 5")
    run(cache, f"knn --image {IMAGE} --audio none --k 2 --ids {folder / 'few.txt'}")
    run(cache, f"cluster --encoder {SOUND} --k 2 --seed 4")
    run(cache, f"embed-teachers --visual {IMAGE} --audio none")
    return folder


@pytest.fixture
def cache(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template / "cache", tmp_path / "cache")
    return tmp_path / "cache"


def repaired(cache: Path) -> dict[str, Any]:
    return verify_document(cache, verify(cache, repair=True), repair=True)


def network_stages(cache: Path) -> list[str]:
    found = {path.parent.relative_to(cache).as_posix() for path in cache.glob("*/*/*.h5")}
    assert len(found) == 7
    return sorted(found)


@pytest.mark.usefixtures("one_thread")
def test_the_printed_commands_restore_the_same_bytes(template: Path, cache: Path) -> None:
    good = file_bytes(cache)
    for stage in network_stages(cache):
        shard_path(cache, stage, 0).write_bytes(b"")
    found = repaired(cache)
    assert len(found["commands"]) == 5
    assert not any("--repair" in x for x in found["damaged"].values())
    for command in found["commands"]:
        words = shlex.split(command, comments=True)
        list_given = [str(template / "few.txt") if word == "LIST" else word for word in words]
        assert main(list_given[1:]) == 0, command
    assert verify(cache).ok
    shutil.rmtree(cache / "damaged")
    assert file_bytes(cache) == good


def test_a_set_of_ids_is_asked_for_only_where_it_is_not_all_clips(cache: Path) -> None:
    stages = [stage for stage in network_stages(cache) if stage.startswith("neighbors/image")]
    for stage in stages:
        shard_path(cache, stage, 0).write_bytes(b"")
    shard_path(cache, EXTRACT, 1).write_bytes(b"")  # audio still tells which clips were done
    _, *commands = repaired(cache)["commands"]
    few = [line for line in commands if "--ids LIST  # LIST: the ids that neighbors/" in line]
    assert len(commands) == 2 and len(few) == 1 and "--k 2" in few[0]


def add(cache: Path, stage: str, inputs: Mapping[str, Any]) -> None:
    header = Header(stage, 1, 0, {}, dict(inputs), n=2, done=2, weights="w")
    write_shard(shard_path(cache, stage, 0), header, {"row": Rows.array(np.arange(2))})


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("objects/detr-r50", "--visual none --audio none --objects"),
        ("hints/detr-r50-encoder", "--visual detr-r50 --audio none --visual-hint encoder"),
        ("hints/panns-cnn14", "--visual none --audio panns-cnn14"),
    ],
)
def test_only_the_damaged_output_is_made_again(cache: Path, stage: str, words: str) -> None:
    add(cache, stage, {EXTRACT: "x", AUDIO: "y"} if "panns" in stage else {EXTRACT: "x"})
    path = shard_path(cache, stage, 0)
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    command = f"avpipe embed-teachers {words} --cache {cache}"
    assert repaired(cache)["commands"] == [command]
    assert Cache(cache).rows.tolist() == list(range(9))
