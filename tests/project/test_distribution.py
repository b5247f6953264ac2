"""What is published, in a fresh environment; and machines that only extract."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
from pathlib import Path

import pytest
from avpipe.stages.synth.run import synth

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRACT = [
    line
    for line in (ROOT / "requirements-extract.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]
MODULES = {"faiss-cpu": "faiss", "ffmpeg-python": "ffmpeg", "pillow": "PIL"}
BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Blocker())
"""


def test_the_short_list_is_a_part_of_the_long_one() -> None:
    assert set(EXTRACT) < set(PYPROJECT["project"]["dependencies"])


def test_a_machine_with_the_short_list_extracts(tmp_path: Path) -> None:
    """All other dependencies are blocked, in worker processes and decoders too."""
    others = set(PYPROJECT["project"]["dependencies"]).difference(EXTRACT)
    names = [line.partition(">=")[0] for line in others]
    blocked = {MODULES.get(name, name.replace("-", "_")) for name in names}
    assert {"torch", "librosa", "faiss", "transformers", "huggingface_hub"} <= blocked
    (tmp_path / "sitecustomize.py").write_text(BLOCKER.format(blocked=blocked))
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])

    def run(words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "avpipe", *words.split()], cwd=tmp_path, capture_output=True,
            text=True, env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    synth(tmp_path / "w", clips=1)
    for words in ("extract w/videos --jobs 1", "verify"):
        done = run(words)
        assert done.returncode == 0, done.stderr
    done = run("train --recipe compact --run r")
    assert done.returncode == 6 and done.stderr.count("\n") == 1, done.stderr
    assert "torch" in done.stderr


@pytest.mark.slow
def test_sdist_and_wheel_work_in_a_fresh_environment(tmp_path: Path) -> None:
    """The wheel is built of the sdist; dependencies are those that are installed here."""
    clone = tmp_path / "clone"
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.rstrip("\0").split("\0"):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path / "dist")]
    done = subprocess.run([*build, str(clone)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "stages/extract.py"} <= names

    venv.create(tmp_path / "fresh", with_pip=True)
    python = tmp_path / "fresh/bin/python"
    (site,) = (tmp_path / "fresh/lib").glob("python*/site-packages")
    here = [folder for folder in sys.path if folder.endswith("site-packages")]
    here.append(sysconfig.get_paths()["purelib"])
    (site / "installed.pth").write_text("\n".join(dict.fromkeys(here)) + "\n")  # no .pth of theirs
    pip = [str(python), "-m", "pip", "install", "-q", "--no-index", "--no-deps", str(wheel)]
    subprocess.run([*pip, "--ignore-installed"], check=True)

    def run(words: str) -> str:
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [str(tmp_path / "fresh/bin/avpipe"), *words.split()], cwd=tmp_path, env=env,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    where = subprocess.run(
        [str(python), "-c", "import avpipe; print(avpipe.__file__)"], cwd=tmp_path,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(site))
    assert "--full" in run("demo --help")
    names = {check["name"] for check in json.loads(run("doctor --json"))["checks"]}
    assert "packages" in names
    run("synth w --clips 15")  # and four for the test
    assert json.loads(run("extract w/videos --json"))["done"] == 19
    run("train --recipe compact --run r --set epochs=1 --ids w/train.txt --threads 1")
    run("evaluate r --annotations w --threads 1")
