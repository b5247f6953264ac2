"""What workers must have, and the line for each thing that one lacks."""

import errno
import pickle
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from avpipe.errors import (
    AvpipeError,
    CacheUnwritableError,
    InputError,
    MissingDependencyError,
    UsageError,
)
from avpipe.pipeline.extract.workers import close_decoder_child, decoder_child
from avpipe.stages.features import FeatureParams
from avpipe.stages.workers import Workers, fitness, gpus
from avpipe.stages.workers.fitness import Fitness, require_fit, work_if_fit
from avpipe.stages.workers.gpus import NetworkSoftware
from avpipe.stages.workers.runners import is_on_other_hosts, load_engine, runs_here
from avpipe.weights.store import Lack, MissingFilesError
from fake_clips import make_cache

HOST = f"host {socket.gethostname()}"


@pytest.fixture
def wanted(tmp_path: Path) -> Fitness:
    cache = make_cache(tmp_path / "cache", ["a"])
    for folder in ("videos", "empty"):
        (tmp_path / folder).mkdir()
    for file in ("videos/a.mp4", "clips.tar"):
        (tmp_path / file).touch()
    software = NetworkSoftware(
        ("numpy",), "pyav", device="cpu", teachers=(("imagenet-resnet18", "hints"),)
    )
    folders = tuple(str(tmp_path / name) for name in ("videos", "clips.tar", "empty", "gone"))
    return Fitness.of_this_process(
        software, cache, folders=folders, stages=("extract", "neighbors")
    )


def test_a_process_fits_itself_and_its_drafts_are_swept(wanted: Fitness) -> None:
    left = wanted.cache / "neighbors/x" / f".0000009.h5.{socket.gethostname()}.999999999.01234567"
    left.parent.mkdir(parents=True)
    left.touch()
    assert work_if_fit(-3, abs, wanted) == 3
    assert not left.exists()
    assert [Path(folder).name for folder in wanted.folders] == ["videos", "clips.tar"]


@pytest.mark.parametrize(
    "name", ["avpipe", "Python", "numpy", "decoder", "teacher imagenet-resnet18"]
)
def test_another_version_is_named(wanted: Fitness, name: str) -> None:
    versions = {**dict(wanted.versions), name: "other"}
    have = dict(wanted.versions)[name]
    with pytest.raises(MissingDependencyError, match=f"{HOST} has {name} ") as caught:
        require_fit(replace(wanted, versions=tuple(versions.items())))
    assert f"has {name} {have}, this process other: install" in str(caught.value)


def test_a_library_too_old_to_be_imported_is_told_by_its_version(
    wanted: Fitness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def old(name: str) -> str:
        raise ImportError("cannot import name 'Discard' from 'av.stream'")

    monkeypatch.setattr("avpipe.stages.media.decoder_version", old)
    with pytest.raises(MissingDependencyError, match=f"{HOST} has decoder none .cannot import"):
        require_fit(wanted)
    monkeypatch.setattr(fitness, "version", lambda name: "0.1")
    with pytest.raises(MissingDependencyError, match=f"{HOST} has numpy 0.1, this process"):
        require_fit(wanted)


@pytest.mark.parametrize("tar", [False, True])
def test_clips_that_cannot_be_read_are_named(wanted: Fitness, tar: bool) -> None:
    place = Path(wanted.folders[tar])
    place.unlink() if tar else shutil.rmtree(place)
    with pytest.raises(InputError, match=f"{HOST} cannot read {place} .No such file"):
        require_fit(wanted)


def test_a_folder_that_is_not_mounted_is_empty_there(wanted: Fitness) -> None:
    (Path(wanted.folders[0]) / "a.mp4").unlink()
    with pytest.raises(InputError, match=f"{HOST} cannot read {wanted.folders[0]} .it is empty.:"):
        require_fit(wanted)


def test_another_cache_at_the_same_place_is_named(wanted: Fitness, tmp_path: Path) -> None:
    with wanted.with_token() as asked:
        require_fit(asked)
        shutil.copytree(wanted.cache, tmp_path / "own")
        next((tmp_path / "own/manifest").glob(".seen.*")).unlink()
        own = replace(asked, cache=tmp_path / "own")
        with pytest.raises(InputError, match=f"{HOST} has another cache at {tmp_path}/own: mount"):
            require_fit(own)
    assert not list((wanted.cache / "manifest").glob(".*"))


def test_a_cache_that_cannot_be_read_says_why(wanted: Fitness) -> None:
    shutil.rmtree(wanted.cache)
    with pytest.raises(InputError, match=r"does not see the cache .* \(No such file .*\): mount"):
        require_fit(wanted)


@pytest.mark.parametrize("stage", ["manifest", "extract"])
def test_a_cache_that_cannot_be_written_is_named(
    wanted: Fitness, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    @contextmanager
    def refuse(path: Path) -> Iterator[Path]:
        if path.parent.name == stage:
            raise CacheUnwritableError(f"{path}: Read-only file system")
        yield path

    monkeypatch.setattr(fitness, "temporary", refuse)
    with pytest.raises(CacheUnwritableError, match=f"{HOST}: .*/{stage}/.*Read-only file system"):
        require_fit(wanted)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (CacheUnwritableError("/cache: No space left on device"), CacheUnwritableError),
        (InputError("/videos is empty"), InputError),
        (
            MissingFilesError([Lack("x", Path("x.pt"), "is not there", "get")]),
            MissingDependencyError,
        ),
    ],
)
def test_what_a_task_lacks_is_told_with_its_host(
    wanted: Fitness, error: AvpipeError, kind: type[AvpipeError]
) -> None:
    def work(task: int) -> int:
        raise error

    with pytest.raises(kind) as caught:
        work_if_fit(1, work, wanted)
    assert str(caught.value) == f"{HOST}: {error}"
    assert type(pickle.loads(pickle.dumps(caught.value))) is kind
    error = caught.value
    with pytest.raises(kind) as again:
        work_if_fit(1, work, wanted)
    assert str(again.value).count(HOST) == 1


