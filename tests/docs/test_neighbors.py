"""The commands of docs/neighbors.md run, and what they find alike is alike."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from avpipe.cache.store import Cache
from avpipe.pipeline.main import main
from cache_factory import make_cache

PAGE = (Path(__file__).parents[2] / "docs/neighbors.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.usefixtures("one_thread")


def alike(cache: Cache, neighbors: str, k: int) -> tuple[float, float]:
    """Return the share of the k nearest clips that have the clip's label, and that of all."""
    rows = cache.rows.tolist()
    labels = np.array([cache.manifest.line(row)["label"] for row in rows])
    same = labels[:, None] == labels
    nearest = np.array([cache.neighbors(neighbors)[row][0][:k] for row in rows])
    chance = (same.sum() - len(rows)) / (len(rows) * (len(rows) - 1))
    return float(np.take_along_axis(same, nearest, axis=1).mean()), float(chance)


@pytest.mark.slow
def test_the_pages_commands_find_sounds_that_are_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    for command in re.findall(r"(?m)^\$ avpipe (.*)$", block):
        assert main(shlex.split(command)) == 0, command
    share, chance = alike(Cache("avcache"), "audio-vggsound-resnet18", 5)
    assert share > 3 * chance
    printed = capsys.readouterr().out
    purity, shuffled = re.findall(r"purity ([\d.]+)%, with labels shuffled ([\d.]+)%", printed)[0]
    assert float(purity) > 80 > float(shuffled)
    assert Path("inspect.png").stat().st_size > 50_000


def test_frames_that_differ_by_one_coloured_square_are_told_apart(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "cache", 24)
    words = "knn --k 5 --image imagenet-resnet18 --audio none --weights random --cache"
    assert main([*words.split(), str(cache.path)]) == 0
    share, chance = alike(Cache(cache.path), "image-imagenet-resnet18", 5)
    assert share > 2 * chance
