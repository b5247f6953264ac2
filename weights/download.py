"""Download one file: tried again where that may help, and there whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from time import sleep
from typing import Protocol

from ..drafts import NO_LOCKS, make_folder, sync_folder, unwritable
from ..errors import CacheUnwritableError
from .hashes import file_hash
from .transfer import (
    BEYOND_THE_END,
    DownloadError,
    asked_wait_s,
    may_pass,
    reason,
    status,
    transfer,
)

WAITS_S = (1.0, 2.0, 4.0)
"""Before another try, each time that a try brought nothing new."""

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_BROKEN = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ENOENT}
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}


class Listener(Protocol):
    """Told how far a download is."""

    def __call__(self, name: str, present: int, wanted: int, *, note: str = "") -> None:
        """Take bytes present and wanted (0: not known), or a remark."""


def _nobody(name: str, present: int, wanted: int, *, note: str = "") -> None:
    pass


_listener: ContextVar[Listener] = ContextVar("listener", default=_nobody)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell `listener` of the downloads in this block, however deep below they happen."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def download(url: str, path: Path, expected: str | None) -> None:
    """Fetch a file.

    It grows under another name beside `path`. Where a hash tells whether the pieces belong
    together, a later try or run goes on where one broke off. Of several processes one fetches and
    the others wait.

    Args:
        url: Where from.
        path: Where to; nothing else ever lies there.
        expected: `md5:...` or `sha256:...`, or how it begins, or None where it is not known.

    Raises:
        DownloadError: Not there, another file, or no luck after several tries.
        CacheUnwritableError: The disk is full, or the folder cannot be written.
    """
    draft = path.with_name(f".{path.name}.part")
    try:
        make_folder(path.parent)
        with _alone(draft) as fd:
            if path.exists():  # another process was faster
                draft.unlink(missing_ok=True)
                return
            try:
                _until_whole(url, draft, fd, expected)
                os.fsync(fd)
                draft.replace(path)
                sync_folder(path.parent)
            finally:
                if expected is None or os.fstat(fd).st_size == 0:
                    draft.unlink(missing_ok=True)
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise CacheUnwritableError(
                f"{path}: {error.strerror}; the same command resumes"
            ) from error
        if error.errno in _NOT_WRITABLE:
            raise CacheUnwritableError(
                f"{path} is not there and cannot be put there: {error.strerror}; make the folder "
                f"writable, name another by AVPIPE_WEIGHTS_DIR, or put there what {url} gives"
            ) from error
        if error.errno in _BROKEN:  # the connection's errors have no number
            raise unwritable(path, error) from error
        raise DownloadError(reason(error)) from error


@contextmanager
def _alone(draft: Path) -> Iterator[int]:
    """Hold the draft, open to append; wait while another process holds it."""
    while True:
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _tell(draft, note="another process is fetching it; waiting")
                fcntl.flock(fd, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                _tell(draft, note="no locks in its folder: let no other process fetch it meanwhile")
            if draft.exists() and os.path.samestat(os.fstat(fd), draft.stat()):
                yield fd
                return
        finally:
            os.close(fd)


def _until_whole(url: str, draft: Path, fd: int, expected: str | None) -> None:
    """Fill the draft; try again as long as that may help."""
    waits = iter(WAITS_S)
    while True:
        if expected is None:  # nothing would tell whether two pieces belong together
            os.ftruncate(fd, 0)
        begun = os.fstat(fd).st_size
        try:
            transfer(url, fd, partial(_tell, draft))
        except OSError as error:
            if not may_pass(error):
                raise
            if status(error) == BEYOND_THE_END:
                os.ftruncate(fd, 0)
            if expected is not None and os.fstat(fd).st_size > begun:
                waits = iter(WAITS_S)
            wait_s = next(waits, None)
            if wait_s is None:
                raise
            wait_s = max(wait_s, asked_wait_s(error))
            _tell(draft, note=f"{reason(error)}; trying again in {wait_s:g} s")
            sleep(wait_s)
            continue
        if expected is None or _is(draft, expected):
            return
        os.ftruncate(fd, 0)
        if begun == 0:
            raise DownloadError(f"what came is another file than {expected}")
        _tell(draft, note="the pieces do not fit together; fetching it whole")


def _is(path: Path, expected: str) -> bool:
    kind, _, value = expected.partition(":")
    return file_hash(path, kind).startswith(value)


def _tell(draft: Path, present: int = 0, wanted: int = 0, *, note: str = "") -> None:
    name = draft.name.removeprefix(".").removesuffix(".part")
    _listener.get()(name, present, wanted, note=note)
