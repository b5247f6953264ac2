"""The files of docs/adding.md are found by their names, and run."""

import json
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from avpipe.cache.store import Cache
from avpipe.train import losses
from avpipe.train.recipe import Recipe
from cache_factory import make_cache
from evaluation_factory import SOUNDING, TINY
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/adding.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```\w+ file=(\S+)\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = re.findall(r"(?m)^\$ avpipe (.*)$", PAGE)
PROGRAM = """
import json, shlex, sys
import torch
torch.set_num_threads(1)
from avpipe.pipeline.main import main
from avpipe.stages.teachers.protocol import choices
from avpipe.train.benchmarks import benchmark_names
from avpipe.train.recipe import list_recipes, objective_names
for command in json.loads(sys.argv[1]):
    if code := main(shlex.split(command)):
        sys.exit(f"{command}: {code}")
print("names", *choices("visual"), *objective_names(), *list_recipes(), *benchmark_names())
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the package, and add the files of the page."""
    folder = tmp_path_factory.mktemp("source") / "avpipe"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    places = [Path(*name.split(".")[1:]) for name in project["tool"]["setuptools"]["packages"]]
    for place in [*places, Path("train/recipes")]:
        (folder / place).mkdir(parents=True, exist_ok=True)
        for path in (ROOT / place).iterdir():
            if path.suffix in (".py", ".csv", ".toml"):
                shutil.copy(path, folder / place / path.name)
    for name, content in FILES.items():
        assert not (folder / name).exists(), f"{name} is taken"
        (folder / name).write_text(content)
    return folder


def test_what_is_added_has_its_name_and_runs(package: Path, tmp_path: Path) -> None:
    make_cache(tmp_path / "avcache", 12)
    (tmp_path / "boxes").mkdir()
    entries = [
        {"file": f"clip{i:03d}", "class": f"class{i % 4}", "bbox": [SOUNDING]} for i in range(12)
    ]
    (tmp_path / "boxes/mine.json").write_text(json.dumps(entries))
    (tmp_path / "boxes/masks").mkdir()
    mask = np.zeros((100, 160), np.uint8)
    left, top, right, bottom = SOUNDING
    mask[round(100 * top) : round(100 * bottom), round(160 * left) : round(160 * right)] = 255
    for i in range(12):
        Image.fromarray(mask).save(tmp_path / f"boxes/masks/clip{i:03d}.png")
    small = "".join(f" --set {value}" for value in TINY if not value.startswith("ema"))
    words = [line + small * line.startswith("train") for line in COMMANDS]
    assert [line.split()[0] for line in words] == [
        "embed-teachers",
        "knn",
        "train",
        "train",
        "evaluate",
        "evaluate",
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(words)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(package.parent), "PATH": "", "AVPIPE_WEIGHTS_DIR": "none"},
        capture_output=True,
        text=True,
        timeout=540,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    names = done.stdout.partition("\nnames ")[2].split()
    assert (
        set(names) > {"mean-colour", "margin", "mine", "mine-masks"} and names.count("margin") == 2
    )
    assert "mine, protocol avpipe, maps rf-centred: 12 of 12 clips scored" in done.stdout
    boxes, masks = (
        json.loads((tmp_path / f"runs/margin/evaluate/{name}-avpipe.json").read_text())["scores"]
        for name in ("mine", "mine-masks")
    )
    assert masks["av"]["ciou_mean"] == pytest.approx(boxes["av"]["ciou_mean"], abs=0.01)
    assert boxes["av"]["ciou_mean"] > 0
    margins = [
        json.loads((tmp_path / f"runs/{run}/run.json").read_text())["recipe"]["objective_options"]
        for run in ("margin", "wide")
    ]
    assert margins == [{"margin": 0.3}, {"margin": 0.5}]
    lines = (tmp_path / "runs/margin/metrics.jsonl").read_text().splitlines()
    terms = [json.loads(line) for line in lines]
    assert all(line["loss"] == line["margin"] > 0 for line in terms)
    cache = Cache(tmp_path / "avcache")
    clip = cache.clip("clip003")
    value = cache.column("hints/mean-colour")[clip.row]
    assert np.allclose(value.mean((1, 2)), clip.frame.mean((0, 1)) / 255, atol=0.002)
    assert len(cache.neighbors("image-mean-colour")[clip.row][0]) == 5


def test_the_margin_is_that_of_three_loops(package: Path) -> None:
    code = re.search(r"    def loss.*?return \{.*?\}\n", FILES["train/objectives/margin.py"], re.S)
    assert code
    recipe = SimpleNamespace(**vars(Recipe()), option={"margin": 0.2}.get)
    space = {"losses": losses, "recipe": recipe, "Tensor": torch.Tensor, "torch": torch}
    exec(textwrap.dedent(code[0]), space)
    rng = torch.Generator().manual_seed(0)
    visual, audio = torch.randn(3, 4, 2, 2, generator=rng), torch.randn(3, 4, generator=rng)
    total = 0.0
    for image in range(3):
        best = [
            max(float(visual[image, :, y, x] @ audio[s]) for y in range(2) for x in range(2))
            for s in range(3)
        ]
        total += sum(max(0.0, 0.2 + best[s] - best[image]) for s in range(3) if s != image)
    loss = space["loss"]((visual,), (audio,))  # type: ignore[operator]
    assert float(loss["margin"]) == pytest.approx(total / 6, rel=1e-5)
