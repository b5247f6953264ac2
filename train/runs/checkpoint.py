"""Checkpoints: weights as safetensors, the optimizer as a `weights_only` file, whole or not there.

One folder per step under `checkpoints/`, the last two kept. It appears by a rename, after both
files and a record with their sha256 are on disk.
"""

from __future__ import annotations

import hashlib
import io
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...advice import quoted
from ...drafts import remove_folder, remove_orphans, whole_folder
from ...drafts import write_durably as write_durably
from ...errors import CacheCorruptError, InputError
from ...reading import read_regular
from .record import RunRecord, identity_of, other_run
from .sealed import seal, unseal

if TYPE_CHECKING:
    from torch import Tensor

_KEPT = 2
WEIGHTS, OPTIMIZER, RECORD = "weights.safetensors", "optimizer.pt", "checkpoint.json"
_SEAL = "record_sha256"
"""Key of the record's own digest, beside those of the files."""


def save_checkpoint(
    run_dir: Path,
    step: int,
    weights: dict[str, Tensor],
    optimizer: dict[str, Any],
    record: RunRecord | None = None,
) -> Path:
    """Save the state after `step` steps and remove all but the last two.

    Args:
        run_dir: The run's folder.
        step: Steps done.
        weights: Name to tensor.
        optimizer: An optimizer's state dict.
        record: The run's, whose identity is told beside the weights.

    Returns:
        The checkpoint's folder.

    Raises:
        CacheUnwritableError: If the disk is full or cannot be written.
    """
    import torch
    from safetensors.torch import save

    folder = run_dir / "checkpoints"
    final = folder / f"{step:08d}"
    if final.exists():
        return final
    state = io.BytesIO()
    torch.save(optimizer, state)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    files = {WEIGHTS: save(plain), OPTIMIZER: state.getvalue()}
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    run = {"run": identity_of(record)} if record else {}
    page = json.dumps(seal({"step": step, **run, "sha256": sha256}, _SEAL), indent=1) + "\n"
    with whole_folder(final) as draft:
        for name, content in {**files, RECORD: page.encode()}.items():
            write_durably(draft / name, content)
    prune(run_dir)
    return final


def prune(run_dir: Path) -> None:
    """Remove a run's checkpoints but the last two, and what killed processes left of others."""
    folder = run_dir / "checkpoints"
    for path in checkpoints_in(folder)[:-_KEPT]:
        with suppress(OSError):
            remove_folder(path)
    remove_orphans(folder)