def test_a_device_that_is_not_there_is_named(wanted: Fitness) -> None:
    software = replace(wanted.software, device="cuda:77")
    asked = replace(wanted, software=software, versions=tuple(software.versions().items()))
    with pytest.raises(UsageError, match=f"{HOST}: --device cuda:77 cannot be used here"):
        require_fit(asked)


def test_each_thread_has_its_own_decoder() -> None:
    import threading

    params, found = FeatureParams(), []
    mine = decoder_child(params, 60.0)
    thread = threading.Thread(target=lambda: found.append(decoder_child(params, 60.0)))
    thread.start()
    thread.join()
    assert found[0] is not mine
    assert decoder_child(params, 60.0) is mine
    close_decoder_child()
    assert decoder_child(params, 60.0) is not mine


def test_each_worker_takes_a_gpu_that_no_other_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = ["a", "b"]
    monkeypatch.setattr(gpus, "_names", lambda: names)
    monkeypatch.setattr(gpus, "num_gpus", lambda: 2)
    monkeypatch.setattr(gpus, "chosen_device", lambda name: "cuda" if name == "auto" else name)
    monkeypatch.setattr(gpus, "usable_device", lambda name: name)
    monkeypatch.setattr(gpus.tempfile, "gettempdir", lambda: str(tmp_path))
    assert gpus.own_device("cpu") == "cpu"
    assert gpus.own_device("cuda:1") == "cuda:1"
    taken = []
    for _ in range(2):  # a lock is of an open file: two opens are as two processes
        monkeypatch.setattr(gpus, "_held", {})
        taken += [gpus.own_device("auto"), gpus.own_device("auto")]
    assert taken == ["cuda:0", "cuda:0", "cuda:1", "cuda:1"]
    monkeypatch.setattr(gpus, "_held", {})
    with pytest.raises(UsageError, match="all 2 GPUs of this host have a worker"):
        gpus.own_device("auto")

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(UsageError, match=r"gpu-a\.lock cannot be locked .* with TMPDIR"):
        gpus.own_device("auto")


def test_a_cluster_needs_an_address_and_this_machine_none() -> None:
    assert runs_here(Workers(1)) and runs_here(Workers(1, "sequential"))
    assert not runs_here(Workers(2))
    assert is_on_other_hosts(Workers(1, "ray", "auto"))
    with pytest.raises(UsageError, match="--backend dask needs --scheduler"):
        runs_here(Workers(1, "dask"))
    with pytest.raises(UsageError, match="--scheduler x: --backend loky runs on this machine"):
        runs_here(Workers(1, "loky", "x"))
    with pytest.raises(UsageError, match="no backend is called 'spark': one of dask, loky, ray, s"):
        load_engine("spark")
