"""The Dockerfile, line by line against the package; its steps run without Docker."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from fnmatch import fnmatch
from pathlib import Path

import pytest
from avpipe.pipeline import cli

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def steps(text: str) -> list[tuple[str, str]]:
    """Return instructions and what follows them."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


STEPS = steps((ROOT / "Dockerfile").read_text(encoding="utf-8"))


def of(name: str) -> list[str]:
    return [rest for instruction, rest in STEPS if instruction == name]


def test_python_is_one_that_was_tested() -> None:
    images = [rest.split(" AS ")[0] for rest in of("FROM")]
    assert len(set(images)) == 1
    found = re.fullmatch(r"python:(\d+\.\d+)-slim", images[0])
    assert found
    assert f"Python {found[1]}" in (ROOT / "constraints.txt").read_text(encoding="utf-8")


def test_it_runs_as_a_user_that_was_made() -> None:
    (user,) = of("USER")
    assert user != "root"
    assert f"useradd --create-home {user}" in of("RUN")
    assert f"/home/{user}" in of("WORKDIR")
    names = [name for name, _ in STEPS]
    assert names.index("USER") > max(at for at, name in enumerate(names) if name == "RUN")


def test_what_it_starts_is_there() -> None:
    assert [json.loads(one)[0] for one in of("ENTRYPOINT")] == list(PROJECT["scripts"])
    program, command = json.loads(of("HEALTHCHECK")[0].partition("CMD ")[2])
    assert program in PROJECT["scripts"]
    assert any(command in commands for commands in cli.GROUPS.values())
    (extras,) = (rest.partition("=")[2] for rest in of("ARG") if rest.startswith("EXTRAS"))
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])


def test_what_it_copies_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    copied = [rest.split()[0] for rest in of("COPY") if not rest.startswith("--from")]
    needed = {*copied, *(p.replace("avpipe.", "").split(".")[0] for p in _packages()), "LICENSE"}
    for name in needed:
        assert (ROOT / name).exists()
        assert not any(fnmatch(name, pattern) for pattern in ignored if name != ".")


def _packages() -> list[str]:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [name for name in table["tool"]["setuptools"]["packages"] if name != "avpipe"]


@pytest.mark.slow
def test_its_steps_make_a_program_that_is_healthy(tmp_path: Path) -> None:
    """Fetches nothing: packages are those of this environment, the wheel is a new one's own."""
    venv.create(tmp_path / "venv", with_pip=True)
    (site,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    for old in (*site.glob("setuptools*"), *site.glob("distutils-precedence.pth")):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    here = [sysconfig.get_path("purelib"), *(path for path in sys.path if "site-packages" in path)]
    (site / "zz_here.pth").write_text("\n".join(dict.fromkeys(here)) + "\n")
    places = {"/src": tmp_path / "src", "/wheels": tmp_path / "wheels", "/install": tmp_path / "in"}
    for place in places.values():
        place.mkdir()
    bin_ = f"{tmp_path / 'venv/bin'}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": bin_, "PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "EXTRAS": "dask"}
    env |= {"HOME": str(tmp_path), "AVPIPE_WEIGHTS_DIR": str(tmp_path / "weights")}
    env.pop("PYTHONPATH", None)
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    cwd = tmp_path

    def place_of(text: str) -> str:
        for name, place in places.items():
            text = re.sub(rf"(?<![\w/-]){name}\b", str(place), text)
        return text

    for instruction, rest in STEPS:
        if instruction == "WORKDIR" and rest in places:
            cwd = places[rest]
        elif instruction == "COPY" and rest == ". .":
            for name in filter(lambda one: (ROOT / one).is_file(), listed.stdout.splitlines()):
                (cwd / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, cwd / name)
        elif instruction == "COPY":
            source, target = place_of(rest).removeprefix("--from=build ").split()
            if (ROOT / source).is_file():
                shutil.copy(ROOT / source, target)
            else:
                shutil.copytree(source, target, dirs_exist_ok=True)
        elif instruction == "RUN" and not rest.startswith("useradd"):
            done = subprocess.run(
                ["sh", "-ec", place_of(rest)], cwd=cwd, env=env, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{rest}\n{done.stdout}{done.stderr}"
    (tmp_path / "home").mkdir()
    check = json.loads(of("HEALTHCHECK")[0].partition("CMD ")[2])
    program = tmp_path / "venv/bin" / check[0]
    done = subprocess.run(
        [program, *check[1:]], cwd=tmp_path / "home", env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (site / "avpipe").is_dir()