def checkpoints_in(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder of them, the oldest first; drafts left out."""
    return sorted(folder.glob("[0-9]" * 8))


def latest_checkpoint(run_dir: Path) -> tuple[Path, int] | None:
    """Return the newest checkpoint's folder and its step, None if there is none."""
    found = checkpoints_in(run_dir / "checkpoints")
    return (found[-1], int(found[-1].name)) if found else None


def load_weights(checkpoint: Path) -> dict[str, Tensor]:
    """Read a checkpoint's weights.

    Raises:
        InputError: If it is gone: a run that trains drops its old ones.
        CacheCorruptError: If the checkpoint is damaged.
    """
    from safetensors.torch import load

    return load(_intact(checkpoint, WEIGHTS))


def load_optimizer(checkpoint: Path) -> dict[str, Any]:
    """Read a checkpoint's optimizer state.

    Raises:
        CacheCorruptError: If the checkpoint is damaged.
    """
    import torch

    content = io.BytesIO(_intact(checkpoint, OPTIMIZER))
    state: dict[str, Any] = torch.load(content, map_location="cpu", weights_only=True)
    return state


def weights_digest(checkpoint: Path) -> str:
    """Return the sha256 (hex) of a checkpoint's weights.

    Raises:
        InputError: If it is gone: a run that trains drops its old ones.
        CacheCorruptError: If the checkpoint is damaged.
    """
    return hashlib.sha256(_intact(checkpoint, WEIGHTS)).hexdigest()


def require_checkpoint(run_dir: Path, record: RunRecord | None = None) -> tuple[Path, int]:
    """Return the newest checkpoint.

    Args:
        run_dir: The run's folder.
        record: What its `run.json` says, where the weights are wanted with it.

    Raises:
        InputError: If the run has none.
        CacheCorruptError: If another run than the record's has saved it.
    """
    found = latest_checkpoint(run_dir)
    if found is None:
        retry = f"run `avpipe train --run {quoted(run_dir)}`"
        raise InputError(f"{run_dir} has no checkpoint; {retry}")
    if record is not None:
        require_own(found[0], record)
    return found


def require_own(checkpoint: Path, record: RunRecord) -> None:
    """See that a checkpoint is of the run that its record tells of.

    Raises:
        CacheCorruptError: It is another's.
    """
    if problem := stranger(checkpoint, record):
        raise CacheCorruptError(
            f"{checkpoint} is of another run ({problem}): put back the run.json of its run, or "
            "remove what was copied here"
        )


def stranger(checkpoint: Path, record: RunRecord) -> str:
    """Say why a checkpoint is not the run's; "" where it is, or nobody can tell.

    Those of older versions do not say what run they are of; one that is damaged is told elsewhere.
    """
    try:
        return other_run(record, _page_of(checkpoint).get("run", {}))
    except (FileNotFoundError, ValueError):
        return ""


def gone(checkpoint: Path) -> InputError:
    """Return what to raise where a checkpoint that was there is not, or is another one now."""
    return InputError(
        f"{checkpoint} is gone or was replaced; if {checkpoint.parent.parent} is being trained, "
        "run the same command again"
    )


def checkpoint_problem(checkpoint: Path, name: str) -> str:
    """Return what is wrong with a file of a checkpoint; "" where nothing is.

    Of the other files only what the record says of them is looked at: a damaged record judges none.
    """
    try:
        content = read_regular(checkpoint / name)
    except FileNotFoundError:
        return "missing"
    try:
        sha256 = _page_of(checkpoint)["sha256"]
    except FileNotFoundError:
        return ""
    except ValueError as error:
        return str(error) if name == RECORD else ""
    if name == RECORD:
        return ""
    right = hashlib.sha256(content).hexdigest() == sha256[name]
    return "" if right else f"content does not match its sha256 in {RECORD}"


def _page_of(checkpoint: Path) -> dict[str, Any]:
    """Read a checkpoint's record: its step, the sha256 of each of its files, and its run.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is damaged.
    """
    record, _ = unseal(read_regular(checkpoint / RECORD), _SEAL)
    sha256 = record.get("sha256")
    if {*record} - {"run"} != {"step", "sha256"} or not isinstance(record.get("run", {}), dict):
        raise ValueError("not the record of a checkpoint")
    if type(record["step"]) is not int or checkpoint.name != f"{record['step']:08d}":
        raise ValueError(f"its step is {record['step']}, that of its folder {checkpoint.name}")
    if not isinstance(sha256, dict) or set(sha256) != {WEIGHTS, OPTIMIZER}:
        raise ValueError(f"not the record of {WEIGHTS} and {OPTIMIZER}")
    return record


def _intact(checkpoint: Path, name: str) -> bytes:
    """Read a file of a checkpoint and compare it with its record.

    Raises:
        InputError: The checkpoint is gone.
        CacheCorruptError: It is damaged.
    """
    damaged = name
    try:
        content = read_regular(checkpoint / name)
        expected = _page_of(checkpoint)["sha256"][name]
    except FileNotFoundError:
        if not checkpoint.exists():
            raise gone(checkpoint) from None
        content, expected = b"", ""
    except ValueError:
        content, expected, damaged = b"", "", RECORD
    if hashlib.sha256(content).hexdigest() != expected:
        raise CacheCorruptError(
            f"{checkpoint / damaged} is damaged; remove the folder {checkpoint} to go on from the "
            "checkpoint before it"
        )
    return content
