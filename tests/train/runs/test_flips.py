"""One flipped bit in a file of a run or a recorded hash: commands say so, or nothing changes."""

import hashlib
import io
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avpipe.errors import MissingDependencyError
from avpipe.pipeline.main import main
from avpipe.train.loop import train
from avpipe.train.recipe import load_recipe
from avpipe.train.runs.metric_lines import encode
from avpipe.train.score import shared
from avpipe.weights.hashes import record, record_of
from cache_factory import make_cache
from evaluation_factory import TINY, write_world

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.faults]
RECIPE = load_recipe("compact", [*TINY, "epochs=1"])
WEIGHTS = "H.pth.tar"
"""A file of which nobody published a hash."""


COMMANDS = ("evaluate", "report", "train", "export", "verify")
READ_AGAIN = (".json", ".jsonl", ".npz", ".sha256", ".safetensors", ".pt")


class Bench:
    """A run, evaluated, that gets one bit flipped after another; and what its commands say."""

    def __init__(self, folder: Path) -> None:
        """Make it: 28 clips, two steps."""
        self.folder, self.run = folder, folder / "run"
        self.cache = make_cache(folder / "cache", 28)
        (folder / "world").mkdir()
        self.world = write_world(folder / "world")
        ids, held = self.cache.ids[:16], self.cache.ids[16:24]
        train(self.cache, RECIPE, self.run, ids=ids, val_ids=held, device="cpu")
        shutil.rmtree(self.run / "tensorboard", ignore_errors=True)
        for name in ("train.txt", "held.txt"):
            (folder / name).write_text("\n".join(ids if name == "train.txt" else held))
        weights = folder / "weights" / WEIGHTS
        weights.parent.mkdir()
        weights.write_bytes(b"weights")
        record(weights, hashlib.sha256(b"weights").hexdigest())
        self.record = record_of(weights)
        self.whole = {name: self.ask(name) for name in COMMANDS}
        assert {code for code, _, _ in self.whole.values()} == {0}
        self.files = {
            path: path.read_bytes()
            for path in [self.record, *self.run.rglob("*")]
            if path.is_file() and path.suffix != ".html"
        }

    def ask(self, name: str) -> tuple[int, Any, str]:
        """Run a command; return its code, what of its document a user relies on, and stderr."""
        run, cache = str(self.run), str(self.cache.path)
        words = {
            "evaluate": ["evaluate", run, "--cache", cache, "--annotations", str(self.world)],
            "report": ["report", run, "--cache", cache],
            "train": ["train", "--run", run, "--cache", cache, "--ids",
                      str(self.folder / "train.txt"), "--val-ids", str(self.folder / "held.txt"),
                      "--set", f"epochs={RECIPE.epochs}"],
            "export": ["export", run, "--out", str(self.folder / "export")],
            "verify": ["weights", "verify"],
        }[name]  # fmt: skip
        if name == "train":
            words += [word for one in TINY[:-3] + TINY[-2:] for word in ("--set", one)]
        if name in ("evaluate", "report", "train"):
            words += ["--device", "cpu"]
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AVPIPE_WEIGHTS_DIR", str(self.folder / "weights"))
            patch.setattr(shared, "ObjectPrior", no_prior)
            with redirect_stdout(out), redirect_stderr(err):
                code = main([*words, "--json"])
        document = json.loads(out.getvalue()) if code == 0 else None
        return (
            code,
            document and relied_on(name, document),
            err.getvalue() + str(document and document.get("notices")),
        )

    def command_of(self, path: Path) -> str:
        """Return the command that reads a file."""
        if path == self.record:
            return "verify"
        names = {"metrics.jsonl": "report", "validation.jsonl": "report", "optimizer.pt": "train",
                 "checkpoint.json": "train", "weights.safetensors": "export"}  # fmt: skip
        return names.get(path.name, "evaluate")

    def flip(self, path: Path, bit: int) -> str:
        """Flip a bit of a file; see `changed`."""
        content = bytearray(self.files[path])
        content[bit // 8] ^= 1 << bit % 8
        return self.changed(path, bytes(content))

    def changed(self, path: Path, content: bytes) -> str:
        """Change a file, run the command that reads it, put all back; say how that ended."""
        path.write_bytes(content)
        before = {file: file.stat() for file in self.files}
        name = self.command_of(path)
        code, found, told = self.ask(name)
        same = found == self.whole[name][1]
        kept = path.read_bytes() == content
        for file, whole in self.files.items():
            if file == path or file.stat() != before[file]:
                file.write_bytes(whole)
        if code == 1 or "Traceback" in told:
            return "internal error"
        if code:
            return f"exit {code}" if told.count("avpipe: error: ") == 1 else "not one line"
        if path.suffix == ".jsonl" and not kept:
            return "cut"
        if path.name in told:
            return "told" if same or path.suffix == ".jsonl" else "told and other"
        return "same" if same else "silent"

    def flips(self, num: int, seed: int) -> Iterator[tuple[str, str]]:
        """Yield (file name, how it ended) of bits drawn from all kinds of files alike."""
        rng = np.random.default_rng(seed)
        paths = sorted(path for path in self.files if path.suffix in READ_AGAIN)
        for number in range(num):
            path = paths[number % len(paths)]
            yield path.name, self.flip(path, int(rng.integers(8 * len(self.files[path]))))


def no_prior(**settings: Any) -> None:
    """Stand in for the object prior where its weights are missing; building it takes a while."""
    raise MissingDependencyError("no weights")


def relied_on(name: str, document: dict[str, Any]) -> Any:
    """Return the figures of a document."""
    if name == "export":
        return hashlib.sha256(Path(document["weights"]).read_bytes()).hexdigest()
    if name == "evaluate":
        return [
            {key: run[key] for key in ("scores", "subsets", "leaked", "recipe", "seed")}
            for run in document["runs"]
        ]
    keys = {"report": ("loss", "val_loss", "steps", "seed", "clips"),
            "train": ("num_steps", "loss"), "verify": ("file", "state", "hash")}[name]  # fmt: skip
    return [{key: one[key] for key in keys} for one in document.get("runs") or document["files"]]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


GOOD = {"same", "told", "exit 5", "exit 6"}


def test_no_flipped_bit_is_silent(bench: Bench) -> None:
    found = Counter(bench.flips(27, seed=0))
    kinds = {name for name, _ in found}
    assert {"run.json", "metrics.jsonl", "synth-maps.npz", "weights.safetensors"} <= kinds
    assert {how for _, how in found} <= GOOD, found
    assert found["synth-maps.npz", "told"] and found["weights.safetensors", "exit 5"]


def test_the_measure_would_notice_silence(bench: Bench) -> None:
    """Another loss in a line whose checksum fits."""
    line = encode({"step": 1, "epoch": 1, "lr": 0.1, "loss": 77.0})
    assert bench.changed(bench.run / "metrics.jsonl", line.encode()) == "silent"
    assert bench.flip(bench.run / "metrics.jsonl", 8) == "told"


def test_training_a_finished_run_again_changes_nothing(bench: Bench) -> None:
    path = bench.run / "metrics.jsonl"
    lines = bench.files[path].splitlines(keepends=True)
    try:
        for text in (b"5\n", b'{"stfp": 1}\n', b'{"step": 999, "loss": 1.0}\n', b'{"st'):
            path.write_bytes(b"".join([text, *lines[1:]]))
            before = path.read_bytes()
            code, _, told = bench.ask("train")
            assert (code, path.read_bytes()) == (0, before)
            assert f"{path}: line 1 is damaged" in told or text.startswith(b'{"step": 9')
    finally:
        path.write_bytes(bench.files[path])
