"""Files under a temporary name until they are whole; what killed processes left is removed.

A draft lies beside the file it becomes, as `.NAME.HOST.PID.START.RANDOM`: its name tells who writes
it, and so the next run can tell one that is being written from one that nobody will finish. START
is when the process began, in ticks of the host's clock: numbers of processes are given out again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from .errors import CacheUnwritableError, InputError, remedy

_FOR_A_CACHE = "make the cache writable or free some space"
_FOR_A_FILE = "make its folder writable or free some space"
_NAME_CHARS = 40
"""Of a result's name in its draft's: a name has 255 bytes at most."""
NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP})
"""What a file system without locks answers to who wants one."""
_named: set[Path] = set()
"""Folders whose names this process has synced."""
_swept: set[int] = set()
"""Processes that have swept what others left among the temporary files: this one, or none."""


@contextmanager
def temporary(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` that tells who writes it; remove it afterwards.

    Everything that writes into a cache does so in here.

    Raises:
        CacheUnwritableError: For any `OSError` of the writes: a full disk, a read-only folder.
    """
    try:
        with _draft(path) as draft:
            yield draft
    except OSError as error:
        raise CacheUnwritableError(
            f"{path}: {_reason(error)}; nothing is lost: {remedy(error, _FOR_A_CACHE)}, then run "
            "the same command again"
        ) from error


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a draft to write; once it is on disk it takes the file's place, as the block ends.

    Raises:
        CacheUnwritableError: If the disk is full or cannot be written.
    """
    try:
        with _draft(path.with_name(path.name[:_NAME_CHARS])) as draft:
            yield draft
            sync_file(draft)
            draft.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is complete whenever it exists.

    Raises:
        CacheUnwritableError: If the disk is full or cannot be written.
    """
    with whole(path) as draft:
        draft.write_bytes(content)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a folder to fill, which takes its place at the end of the `with` block.

    Raises:
        CacheUnwritableError: If the disk is full or cannot be written.
    """
    try:
        with _draft(path.with_name(path.name[:_NAME_CHARS]), is_folder=True) as draft:
            yield draft
            sync_folder(draft)
            draft.rename(path)
    except OSError as error:
        raise unwritable(path, error) from error


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Give a folder that is gone afterwards; of a killed process `remove_orphans` removes it."""
    draft = parent / f".scratch.{_owner()}"
    try:
        draft.mkdir()
        with _locked(draft, os.O_RDONLY):
            yield draft
    finally:
        with suppress(OSError):
            _remove(draft)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give a folder among the system's temporary files that is gone afterwards.

    Of a killed process the next one of this host that wants one removes it.

    Raises:
        InputError: The folder that these lie in is another user's.
        CacheUnwritableError: The disk is full or cannot be written.
    """
    parent = temporary_parent()
    try:
        parent.mkdir(mode=0o700, exist_ok=True)
        if parent.stat().st_uid != os.getuid():
            raise InputError(f"{parent} is another user's: name another folder with TMPDIR")
        if os.getpid() not in _swept:
            sweep_temporary()
            _swept.add(os.getpid())
    except OSError as error:
        raise no_temporary(parent, error) from error
    with scratch_folder(parent) as folder:
        yield folder


def temporary_parent() -> Path:
    """Return what `temporary_folder` gives folders in."""
    return Path(tempfile.gettempdir(), f"avpipe-staged-{os.getuid()}")


def sweep_temporary() -> None:
    """Remove the temporary folders of killed processes of this host."""
    remove_orphans(temporary_parent())


def no_temporary(folder: Path, error: OSError) -> CacheUnwritableError:
    """Return what to raise where there is no room for temporary files."""
    return CacheUnwritableError(
        f"{folder}: {error.strerror}; free some space or name another folder with TMPDIR, then run "
        "the same command again"
    )


def unwritable(path: Path, error: OSError) -> CacheUnwritableError:
    """Return what to raise where a file cannot be written."""
    return CacheUnwritableError(
        f"{path}: {_reason(error)}; {remedy(error, _FOR_A_FILE)}, then run the same command again"
    )


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_file(path: Path) -> None:
    """Wait until a file that others have written is on disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, so that their names are durable.

    What is durable in a folder is lost with the folder's own name. Each name is synced before
    anything is made below it; so a process that was killed left one at most that is not, and the
    next one syncs the name that it finds.
    """
    folder = folder.absolute()
    if not folder.is_dir():
        if not folder.parent.is_file():  # that is said of the folder wanted
            make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
    elif folder in _named or folder.is_mount():
        return
    with suppress(PermissionError):  # a folder that may be written, not listed
        sync_folder(folder.parent)
    _named.add(folder)


def remove_folder(path: Path) -> None:
    """Remove a folder that is whole or not there: its name goes first, then what is in it.

    What a process that is killed leaves of it is an orphan, like a draft.

    Raises:
        OSError: It cannot be removed.
    """
    leaving = path.with_name(f".{path.name}.{_owner()}")
    path.rename(leaving)
    sync_folder(path.parent)
    shutil.rmtree(leaving)


def remove_orphans(folder: Path) -> None:
    """Remove the drafts in a folder whose writer is gone; one that cannot be removed stays.

    A writer is gone if it was a process of this host that no longer runs, even where another has
    its number now, and nobody holds its lock (in a container the same host name and number may be
    another process).
    """
    with suppress(OSError):
        for path in list(folder.iterdir()):
            writer = _writer_here(path.name)
            if writer is not None and not _is_alive(*writer):
                with suppress(OSError):
                    _remove_unheld(path)


@contextmanager
def _draft(path: Path, *, is_folder: bool = False) -> Iterator[Path]:
    """Make a draft of `path`, hold its lock, sync the folder, and remove what is left of it."""
    draft = path.with_name(f".{path.name}.{_owner()}")
    try:
        make_folder(path.parent)
        if is_folder:
            draft.mkdir()
        with _locked(draft, os.O_RDONLY if is_folder else os.O_CREAT | os.O_EXCL | os.O_RDWR):
            yield draft
        sync_folder(path.parent)
    finally:
        with suppress(OSError):
            _remove(draft)


@contextmanager
def _locked(draft: Path, flags: int) -> Iterator[None]:
    """Open a draft and hold a lock on it that ends with this process at the latest."""
    fd = os.open(draft, flags, 0o666)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _owner() -> str:
    pid = os.getpid()
    begun = _begun(pid)
    who = f"{pid}" if begun is None else f"{pid}.{begun}"
    return f"{socket.gethostname()}.{who}.{secrets.token_hex(4)}"


def _writer_here(name: str) -> tuple[int, int | None] | None:
    """Return the process of this host that a draft's name names; None of all other names.

    Names by older versions, and on systems without /proc, do not say when it began.
    """
    host = re.escape(socket.gethostname())
    found = re.fullmatch(rf"\..*\.{host}\.(\d+)(?:\.(\d+))?\.[0-9a-f]{{8}}", name, re.DOTALL)
    return (int(found[1]), int(found[2]) if found[2] else None) if found else None


def _remove_unheld(draft: Path) -> None:
    fd = os.open(draft, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(draft)
    finally:
        os.close(fd)


def _remove(draft: Path) -> None:
    if draft.is_dir():
        shutil.rmtree(draft)
    else:
        draft.unlink(missing_ok=True)


def _is_alive(pid: int, begun: int | None) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # no process has so large a number
        return False
    except OSError:
        pass  # another user's process
    told = _told_of(pid)
    if told is None:
        return True
    state, its_begin = told
    # Z: killed, and its new parent has not yet taken notice
    return state != "Z" and begun in (None, its_begin)


@lru_cache(1)
def _begun(pid: int) -> int | None:
    """Return when this process began; a fork has another number, and is asked for anew."""
    told = _told_of(pid)
    return told[1] if told else None


def _told_of(pid: int) -> tuple[str, int] | None:
    """Return a process's state, and when it began in ticks since the host was booted.

    Fields 3 and 22 of /proc/PID/stat (proc(5)); None where there is no such file.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0], int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


def _reason(error: OSError) -> str:
    if error.errno is None:
        return str(error)
    return error.strerror or os.strerror(error.errno or errno.EIO)
