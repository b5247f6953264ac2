"""One clip that lies elsewhere becomes a file of this machine, for as long as it is decoded.

The network is asked here, in the worker; the child that decodes sees ordinary files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ...cache.addresses import archive_in, host_of, is_address, is_elsewhere
from ...drafts import no_temporary, temporary_folder
from ...errors import AvpipeError, ClipError, Reason
from .fetch import fetch, fetch_member
from .reach import (
    AbsentError,
    BrokenError,
    DeniedError,
    PassingError,
    Version,
    denied,
    in_words,
    patiently,
    place_of,
    unreachable,
)

_MOST_SUFFIX = 8


@contextmanager
def staged(line: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield what the decoder is asked with the paths of files of this machine.

    Args:
        line: As for `DecoderChild.row`; `path` and `audio_path` may be addresses, or lead into
            tars. `bytes`, `etag` and `offset` are what planning saw there.

    Raises:
        ClipError: The clip is not there or cannot be fetched, and its host is not to blame.
        InputError: Its host does not answer, or wants credentials: no clip's fault.
        MissingDependencyError: A package is missing.
        CacheUnwritableError: The temporary folder is full.
    """
    elsewhere = [key for key in ("path", "audio_path") if is_elsewhere(line.get(key) or "")]
    if not elsewhere:
        yield line
        return
    if line.get("reject") and line.get("bytes"):  # nothing that comes could change that
        raise ClipError(line["reject"], line.get("detail", ""))
    with temporary_folder() as folder:
        found = {**line, "folder": str(folder)}
        absent = []
        for key in elsewhere:
            target = folder / f"{key}{_suffix(line[key])}"
            try:
                _stage(line, key, target)
            except AbsentError:
                absent.append(key)
            found[key] = str(target)
        if absent:
            raise ClipError(Reason.MISSING, _said_missing(line, absent))
        yield found


@contextmanager
def staged_file(path: str) -> Iterator[str]:
    """Yield one file as one of this machine.

    Raises:
        Errors as `staged`.
    """
    with staged({"path": path}) as found:
        yield found["path"]


def require_there(address: str) -> None:
    """Check that an object can be read, by its first byte.

    Raises:
        AvpipeError: As `staged`, and InputError where it is not there.
    """
    path = (archive_in(address) or (address,))[0]

    def first_byte() -> None:
        with place_of(path).read(path, 0, 1) as part:
            next(part.chunks, None)

    if not is_address(path):
        return
    with in_words(path):
        patiently(first_byte)


def is_gone(address: str) -> bool:
    """Whether nothing lies below the address of a root any more, as far as its host can tell.

    Raises:
        InputError: The host does not answer.
    """
    with in_words(address):
        try:
            return patiently(lambda: place_of(address).is_gone(address))
        except (AbsentError, BrokenError):
            return True


def _suffix(path: str) -> str:
    """Return a name's suffix: FFmpeg guesses by it, and the guess is to be that of a local file."""
    suffix = os.path.splitext(path)[1]  # noqa: PTH122
    return suffix if suffix[1:].isalnum() and len(suffix) <= _MOST_SUFFIX else ""


def _said_missing(line: Mapping[str, Any], absent: list[str]) -> str:
    """Say which files are missing, and which is not, in the words of a local clip."""

    def name(key: str) -> str:
        folder = str(line.get("folder") or "").rstrip("/")
        path = str(line[key])
        return path.removeprefix(f"{folder}/") if folder else path.rpartition("/")[2]

    detail = f"there is no {' and no '.join(map(name, absent))}"
    if absent[0] == "path" and not line.get("reject"):
        detail = line.get("detail") or detail
    there = [name(key) for key in ("path", "audio_path") if line.get(key) and key not in absent]
    return "; ".join([detail, *(f"{one} is there" for one in there)])


def _stage(line: Mapping[str, Any], key: str, target: Path) -> None:
    """Fetch one file of a clip.

    Raises:
        AbsentError: It is not there. Else as `staged`.
    """
    path: str = line[key]
    is_planned = key == "path" and bool(line.get("bytes") or line.get("etag"))
    seen = Version(line.get("bytes") or 0, line.get("etag")) if is_planned else Version(0)
    inside = archive_in(path)
    whole = inside[0] if inside else path
    try:
        with target.open("xb") as file:
            if inside is None:
                fetch(path, file, wanted=seen)
            else:
                fetch_member(*inside, file, seen, line.get("offset") if is_planned else None)
    except ClipError as error:
        if error.reason == Reason.MISSING:
            raise AbsentError from None
        raise
    except BrokenError as error:
        raise ClipError(Reason.IO_ERROR, str(error)) from None
    except DeniedError as error:
        if is_planned and not _can_be_seen(whole):  # the credentials are missing now, or have ended
            raise denied(whole, error) from None
        raise ClipError(Reason.IO_ERROR, f"access is denied ({error})") from None
    except PassingError as error:
        # which of the two is to blame, the clip or its host?
        if error.is_busy or not _is_there(whole):
            raise unreachable(whole, error) from None
        raise ClipError(Reason.TIMEOUT if error.is_slow else Reason.IO_ERROR, str(error)) from None
    except OSError as error:
        raise no_temporary(target.parent.parent, error) from error


def _can_be_seen(address: str) -> bool:
    """Whether a host still tells of an object whose content it denies: that one alone is denied."""
    try:
        place_of(address).look(address)
    except (AbsentError, BrokenError, DeniedError, PassingError, AvpipeError):
        return False
    return True


def _is_there(address: str) -> bool:
    with suppress(AvpipeError):
        return place_of(address).is_there(host_of(address))
    return False
