"""What a stage is asked to do, checked: the dataclasses between the command line and the run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ...cache.addresses import (
    is_address,
    is_other_address,
    parse_address,
    why_unread,
    without_secrets,
)
from ...errors import Reason, UsageError
from ...stages.front_ends import FRONT_ENDS
from ...stages.workers import Workers
from ..part_names import names_in

if TYPE_CHECKING:
    Decoder = str
    Spectrogram = str
else:  # the files of stages/media/decoders, looked at but not imported
    Decoder = Literal[tuple(names_in("stages/media/decoders"))]
    Spectrogram = Literal[tuple(FRONT_ENDS)]
IdFrom = Literal["stem", "path"]
KeptFrame = Literal["middle", "keyframe"]
ID_FROM: IdFrom = "stem"


@dataclass(frozen=True)
class ExtractSettings:
    """Everything `extract` can be told."""

    inputs: tuple[str, ...]
    """Folders, files, lists; none: the clips the cache has planned already."""
    cache: Path
    jobs: int
    backend: str
    part: tuple[int, int] | None
    """(i, n): this process does every n-th shard, from the i-th; i counts from 0."""
    retry_failed: str | None
    """Try failed clips again: those with this reason, all if "", none if None."""
    segment_s: float | None
    decoder: str
    spectrogram: str
    frame: str
    audio_seconds: float
    timeout_s: float
    shard_clips: int | None
    id_from: IdFrom
    root: str | Path | None
    """The folder or address that the paths in a list start from; None: the list's own folder."""
    root_map: Mapping[int, str | Path] | None
    """Root number of the manifest -> where that folder is mounted now."""
    overwrite: bool
    max_failures: str
    dry_run: bool
    scheduler: str | None
    """Address of the cluster, of backends that ask one."""

    @property
    def workers(self) -> Workers:
        """Who extracts."""
        return Workers(self.jobs, self.backend, self.scheduler)

    @property
    def list_root(self) -> str | None:
        """`root` as text."""
        return None if self.root is None else str(self.root)

    @property
    def remap(self) -> dict[int, str]:
        """`root_map` as text."""
        return {number: _whole(str(folder)) for number, folder in (self.root_map or {}).items()}


def _whole(root: str) -> str:
    """Return a root as workers need it, who may run in another folder.

    Raises:
        UsageError: an address that cannot be used.
    """
    if not (is_address(root) or is_other_address(root)):
        return str(Path(root).absolute())
    try:
        if why := why_unread(root):
            raise ValueError(why)
        return parse_address(root)
    except ValueError as error:
        raise UsageError(f"--root {without_secrets(root)}: {error}") from None


def parse_roots(texts: Sequence[str]) -> tuple[str | Path | None, dict[int, str | Path]]:
    """Parse `--root DIR` (at most one) and `--root N=DIR` (any number) into (DIR, {N: DIR}).

    Raises:
        UsageError: more than one DIR, or the same N twice.
    """
    root: str | Path | None = None
    root_map: dict[int, str | Path] = {}
    for text in texts:
        match = re.fullmatch(r"(\d{1,9})=(.+)", text, re.DOTALL)
        if match is None:
            if root is not None:
                raise UsageError(f"--root {text}: a second folder; only --root N=DIR may repeat")
            root = _place(text)
        elif int(match[1]) in root_map:
            raise UsageError(f"--root {text}: root {match[1]} is given twice")
        else:
            root_map[int(match[1])] = _place(match[2])
    return root, root_map


def _place(text: str) -> str | Path:
    """Return a path, or an address as it was written: a path would lose one of its slashes."""
    return text if is_address(text) or is_other_address(text) else Path(text)


def parse_reason(text: str | None) -> str | None:
    """Check the reason of `--retry-failed`: one of `Reason`, "" for all, None for no retry.

    Raises:
        UsageError: no such reason.
    """
    if text and text not in set(Reason):
        raise UsageError(f"--retry-failed={text}: the reasons are {', '.join(Reason)}")
    return text


def failure_limit(max_failures: str, tried: int) -> float:
    """Turn `--max-failures`, a count ("20") or a share ("5%"), into a number of clips.

    Args:
        max_failures: the limit as given.
        tried: clips this run handles, failed ones included.

    Raises:
        UsageError: neither a count nor a share of at most 100%.
    """
    match = re.fullmatch(r"(\d+)|(\d+(?:\.\d+)?)%", max_failures)
    if match is None:
        raise UsageError(f"--max-failures {max_failures}: should be a count or a share: 20, 5%")
    if match[1]:
        return float(match[1])
    if float(match[2]) > 100:
        raise UsageError(f"--max-failures {max_failures}: more than 100%")
    return float(match[2]) / 100 * tried
