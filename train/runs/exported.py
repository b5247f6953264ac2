"""What `export_run` wrote, read back: a folder with `run.json` that has no checkpoints."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import CacheCorruptError, UsageError, require_answer
from ...reading import read_regular
from .record import RunRecord, other_run
from .sealed import is_signed, unseal

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS, DESCRIPTION, CARD = "model.safetensors", "model.json", "README.md"
RECORD = "run.json"


def is_left_of_export(folder: Path) -> bool:
    """Whether a folder is an exported run, or what is left of one."""
    if (folder / "checkpoints").exists():
        return False
    return any((folder / name).exists() for name in (WEIGHTS, DESCRIPTION)) or _has_card(folder)


def takes_export(folder: Path) -> bool:
    """Whether a folder is empty or holds an export: not models of others, which have such names."""
    names = {path.name for path in folder.iterdir() if path.name[0] != "."}
    if names <= {RECORD}:  # that of an export knows no cache, that of a run does
        return not names or b'"cache": ""' in _content(folder / RECORD)
    is_ours = RECORD in names or b"avpipe.model/" in _content(folder / DESCRIPTION)
    return (is_ours or _has_card(folder)) and is_left_of_export(folder)


def _content(path: Path) -> bytes:
    """Return what is in a file, nothing where it cannot be read."""
    try:
        return read_regular(path)
    except OSError:
        return b""


def _has_card(folder: Path) -> bool:
    """Whether a folder has the card of an export, be it damaged, and not a page of the user."""
    try:
        return is_signed(read_regular(folder / CARD))
    except OSError:
        return False
    except ValueError:
        return True


def is_exported(folder: Path) -> bool:
    """Whether a folder holds an exported run, and not the run itself."""
    return (folder / DESCRIPTION).is_file() and not (folder / "checkpoints").is_dir()


def exported_weights(folder: Path, branch: str | None) -> dict[str, Tensor]:
    """Read the network of an exported run.

    Args:
        folder: Its folder.
        branch: Which of the run's networks is wanted; None for the one that it tests with.

    Raises:
        UsageError: Another network than the one that was exported is wanted.
        CacheCorruptError: A file is damaged.
    """
    from safetensors.torch import load

    try:
        description, _ = unseal(read_regular(folder / DESCRIPTION))
        have, sha256 = description["provenance"]["weights_of"], description["weights"]["sha256"]
        content = read_regular(folder / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError) as error:
        require_answer(error, folder)
        raise _damaged(folder / DESCRIPTION) from error
    if branch not in (None, have):
        raise UsageError(f"{folder} has no {branch!r} weights; it was exported with {have}")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise _damaged(folder / WEIGHTS)
    return load(content)


def require_described(folder: Path, record: RunRecord) -> None:
    """See that an export's `run.json` is of the weights that lie beside it.

    Raises:
        CacheCorruptError: It is another run's.
    """
    if problem := description_problem(folder, record):
        raise CacheCorruptError(
            f"{folder / DESCRIPTION} is of another run ({problem}): fetch both again, or run "
            "`avpipe export` into an empty folder"
        )


def description_problem(folder: Path, record: RunRecord) -> str:
    """Say why an export's description is not of the record beside it.

    Returns:
        "" where it is, or is damaged, which is told elsewhere.
    """
    try:
        description, _ = unseal(read_regular(folder / DESCRIPTION))
        return other_run(record, {**description["provenance"], "recipe": description["recipe"]})
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _damaged(path: Path) -> CacheCorruptError:
    return CacheCorruptError(f"{path} is damaged: fetch it again, or run `avpipe export` again")
