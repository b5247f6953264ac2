"""Errors a user can expect, each with its exit code, and the reasons a clip can fail for."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Reason(StrEnum):
    """Why a clip failed. Closed: the cache stores these names."""

    MISSING = "missing"
    EMPTY = "empty"
    NOT_MEDIA = "not_media"
    DUPLICATE_ID = "duplicate_id"
    BAD_ID = "bad_id"
    NO_VIDEO = "no_video"
    NO_AUDIO = "no_audio"
    TOO_SHORT = "too_short"
    TOO_LARGE = "too_large"
    TRUNCATED = "truncated"
    DECODE_ERROR = "decode_error"
    TIMEOUT = "timeout"
    OOM = "oom"
    CRASHED = "crashed"
    IO_ERROR = "io_error"


TRANSIENT = frozenset({Reason.MISSING, Reason.TIMEOUT, Reason.OOM, Reason.CRASHED, Reason.IO_ERROR})
"""Reasons that may pass: such a clip is tried once more, alone, before its shard is published."""


_IN_WORDS = {
    Reason.MISSING: "there is no such file",
    Reason.EMPTY: "a file of 0 bytes",
    Reason.NOT_MEDIA: "not a media format that is read here",
    Reason.DUPLICATE_ID: "another clip has this id",
    Reason.BAD_ID: "this cannot be an id",
    Reason.NO_VIDEO: "no video stream",
    Reason.NO_AUDIO: "no audio stream",
    Reason.TOO_SHORT: "under 0.2 s",
    Reason.TOO_LARGE: "too many pixels",
    Reason.TRUNCATED: "the file ends too early",
    Reason.DECODE_ERROR: "it cannot be decoded",
    Reason.TIMEOUT: "no answer in time",
    Reason.OOM: "it takes more memory than the decoder may have",
    Reason.CRASHED: "the decoder ended",
    Reason.IO_ERROR: "the file cannot be read",
}
"""The detail of a failure of which nothing more is known."""


class ClipError(Exception):
    """One clip cannot be used. It never stops a run; it becomes a row of the shard's failures."""

    def __init__(self, reason: Reason | str, detail: str = "") -> None:
        """Keep the reason, one of `Reason`, and a detail of one line, which is never empty."""
        self.reason = Reason(reason)
        self.detail = " ".join(detail.split()) or _IN_WORDS[self.reason]
        super().__init__(f"{self.reason}: {self.detail}")

    def __reduce__(self) -> tuple[type[ClipError], tuple[str, str]]:
        """Pickle by reason and detail (the default would pass the joined message as the reason)."""
        return type(self), (str(self.reason), self.detail)


class Wrong(StrEnum):
    """What is wrong with a cache; the command lines that fix it are known to the program alone."""

    NOT_A_CACHE = "not_a_cache"
    DAMAGED = "damaged"
    NO_SOUND = "no_sound"
    NO_COLUMN = "no_column"
    NO_NEIGHBORS = "no_neighbors"
    NEEDED_BY_ALL = "needed_by_all"


@dataclass(frozen=True)
class Fault:
    """The facts of an error about a cache.

    Attributes:
        reason: What is wrong.
        path: The cache's folder, or the file in it.
        stage: The stage it is of, such as `hints/detr-r50`; empty where it is of none.
        shard: The shard's number, None where it is of none.
    """

    reason: Wrong
    path: Path
    stage: str = ""
    shard: int | None = None


class AvpipeError(Exception):
    """An expected error: one line for the user that names the file.

    Attributes:
        fault: The facts, of an error about a cache: who shows the error adds what fixes it.
    """

    exit_code = 1

    def __init__(self, message: object = "", *, fault: Fault | None = None) -> None:
        """Keep the line, and the facts of it where they are known."""
        super().__init__(message)
        self.fault = fault


class UsageError(AvpipeError):
    """Wrong options or settings."""

    exit_code = 2


class ClipsFailedError(AvpipeError):
    """Every clip of this run failed, or more than `--max-failures` allows."""

    exit_code = 3


class InputError(AvpipeError):
    """An input cannot be used, or an earlier stage has not run."""

    exit_code = 4


class CacheCorruptError(AvpipeError):
    """The cache is damaged, or was made with other parameters."""

    exit_code = 5


class MissingDependencyError(AvpipeError):
    """Weights, a program or a package are missing."""

    exit_code = 6


class CacheUnwritableError(AvpipeError):
    """The cache cannot be written or the disk is full. The same command resumes."""

    exit_code = 7


_REMEDIES = {
    errno.EMFILE: "allow more open files (`ulimit -n`)",
    errno.ENFILE: "end other programs, the system has no more files to open",
    errno.EIO: "check the disk",
    errno.ESTALE: "mount its folder again",
    errno.ENOENT: "put its folder back",
    errno.ENOTDIR: "put its folder back",
    errno.ENXIO: "move it away",
    errno.ENOMEM: "end other programs, the system has no more memory",
    errno.EAGAIN: "end other programs, the system has no more processes to give",
}


REFUSALS = frozenset(
    {
        *(errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS),
    }
)
"""What the system answers for reasons of its own: of the file they say nothing."""


def require_answer(error: Exception, path: Path) -> None:
    """Raise anew what was raised because the system refused: the file need not be damaged.

    Args:
        error: What a reader raised; libraries of C tell the system's words alone.
        path: What it read.

    Raises:
        OSError: With the number and the file.
    """
    number = getattr(error, "errno", None)
    if number is None:
        known = REFUSALS - {errno.ENOMEM}  # absurd sizes in a damaged file are told like that, too
        number = next((one for one in known if os.strerror(one) in str(error)), None)
    if number in REFUSALS:
        raise OSError(number, os.strerror(number), str(path)) from error


def remedy(error: OSError, otherwise: str) -> str:
    """Say what fixes a refusal of the system; `otherwise` for full and read-only disks."""
    return _REMEDIES.get(error.errno or 0, otherwise)


_NO_TLS = ("wrong version number", "record layer failure", "unknown protocol", "http request")
"""OpenSSL's words, which differ by version, for an answer that is no TLS."""


def words_of_tls(error: Exception) -> str:
    """Say why no encrypted connection can come about, in place of OpenSSL's own words.

    Returns:
        "" where nothing is known that would be the same the next time.
    """
    said = str(error).lower().rpartition("caused by")[2].replace("_", " ")  # not the address
    if any(words in said for words in _NO_TLS):
        return "it answers without encryption there: is it http://, or another port?"
    if "certificate" in said or "hostname" in said:
        return "its certificate is not accepted"
    return ""
