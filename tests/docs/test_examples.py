"""The examples for library users run, and what they use is public and typed."""

import importlib
import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import avpipe
import pytest
import torch
from avpipe.cache.store import Cache
from avpipe.stages.media import Clip
from avpipe.train import losses, metrics
from avpipe.train.runs.localizer import Localizer
from cache_factory import add_inputs, make_cache

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples"
PUBLIC = {
    "avpipe": ["Cache"],
    "avpipe.stages.media": ["decode_clip"],
    "avpipe.stages.spectrogram": ["log_spectrogram"],
    "avpipe.stages.neighbors": ["knn"],
    "avpipe.train.losses": ["ez_vsl", "slavc", "alignment", "lvs", "hint_mse"],
    "avpipe.train.metrics": [
        *("binarize", "ciou", "loc_acc", "auc", "average_precision", "max_f1"),
        "retrieval_recall",
    ],
    "avpipe.train": ["load_run"],
}
"""The names that stay; everything else may move."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cache = make_cache(tmp_path_factory.mktemp("examples") / "avcache", 12)
    add_inputs(cache)
    return cache


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The example as a module that spawned workers find, too."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield importlib.import_module("torch_loader")
    del sys.modules["torch_loader"]


def test_plain_numpy(cache: Cache) -> None:
    command = [sys.executable, str(EXAMPLES / "numpy_cache.py"), str(cache.path), "clip005"]
    env = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=540)
    assert done.returncode == 0, done.stderr
    assert "12 clips, failed: none" in done.stdout
    assert "clip005 (class1): frame (64, 85, 3), sound (257, 276)" in done.stdout
    by_sound = done.stdout.partition("by mean spectrum:\n")[2].splitlines()
    assert {line.split()[0] for line in by_sound[:2]} == {"clip001", "clip009"}  # the same tone
    row = cache.row_of("clip005")
    for name in ("image-imagenet-resnet18", "audio-vggsound-resnet18"):
        first = cache.ids[int(cache.neighbors(name)[row][0][0])]
        assert f"{name}:\n  {first} " in done.stdout


def test_it_tells_what_makes_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    bare = make_cache(tmp_path / "avcache", 3)
    importlib.import_module("numpy_cache").main([str(bare.path)])
    assert "run `avpipe knn --cache" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # that is what is tested
@pytest.mark.parametrize(("start", "workers"), [("fork", 2), ("spawn", 1)])
def test_batches_come_from_workers(
    start: str, workers: int, cache: Cache, loader: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    cache.clip("clip000")  # something is open before the workers begin
    batches = list(loader.loader(cache, workers=workers, start=start, batch_size=8))
    seen = [clip_id for _, _, ids in batches for clip_id in ids]
    assert sorted(seen) == cache.ids
    frames, spectrograms, ids = batches[0]
    assert frames.shape == (8, 3, 224, 224) and spectrograms.shape == (8, 1, 257, 276)
    for number in (0, 7):
        expected = cache.clip(ids[number]).spectrogram / 12
        assert (spectrograms[number, 0].numpy() == expected).all()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # quicker than spawning six
def test_more_workers_than_shards_lose_no_clip_and_epochs_differ(
    tmp_path: Path, loader: Any
) -> None:
    few = make_cache(tmp_path / "avcache", 5, shard_clips=8)
    assert len(few.extracted_shards()) == 1
    batches = loader.loader(few, workers=2, start="fork", batch_size=2)
    torch.manual_seed(0)
    epochs = [[clip_id for _, _, ids in batches for clip_id in ids] for _ in range(3)]
    assert [sorted(epoch) for epoch in epochs] == [few.ids] * 3
    assert len(set(map(tuple, epochs))) > 1


def test_the_loader_as_a_program(
    cache: Cache, loader: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    loader.main([str(cache.path), "--workers", "0", "--batch-size", "5"])
    assert "12 clips in" in capsys.readouterr().out


def public_functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    for module, names in PUBLIC.items():
        for name in names:
            found = getattr(importlib.import_module(module), name)
            if not inspect.isclass(found):
                yield f"{module}.{name}", found
    for owner in (Cache, Localizer):
        for name, member in inspect.getmembers(owner):
            if name.startswith("_") and name not in ("__init__", "__len__"):
                continue
            if inspect.isfunction(member):
                yield f"{owner.__name__}.{name}", member
            elif isinstance(inspect.getattr_static(owner, name), property):
                yield f"{owner.__name__}.{name}", inspect.getattr_static(owner, name).fget


def test_public_names_are_there_typed_and_explained() -> None:
    assert (ROOT / "py.typed").exists() and "Cache" in avpipe.__all__
    names = []
    for name, function in public_functions():
        names.append(name)
        signature = inspect.signature(function)
        untyped = [
            parameter.name
            for parameter in signature.parameters.values()
            if parameter.name != "self" and parameter.annotation is inspect.Parameter.empty
        ]
        assert untyped == [], name
        assert signature.return_annotation is not inspect.Signature.empty, name
        assert function.__doc__, name
    wanted = ("clip", "column", "neighbors", "failures", "__len__")
    assert {f"Cache.{name}" for name in wanted} < {*names}
    assert {f"Localizer.{name}" for name in ("localize", "embed_audio", "embed_frame")} < {*names}
    assert {"frame", "waveform", "rate_hz", "frame_pts_s", "duration_s"} < {*Clip.__annotations__}
    assert {*PUBLIC["avpipe.train.metrics"]} < {*metrics.__all__} and losses.__doc__


@pytest.mark.slow
def test_the_examples_are_typed_against_the_package(tmp_path: Path) -> None:
    (tmp_path / "avpipe").symlink_to(ROOT, target_is_directory=True)
    files = [str(path) for path in sorted(EXAMPLES.glob("*.py"))]
    config = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(tmp_path / "mypy")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *config, *files],
        cwd=tmp_path,
        env={"MYPYPATH": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
