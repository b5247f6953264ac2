"""Runs that lie on the Hugging Face Hub: `hf://user/run`, fetched once and kept by its library.

A repository holds what `avpipe export` writes, or a run's whole folder.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ...errors import InputError, MissingDependencyError, UsageError

_ADDRESS = re.compile(r"hf:/{1,2}(?P<repo>[^/@]+/[^/@]+)(@(?P<revision>[^/]+))?(/(?P<inside>.+))?")
"""A path that was made of the address has lost one of its slashes."""
_NEEDED = ("*run.json", "*model.json", "*.safetensors", "*checkpoint.json", "*README.md")


def is_hub_address(run: str | os.PathLike[str]) -> bool:
    """Whether a run is named by an address on the Hub."""
    return re.match(r"hf:/", os.fspath(run)) is not None


def local_run(run: str | os.PathLike[str]) -> Path:
    """Return the folder of a run; one on the Hub is fetched, unless it was before.

    Args:
        run: A folder, or `hf://USER/RUN`, `hf://USER/RUN@REVISION`, with a folder inside of it
            behind: `hf://USER/RUN/seed0`.

    Raises:
        UsageError: It is no such address.
        InputError: There is no such repository, or no such folder in it.
        MissingDependencyError: The Hub cannot be reached, and the run was not fetched before.
    """
    if not is_hub_address(run):
        return Path(run)
    found = _ADDRESS.fullmatch(os.fspath(run))
    if found is None:
        name = re.sub("^hf:/+", "hf://", os.fspath(run))
        raise UsageError(f"{name}: should be hf://USER/RUN, or hf://USER/RUN@REVISION")
    repo, revision, inside = found["repo"], found["revision"], found["inside"]
    folder = _fetched(repo, revision) / (inside or "")
    if not folder.is_dir():
        raise InputError(f"hf://{repo} has no folder {inside}")
    return folder


def _fetched(repo: str, revision: str | None) -> Path:
    """Return where a repository's files lie, those that were fetched before if there is no net."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    named = f"hf://{repo}{f'@{revision}' if revision else ''}"
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(_NEEDED)))
    except HFValidationError:
        raise UsageError(f"{named}: should be hf://USER/RUN, or hf://USER/RUN@REVISION") from None
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise InputError(
            f"{named}: the Hub has no such run, or it is private (`hf auth login`)"
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
        raise MissingDependencyError(
            f"{named} was not fetched before, and the Hub cannot be reached: run `hf download "
            f"{repo}` where it can, or name a local folder"
        ) from None
