"""What to install for a module that is missing: the names that avpipe itself depends on."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from avpipe.pipeline import distributions
from avpipe.pipeline.distributions import distribution_of

PYPROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
REQUIRED = {re.split(r"[<>=]", line)[0] for line in PYPROJECT["project"]["dependencies"]}


@pytest.fixture(scope="module")
def installed() -> Mapping[str, list[str]]:
    """The names in the machine's metadata, a file of every package: slow to read."""
    return packages_distributions()


@pytest.fixture(autouse=True)
def read_once(installed: Mapping[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributions, "packages_distributions", lambda: installed)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("there", [True, False])
def test_every_dependency_is_named_as_it_is_installed(
    there: bool, installed: Mapping[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is not there: nothing of the machine's metadata names it then."""
    modules = {
        module: normal(found[0])
        for module, found in installed.items()
        if normal(found[0]) in REQUIRED and not module.startswith("_") and len(found) == 1
    }
    public = {name: module for module, name in modules.items()}
    assert public.keys() == REQUIRED
    if not there:
        monkeypatch.setattr(distributions, "packages_distributions", dict)
        named = {"PIL", "faiss", "ffmpeg", "imageio_ffmpeg", "av", "sklearn"}
        modules = {module: name for module, name in modules.items() if module in {
            *named, *(name for name in REQUIRED if name in modules)}}  # fmt: skip
        assert named - {"sklearn"} <= modules.keys()
    assert {module: normal(distribution_of(f"{module}.part")) for module in modules} == modules


def test_a_module_of_others() -> None:
    assert distribution_of("sklearn") == "scikit-learn"
    assert distribution_of("no_such_module.part") == "no-such-module"
