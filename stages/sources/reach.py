"""What can be asked of a place that is reached by address, and what can go wrong there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from importlib import import_module
from typing import NamedTuple, Protocol, TypeVar, cast

from ...cache.addresses import WEB, host_of, scheme_of
from ...errors import InputError, MissingDependencyError

T = TypeVar("T")

TRIES = 4
"""How often a request is made that goes wrong in a way that may pass, without a byte gained."""
FIRST_WAIT_S = 1.0
"""Before the second try; it doubles from try to try."""
LONGEST_WAIT_S = 120.0
"""More than that is not waited for, whatever a server asks for."""


class Version(NamedTuple):
    """What tells one content of an object from the next.

    Attributes:
        bytes: Its size, 0 where the server does not say.
        etag: What the server calls this content; else when it was changed; None: it does not say.
    """

    bytes: int
    etag: str | None = None


class Fetched(NamedTuple):
    """An answer with the bytes of an object from some byte on.

    Attributes:
        version: Of the whole object.
        chunks: The bytes.
    """

    version: Version
    chunks: Iterator[bytes]


class Place(Protocol):
    """A kind of place: web servers, or one of the object stores."""

    def look(self, address: str) -> Version:
        """Ask for an object without fetching it."""

    def read(self, address: str, start: int, stop: int | None) -> AbstractContextManager[Fetched]:
        """Fetch an object from byte `start` on, up to `stop` if it is given."""

    def names(self, address: str) -> Iterator[tuple[str, Version | None]]:
        """Yield the names of all objects below an address, and what is known of them."""

    def is_there(self, address: str) -> bool:
        """Whether the host of an address answers."""

    def is_gone(self, address: str) -> bool:
        """Whether nothing lies below an address any more, as far as its host can tell."""


class AbsentError(Exception):
    """There is no such object."""


class DeniedError(Exception):
    """Credentials are missing, or do not allow it."""


class BrokenError(Exception):
    """The host answers, and not with the object; trying again is of no use."""


class PassingError(Exception):
    """What may pass: a host that is not reached, is busy, or ends the connection.

    Attributes:
        wait_s: What the host asks to wait, 0 if it does not.
        is_slow: Whether no byte came in time.
        is_busy: Whether the host says that it has too much to do, whatever is asked for.
    """

    def __init__(
        self, why: str, *, wait_s: float = 0.0, is_slow: bool = False, is_busy: bool = False
    ) -> None:
        """Keep why, in words without any address."""
        super().__init__(why)
        self.wait_s, self.is_slow, self.is_busy = wait_s, is_slow, is_busy


def place_of(address: str) -> Place:
    """Return what reaches an address.

    Raises:
        MissingDependencyError: A package for it is missing.
    """
    return _place("web" if scheme_of(address) in WEB else scheme_of(address), host_of(address))


@lru_cache(64)
def _place(kind: str, host: str) -> Place:
    try:
        if kind == "web":
            return cast("Place", import_module(".web", __package__))
        return cast("Place", import_module(".store", __package__).open_store(kind))
    except ImportError as error:
        name = error.name or str(error)
        raise missing_package(host, name) from error


def missing_package(host: str, name: str) -> MissingDependencyError:
    """Return what to raise where a package is missing that reaches a host."""
    return MissingDependencyError(f"{host} needs the package {name}: `pip install {name}`")


def patiently(ask: Callable[[], T], gained: Callable[[], int] = lambda: 0) -> T:
    """Ask until it does not go wrong any more; what gains bytes is asked for without an end.

    Raises:
        PassingError: It went wrong `TRIES` times without a byte gained between.
    """
    tries, before = 0, gained()
    while True:
        try:
            return ask()
        except PassingError as error:
            tries = 1 if gained() > before else tries + 1
            before = gained()
            if tries >= TRIES:
                raise
            wait(min(LONGEST_WAIT_S, max(error.wait_s, FIRST_WAIT_S * 2 ** (tries - 1))))


def wait(seconds: float) -> None:
    """Wait; tests do not."""
    time.sleep(seconds)


@contextmanager
def in_words(address: str, called: str = "", absent: str = "no such file") -> Iterator[None]:
    """Turn what goes wrong at a place into what stops a run.

    Args:
        address: What is asked for.
        called: Its name in messages; "" for the address.
        absent: What is said where there is no such object.

    Raises:
        InputError: Something goes wrong in the `with` block.
    """
    try:
        yield
    except AbsentError:
        raise InputError(f"{called or address}: {absent}") from None
    except BrokenError as error:
        raise InputError(f"{called or address}: {error}") from None
    except DeniedError as error:
        raise denied(address, error) from None
    except PassingError as error:
        raise unreachable(address, error) from None


def denied(address: str, error: DeniedError) -> InputError:
    """Return what to raise where credentials are missing."""
    return InputError(
        f"{host_of(address)} denies access ({error}): give this machine credentials for it "
        f"({_WHERE[scheme_of(address)]}), then run the same command again"
    )


def unreachable(address: str, error: PassingError) -> InputError:
    """Return what to raise where a host does not answer any more."""
    return InputError(
        f"{host_of(address)} does not answer ({error}): is the network up? Nothing is lost, run "
        "the same command again"
    )


_WHERE = {
    "https": "~/.netrc",
    "http": "~/.netrc",
    "s3": "~/.aws/credentials, AWS_PROFILE; FSSPEC_S3_ANON=true for a public bucket",
    "gs": "`gcloud auth application-default login`; FSSPEC_GS_TOKEN=anon for a public bucket",
    "hf": "`hf auth login`",
    "memory": "it needs none",
}
