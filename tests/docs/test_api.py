"""The page for users of the library: each example gives what it says, no name is left out."""

import doctest
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from avpipe.stages.media.made import write_made_clip
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from avpipe.train.runs.localizer import Localizer
from cache_factory import add_inputs, make_cache
from evaluation_factory import TINY

PAGE = (Path(__file__).parents[2] / "docs/api.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"(?ms)^## (\S+)\n(.*?)(?=^## |\Z)", PAGE))
WITH_TORCH = {"avpipe.train.losses", "avpipe.train.load_run"}
METHODS = {
    "avpipe.Cache": "ids rows clip column neighbors failures",
    "avpipe.train.losses": "ez_vsl slavc alignment lvs hint_mse",
    "avpipe.train.metrics": "binarize ciou loc_acc auc average_precision max_f1 retrieval_recall",
}
"""Names below a section's own that stay as well."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the page says."""
    place = tmp_path_factory.mktemp("api")
    cache = make_cache(place / "avcache", 12)
    add_inputs(cache)
    torch.set_num_threads(1)
    train(cache, load_recipe("compact", TINY), place / "runs/first", device="cpu")
    write_made_clip(place / "clip.avi")
    return place


def examples(section: str) -> str:
    return "\n".join(re.findall(r"(?s)```pycon\n(.*?)```", SECTIONS[section]))


@pytest.mark.parametrize("section", SECTIONS)
def test_the_examples_run(section: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    test = doctest.DocTestParser().get_doctest(examples(section), {}, section, "docs/api.md", 0)
    said: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert result.attempted > 3 and result.failed == 0, "".join(said)


@pytest.mark.parametrize("section", SECTIONS)
def test_the_name_is_there(section: str) -> None:
    module, _, name = section.rpartition(".")
    try:
        found = importlib.import_module(section)
    except ModuleNotFoundError:
        found = getattr(importlib.import_module(module), name)
    for word in METHODS.get(section, "").split():
        assert hasattr(found, word), f"{section} has no {word}"
        assert re.search(rf"\b{word}\b", SECTIONS[section]), f"{section}: {word} is not explained"


def test_every_method_of_a_localizer_is_explained() -> None:
    methods = [name for name, _ in inspect.getmembers(Localizer, inspect.isfunction)]
    public = [name for name in methods if not name.startswith("_")]
    lacking = [name for name in public if f"run.{name}(" not in SECTIONS["avpipe.train.load_run"]]
    assert lacking == [] and len(public) > 6


def test_only_two_sections_import_torch() -> None:
    """In a fresh process: what the other examples import brings no torch along."""
    lines = "".join(examples(name) for name in SECTIONS if name not in WITH_TORCH)
    imports = re.findall(r"(?m)^>>> ((?:import|from) .*)$", lines)
    code = "\n".join([*imports, "import sys", "sys.exit('torch' in sys.modules)"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or "torch is imported"
    assert len(imports) > 6
