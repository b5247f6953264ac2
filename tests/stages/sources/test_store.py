"""Object stores, shown by fsspec's `memory://`, and by stores that refuse what they are asked."""

import builtins
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from avpipe.errors import ClipError, InputError, MissingDependencyError, Reason
from avpipe.stages.sources import reach, store
from avpipe.stages.sources.reach import AbsentError, place_of
from avpipe.stages.sources.staging import is_gone, require_there, staged, staged_file
from avpipe.stages.sources.store import Store

fsspec = pytest.importorskip("fsspec")
CLIP = os.urandom(30_000)


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Keep objects in memory, wait for nothing, and fetch into a folder of the test."""
    monkeypatch.setattr(reach, "wait", lambda seconds: None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    files = fsspec.filesystem("memory")
    files.pipe_file("/bucket/v/a.mp4", CLIP)
    yield files
    files.store.clear()


def test_an_object_is_a_file_while_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_CHUNK", 7_000)
    with staged_file("memory://bucket/v/a.mp4") as path:
        assert Path(path).read_bytes() == CLIP


def test_names_are_taken_as_they_are(memory: Any) -> None:
    for name in ("a%20b.mp4", "sub/c ?#.mp4", "n\u00e9.mp4"):
        memory.pipe_file(f"/bucket/v/{name}", name.encode())
        with staged_file(f"memory://bucket/v/{name}") as path:
            assert Path(path).read_bytes() == name.encode()
    memory.pipe_file("/bucket/v/.hidden/x.mp4", b"")
    found = dict(place_of("memory://bucket").names("memory://bucket/v"))
    assert set(found) == {"a.mp4", "a%20b.mp4", "sub/c ?#.mp4", "n\u00e9.mp4"}
    # a listing tells the same version as a look at one object, or all would have changed
    look = place_of("memory://bucket").look
    assert all(look(f"memory://bucket/v/{name}") == seen for name, seen in found.items())


def test_what_is_not_there_is_missing() -> None:
    no_file = pytest.raises(ClipError, match=r"missing: there is no b\.mp4")
    with no_file, staged_file("memory://bucket/v/b.mp4"):
        pass
    with pytest.raises(AbsentError):  # a folder is no object
        place_of("memory://bucket").look("memory://bucket/v")
    assert not is_gone("memory://bucket/v") and is_gone("memory://bucket/w")
    with pytest.raises(InputError, match=r"memory://bucket/b\.mp4: no such file"):
        require_there("memory://bucket/b.mp4")
    require_there("memory://bucket/v/a.mp4")


def test_a_changed_object_is_not_taken_for_the_planned_one(memory: Any) -> None:
    seen = place_of("memory://bucket").look("memory://bucket/v/a.mp4")
    memory.pipe_file("/bucket/v/a.mp4", CLIP[1:])
    line = {"path": "memory://bucket/v/a.mp4", **seen._asdict()}
    with pytest.raises(ClipError, match="it has changed since it was planned"), staged(line):
        pass


class NoCredentialsError(Exception):
    """As botocore calls it."""


class EndpointConnectionError(Exception):
    """As botocore calls it."""


def refusing(error: Exception) -> Callable[..., Any]:
    class Files:
        def __init__(self, **options: Any) -> None:
            pass

        def _refuse(self, *names: Any, **options: Any) -> None:
            raise error

        info = cat_file = ls = find = exists = _refuse

    return Files


@pytest.mark.parametrize(
    ("scheme", "error", "said"),
    [
        (
            "s3",
            NoCredentialsError("Unable to locate credentials"),
            r"s3://bucket denies access .*aws",
        ),
        ("s3", PermissionError("Forbidden"), "s3://bucket denies access .*aws"),
        ("gs", OSError("Anonymous caller does not have access"), "gs://bucket denies .*gcloud"),
        ("hf", Exception("401 Client Error: Unauthorized"), r"hf://bucket denies .*hf auth login"),
        ("s3", EndpointConnectionError("https://me:hush@x"), "s3://bucket does not answer"),
        ("gs", TimeoutError("hush"), "gs://bucket does not answer"),
    ],
)
def test_a_host_that_refuses_all_stops_the_run_in_one_line_that_names_it(
    scheme: str, error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "_place", lambda kind, host: Store(refusing(error), kind))
    line = {"path": f"{scheme}://bucket/a.mp4", "bytes": 9}
    with pytest.raises(InputError, match=said) as caught, staged(line):
        pass
    assert "hush" not in str(caught.value) and "\n" not in str(caught.value)


def test_what_no_library_expected_of_a_name_is_the_clips_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = Store(refusing(ValueError("Invalid bucket name")), "s3")
    monkeypatch.setattr(reach, "_place", lambda kind, host: broken)
    with pytest.raises(ClipError) as caught, staged_file("s3://bucket/a.mp4"):
        pass
    assert caught.value.reason == Reason.IO_ERROR


@pytest.mark.parametrize(
    ("scheme", "package"),
    [("s3", "s3fs"), ("gs", "gcsfs"), ("hf", "huggingface_hub"), ("https", "requests")],
)
def test_a_missing_package_is_one_line_that_names_it(
    scheme: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reach._place.cache_clear()
    real = builtins.__import__

    def absent(name: str, *rest: Any, **named: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return real(name, *rest, **named)

    def no_class(scheme: str) -> None:
        raise ImportError(f"Install {package} to access it")

    if scheme == "https":
        monkeypatch.delitem(sys.modules, "avpipe.stages.sources.web", raising=False)
    monkeypatch.setattr(builtins, "__import__", absent)
    monkeypatch.setattr(fsspec, "get_filesystem_class", no_class)
    with pytest.raises(MissingDependencyError) as caught, staged_file(f"{scheme}://host/a.mp4"):
        pass
    told = f"{scheme}://host needs the package {package}: `pip install {package}`"
    assert str(caught.value) == told
