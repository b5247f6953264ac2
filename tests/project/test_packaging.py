"""What is installed is what lies in the checkout: package list, wheel, and the wheel at work."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import avpipe
import pytest

ROOT = Path(__file__).parents[2]
NOT_PACKAGES = {"tests", "bench", "docs", "build", "dist"}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def package_folders() -> list[Path]:
    """Return the folders that hold an `__init__.py`, the root included."""
    found = [ROOT]
    for init in ROOT.rglob("__init__.py"):
        folder = init.parent.relative_to(ROOT)
        if (
            folder.parts
            and not folder.parts[0].startswith(".")
            and folder.parts[0] not in NOT_PACKAGES
        ):
            found.append(init.parent)
    return sorted(found)


def data_files() -> set[str]:
    """Return the files that are not Python and belong to the package: all that lie in its folders.

    Of the root, which holds the project's own files too, the mark of types alone.
    """
    below = [folder.relative_to(ROOT).as_posix() for folder in package_folders() if folder != ROOT]
    found = {path for path in _project_files(below) if not path.endswith(".py")}
    return {f"avpipe/{path}" for path in found} | {"avpipe/py.typed"}


def _project_files(folders: list[str]) -> list[str]:
    """List the files that belong to the project: those git knows, or where it is absent, all."""
    command = ["git", "ls-files", "-z", "--", *folders]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        done = None
    if done and done.returncode == 0 and done.stdout:
        return done.stdout.rstrip("\0").split("\0")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    return [
        path.relative_to(ROOT).as_posix()
        for path in paths
        if path.suffix != ".pyc" and not path.name.startswith(".")
    ]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of what it is made of, with the tools that are here, offline."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    names = ["pyproject.toml", "README.md", "LICENSE", "py.typed"]
    names += [
        str(path.relative_to(ROOT)) for folder in package_folders() for path in folder.glob("*.py")
    ]
    names += [name.removeprefix("avpipe/") for name in data_files()]
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return built


def test_the_package_list_is_complete() -> None:
    folders = {
        ".".join(["avpipe", *folder.relative_to(ROOT).parts]) for folder in package_folders()
    }
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == folders


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = [name for name in archive.namelist() if ".dist-info/" in name]
    python = {
        f"avpipe/{path.relative_to(ROOT).as_posix()}"
        for folder in package_folders()
        for path in folder.glob("*.py")
    }
    assert names == python | data_files()
    assert {"avpipe/train/score/published.csv", "avpipe/train/recipes/compact.toml"} <= names
    assert any(name.endswith("/LICENSE") for name in metadata)


def test_the_wheel_works_in_another_folder(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    code = "import avpipe, sys; print(avpipe.__file__); sys.argv = ['avpipe', '--version']"
    code += "; import avpipe.__main__ as program; program.main()"
    for command in (["-c", code], ["-m", "avpipe", "--version"]):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path / "installed")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"avpipe {avpipe.__version__}"
        if command[0] == "-c":
            assert done.stdout.startswith(str(tmp_path))


def test_every_dependency_is_pinned() -> None:
    pins = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dev"], *extras["remote"]]
    names = {line.partition(">=")[0].lower() for line in wanted}
    assert names - pins == set()


@pytest.mark.slow
def test_the_wheel_has_types(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    config = ["--config-file", str(ROOT / "pyproject.toml")]
    command = [sys.executable, "-m", "mypy", *config, "-p", "avpipe"]
    env = {"MYPYPATH": str(tmp_path / "installed"), "PATH": ""}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
