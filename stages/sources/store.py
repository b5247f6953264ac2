"""Object stores, by fsspec: `s3://`, `gs://`, `hf://`, and `memory://` of this process."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import fsspec

from ...cache.addresses import host_of
from .reach import AbsentError, BrokenError, DeniedError, Fetched, PassingError, Version

_CHUNK = 8 << 20
_ETAGS = (
    *("ETag", "etag", "md5Hash", "blob_id", "generation"),
    *("LastModified", "last_modified", "updated", "mtime", "created"),
)
"""Where stores say what tells one content from the next, the best first."""
_CREDENTIALS = ("credential", "anonymous", "forbidden", "unauthorized", "access denied", "gated")
_WORDS = {"OfflineModeIsEnabled": "HF_HUB_OFFLINE is set"}
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub"}


def open_store(scheme: str) -> Store:
    """Return a store.

    Raises:
        ImportError: A package is missing; its `name` is the one to install.
    """
    try:
        return Store(fsspec.get_filesystem_class(scheme), scheme)
    except ImportError as error:
        raise ImportError(str(error), name=_PACKAGES.get(scheme, scheme)) from error


class Store:
    """One kind of store."""

    def __init__(self, kind: Any, scheme: str) -> None:
        """Remember its class; it is opened when it is first asked."""
        self._kind, self._scheme = kind, scheme
        self._opened: Any = None

    @property
    def _files(self) -> Any:
        if self._opened is None:
            # a listing that was kept would hide what has changed
            self._opened = self._kind(use_listings_cache=False)
        return self._opened

    def look(self, address: str) -> Version:
        """Ask what is known of an object."""
        with _told():
            return _version(self._files.info(address))

    @contextmanager
    def read(self, address: str, start: int, stop: int | None) -> Iterator[Fetched]:
        """Fetch an object from byte `start` on, some megabytes at a time."""
        version = self.look(address)
        end = version.bytes if stop is None else min(stop, version.bytes)
        yield Fetched(version, self._chunks(address, start, end))

    def names(self, address: str) -> Iterator[tuple[str, Version | None]]:
        """Yield all objects below an address."""
        with _told():
            found = self._files.find(address, detail=True)
        prefix = self._files._strip_protocol(address).rstrip("/") + "/"
        for path, known in found.items():
            inside = path.removeprefix(prefix)
            if inside and inside != path and not _is_hidden(inside):
                yield inside, _version(known)

    def is_there(self, address: str) -> bool:
        """Whether the store answers."""
        try:
            with _told():
                next(iter(self._files.ls(host_of(address), detail=False)), None)
        except PassingError:
            return False
        except (AbsentError, DeniedError, BrokenError):
            return True
        return True

    def _chunks(self, address: str, start: int, end: int) -> Iterator[bytes]:
        for at in itertools.count(start, _CHUNK):
            if at >= end:
                return
            with _told():
                chunk = self._files.cat_file(address, start=at, end=min(at + _CHUNK, end))
            if len(chunk) != min(at + _CHUNK, end) - at:
                raise PassingError("the connection ended too early")
            yield chunk

    def is_gone(self, address: str) -> bool:
        """Whether there is no object below an address, nor the bucket."""
        with _told():
            return not self._files.exists(address)


def _version(known: Mapping[str, Any]) -> Version:
    if known.get("type") == "directory":
        raise AbsentError
    etag = next((known[name] for name in _ETAGS if known.get(name)), None)
    if isinstance(etag, datetime):  # listings may tell the same time as a number
        etag = etag.timestamp()
    return Version(int(known.get("size") or 0), None if etag is None else str(etag))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or "/." in name


@contextmanager
def _told() -> Iterator[None]:
    """Turn what the libraries of stores raise into what may pass and what may not."""
    try:
        yield
    except (AbsentError, DeniedError, BrokenError, PassingError, KeyboardInterrupt):
        raise
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise AbsentError from error
    except Exception as error:
        name = _WORDS.get(type(error).__name__, type(error).__name__)
        said = f"{name} {error}".lower()
        if isinstance(error, PermissionError) or any(word in said for word in _CREDENTIALS):
            raise DeniedError(name) from error
        if isinstance(error, ValueError | TypeError | NotImplementedError):
            raise BrokenError(name) from error
        raise PassingError(name, is_slow=isinstance(error, TimeoutError)) from error
