"""The folder of pretrained files: what is there, whether it is what it should be, and fetching."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..drafts import remove_orphans
from ..errors import MissingDependencyError, UsageError
from .download import download
from .hashes import DamagedRecordError, file_hash, record_of, recorded
from .transfer import DownloadError


@dataclass(frozen=True)
class WeightFile:
    """A file that a network needs.

    Attributes:
        name: Where it lies below the weights folder.
        url: Where it comes from.
        known_hash: `md5:...` or `sha256:...` as its authors published it, or how it begins; else
            None: then the sha256 of the first file that a network was built from is recorded and
            compared from then on.
    """

    name: str
    url: str
    known_hash: str | None = None


@dataclass(frozen=True)
class StoredFile:
    """A file of the weights folder, looked at.

    Attributes:
        path: Where it is or would be.
        num_bytes: Its size, or None if it is not there.
        expected: Its hash, published or recorded, or None where none is known yet.
        actual: Its hash of that kind (sha256 where none is known), or None if it is not there.
        record_is_damaged: Whether what was recorded of it cannot be read.
    """

    path: Path
    num_bytes: int | None
    expected: str | None
    actual: str | None
    record_is_damaged: bool = False

    @property
    def state(self) -> str:
        """`missing`, `agrees`, `differs`, or `present` where there is no hash to compare with.

        A file whose record is damaged is `unknown`: nothing says whether it is the one used before.
        """
        if self.actual is None:
            return "missing"
        if self.record_is_damaged:
            return "unknown"
        if self.expected is None:
            return "present"
        return "agrees" if self.actual.startswith(self.expected) else "differs"


def weights_dir() -> Path:
    """Return the folder of pretrained files: AVPIPE_WEIGHTS_DIR, else one in the user's cache.

    Raises:
        UsageError: It is a file.
    """
    if folder := os.environ.get("AVPIPE_WEIGHTS_DIR"):
        path = Path(folder).expanduser()
        if path.is_file():
            raise UsageError(f"AVPIPE_WEIGHTS_DIR is {path}, a file; it names a folder")
        return path
    import platformdirs

    return Path(platformdirs.user_cache_dir("avpipe")) / "weights"


def look(file: WeightFile) -> StoredFile:
    """Look at a file of the weights folder and hash it; nothing is fetched or written."""
    path, is_damaged = weights_dir() / file.name, False
    try:
        expected = file.known_hash or recorded(path)
    except DamagedRecordError:
        expected, is_damaged = None, True
    if not path.is_file():
        return StoredFile(path, None, expected, None, is_damaged)
    kind = (expected or "sha256").partition(":")[0]
    actual = f"{kind}:{file_hash(path, kind)}"
    return StoredFile(path, path.stat().st_size, expected, actual, is_damaged)


def fetch(network: str, file: WeightFile) -> Path:
    """Return a file of the weights folder, downloaded if need be, and checked.

    Where it is there, nothing is asked of the network.

    Args:
        network: Who needs it, for messages.
        file: What it needs.

    Raises:
        MissingDependencyError: It cannot be fetched, or is not the one we know.
        CacheUnwritableError: The disk is full, or the folder cannot be written.
        UsageError: AVPIPE_WEIGHTS_DIR names a file.
    """
    found = look(file)
    if found.record_is_damaged:  # told before a download that would have to be trusted
        raise missing(network, file, found.path, difference(found))
    remove_orphans(found.path.parent)
    if found.state == "missing":
        try:
            download(file.url, found.path, found.expected)
        except DownloadError as error:
            why = f"could not be fetched ({error})"
            raise missing(network, file, found.path, why) from error
        found = look(file)
    if found.state == "differs":
        raise missing(network, file, found.path, difference(found))
    return found.path


def difference(found: StoredFile) -> str:
    """Say how a file differs from what it should be, and what mends it."""
    if found.record_is_damaged:
        name = record_of(found.path).name
        if found.actual is None:
            return f"is not there, and its record {name} is damaged; remove {name}"
        return (
            f"has a damaged record, {name}; remove {name} if the file is right, or both to have it "
            "fetched again"
        )
    text = f"is another file than {found.expected}; remove it to have it fetched again"
    if record_of(found.path).exists():
        text += f", or remove {record_of(found.path).name} if this one is right"
    return text


@dataclass(frozen=True)
class Lack:
    """A file that cannot be used.

    Attributes:
        network: Who needs it.
        path: Where it is or should be.
        why: What is wrong, said of the file.
        advice: Where it comes from and where it belongs.
    """

    network: str
    path: Path
    why: str
    advice: str


class MissingFilesError(MissingDependencyError):
    """Pretrained files cannot be used: one with all that mends it, several by reason."""

    def __init__(self, lacks: Sequence[Lack]) -> None:
        """Keep what is lacking."""
        self.lacks = tuple(lacks)
        super().__init__(self.lacks)

    def __str__(self) -> str:
        """Say it in one line."""
        if len(self.lacks) == 1:
            (one,) = self.lacks
            told = f"{one.network}: {one.path} {one.why}; {one.advice}"
        else:
            told = "; ".join([*by_reason(self.lacks), repair(self.lacks)])
            told += ", or give --weights NAME=FILE for each"
        return f"{told} (--weights random is for tests and demos)"


def by_reason(lacks: Sequence[Lack]) -> list[str]:
    """Say of several files what is wrong, each reason once."""
    files: dict[str, list[str]] = {}
    for one in lacks:
        within = one.path.is_relative_to(weights_dir())
        name = one.path.relative_to(weights_dir()) if within else one.path
        files.setdefault(one.why, []).append(str(name))
    return [
        f"{names[0]} {why}" if len(names) == 1 else f"{why.removeprefix('is ')}: {', '.join(names)}"
        for why, names in files.items()
    ]


def repair(lacks: Sequence[Lack]) -> str:
    """Say which commands mend what several files lack."""
    networks = " ".join(dict.fromkeys(one.network for one in lacks))
    return (
        f"`avpipe weights fetch {networks}` gets them where there is a network, "
        "`avpipe weights list` says where from and where to"
    )


def missing(network: str, file: WeightFile, path: Path, why: str) -> MissingFilesError:
    """Build the error of one file that cannot be used: which, where from, where to."""
    known = file.known_hash or "hash not known, recorded at first use"
    then = "put it there or give" if path.is_relative_to(weights_dir()) else "and give"
    advice = f"get it from {file.url} ({known}), {then} --weights {network}=PATH"
    return MissingFilesError([Lack(network, path, why, advice)])
