import errno
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from avpipe import drafts
from avpipe.errors import CacheCorruptError, CacheUnwritableError, InputError
from avpipe.train.runs import checkpoint
from avpipe.train.runs.checkpoint import (
    checkpoint_problem,
    latest_checkpoint,
    load_optimizer,
    load_weights,
    require_checkpoint,
    save_checkpoint,
)
from torch import Tensor, nn


@pytest.fixture
def state() -> tuple[dict[str, Tensor], dict[str, Any]]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    network(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    return network.state_dict(), optimizer.state_dict()


def test_everything_comes_back(tmp_path: Path, state: Any) -> None:
    weights, optimizer = state
    path = save_checkpoint(tmp_path, 7, weights, optimizer)
    assert latest_checkpoint(tmp_path) == (path, 7) == require_checkpoint(tmp_path)
    loaded = load_weights(path)
    assert loaded.keys() == weights.keys()
    for name, value in weights.items():
        assert torch.equal(loaded[name], value) and loaded[name].dtype == value.dtype
    again = load_optimizer(path)
    assert again["param_groups"] == optimizer["param_groups"]
    for key, values in optimizer["state"].items():
        for name, value in values.items():
            assert torch.equal(again["state"][key][name], value)


DEAD = f"{socket.gethostname()}.4194304.0123abcd"
"""Of the name of a killed process's draft: no process of Linux has so high a number."""


def test_the_last_two_are_kept(tmp_path: Path, state: Any) -> None:
    """Beside a draft that is being written, and what the user keeps there."""
    folder = tmp_path / "checkpoints"
    alive = f".00000004.{socket.gethostname()}.{os.getpid()}.0123abcd"
    for name in (f".00000003.{DEAD}", alive, ".git"):
        (folder / name / "below").mkdir(parents=True)
    for step in (5, 10, 100, 20000):
        save_checkpoint(tmp_path, step, *state)
    assert {path.name for path in folder.iterdir()} == {alive, ".git", "00000100", "00020000"}


def test_a_checkpoint_goes_whole(
    tmp_path: Path, state: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(path: Path, **_: Any) -> None:
        raise Killed

    for step in (5, 10):
        save_checkpoint(tmp_path, step, *state)
    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(Killed):
        save_checkpoint(tmp_path, 15, *state)
    names = sorted(path.name for path in (tmp_path / "checkpoints").glob("[!.]*"))
    assert names == ["00000010", "00000015"]
    monkeypatch.undo()
    (leaving,) = (tmp_path / "checkpoints").glob(".*")
    leaving.rename(leaving.with_name(f".00000005.{DEAD}"))  # this process lives, for all that
    save_checkpoint(tmp_path, 20, *state)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def test_saving_a_step_again_changes_nothing(tmp_path: Path, state: Any) -> None:
    first = save_checkpoint(tmp_path, 5, *state)
    before = (first / "weights.safetensors").stat().st_ino
    save_checkpoint(tmp_path, 5, {}, {})
    assert (first / "weights.safetensors").stat().st_ino == before


def test_no_checkpoint_names_the_command(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    with pytest.raises(InputError, match="avpipe train"):
        require_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.pt"])
@pytest.mark.parametrize("how", ["flip", "cut", "gone", "record"])
def test_damage_is_found(tmp_path: Path, state: Any, name: str, how: str) -> None:
    path = save_checkpoint(tmp_path, 5, *state)
    content = bytearray((path / name).read_bytes())
    if how == "flip":
        content[len(content) // 2] ^= 1
        (path / name).write_bytes(content)
    elif how == "cut":
        (path / name).write_bytes(content[:-1])
    elif how == "gone":
        (path / name).unlink()
    else:
        (path / "checkpoint.json").write_text("{")
    load = load_weights if name.startswith("weights") else load_optimizer
    with pytest.raises(CacheCorruptError, match="remove the folder"):
        load(path)


def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, state: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, 5, *state)
    written = []

    def full(path: Path, content: bytes) -> None:
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_bytes(content)
        written.append(path)

    monkeypatch.setattr(checkpoint, "write_durably", full)
    with pytest.raises(CacheUnwritableError, match="No space left") as caught:
        save_checkpoint(tmp_path, 6, *state)
    assert caught.value.exit_code == 7 and written
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["00000005"]


def test_a_kill_between_the_files_leaves_the_last_checkpoint(
    tmp_path: Path, state: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, 5, *state)

    class Killed(BaseException):
        pass

    def killed(path: Path) -> None:
        raise Killed

    monkeypatch.setattr(drafts, "sync_folder", killed)
    with pytest.raises(Killed):
        save_checkpoint(tmp_path, 6, *state)
    assert latest_checkpoint(tmp_path) == (tmp_path / "checkpoints" / "00000005", 5)
    monkeypatch.undo()
    save_checkpoint(tmp_path, 6, *state)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["00000005", "00000006"]


def test_the_page_says_what_is_there(tmp_path: Path, state: Any) -> None:
    record = json.loads((save_checkpoint(tmp_path, 5, *state) / "checkpoint.json").read_text())
    assert record["step"] == 5 and set(record["sha256"]) == {"weights.safetensors", "optimizer.pt"}


def test_a_flipped_record_is_named_and_not_the_files(tmp_path: Path, state: Any) -> None:
    path = save_checkpoint(tmp_path, 5, *state)
    assert {checkpoint_problem(path, name) for name in FILES} == {""}
    text = (path / "checkpoint.json").read_text()
    for old, new in (('"step": 5', '"step": 7'), ("record_sha256", "recorf_sha256"), ("a", "b")):
        (path / "checkpoint.json").write_text(text.replace(old, new, 1))
        problems = {name: checkpoint_problem(path, name) for name in FILES}
        assert [name for name, problem in problems.items() if problem] == ["checkpoint.json"]
        with pytest.raises(CacheCorruptError, match=r"checkpoint\.json is damaged"):
            load_weights(path)
    (path / "checkpoint.json").write_text(text)
    (path / "optimizer.pt").write_bytes(b"")
    assert checkpoint_problem(path, "optimizer.pt").startswith("content does not match")
    (path / "optimizer.pt").unlink()
    assert checkpoint_problem(path, "optimizer.pt") == "missing"


FILES = ("weights.safetensors", "optimizer.pt", "checkpoint.json")
