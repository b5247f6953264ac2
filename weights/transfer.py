"""One try of a download through pooch, and what its errors mean."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

from ..errors import words_of_tls

TIMEOUT_S = 30
BEYOND_THE_END = 416
_LONGEST_WAIT_S = 60
BLOCK = 1 << 16
_MAY_PASS = {408, 425, 429, 500, 502, 503, 504, BEYOND_THE_END}


class DownloadError(Exception):
    """A file did not come; says why."""


def transfer(url: str, fd: int, tell: Callable[[int, int], None]) -> None:
    """Add to a file what it lacks; or all of it, where the server does not send parts.

    Args:
        url: Where from.
        fd: The file, open to append.
        tell: Called with the bytes present and wanted (0: not known).

    Raises:
        OSError: The connection, the server's answer or the disk; see `may_pass`.
        DownloadError: Something else came.
    """
    import pooch

    headers = {"Accept-Encoding": "identity"}  # so that lengths are those of the file
    if begun := os.fstat(fd).st_size:
        headers["Range"] = f"bytes={begun}-"
    growing = _Growing(fd, tell)
    fetcher = pooch.HTTPDownloader(
        chunk_size=BLOCK, headers=headers, hooks={"response": growing.begin}, timeout=TIMEOUT_S
    )
    try:
        fetcher(url, growing, None)
    finally:
        if growing.response is not None:
            growing.response.close()
    present = os.fstat(fd).st_size
    if growing.wanted and present != growing.wanted:
        raise ConnectionError(f"{present} of {growing.wanted} bytes came")


class _Growing:
    """The file, as pooch's downloader writes to it and as the server's answer sets it up."""

    def __init__(self, fd: int, tell: Callable[[int, int], None]) -> None:
        self.fd, self.tell, self.wanted = fd, tell, 0
        self.response: Any = None

    def begin(self, response: Any, **_: object) -> None:
        """Make room for an answer; is called for redirections and errors too."""
        self.response = response
        if response.status_code not in (200, 206):
            return
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise DownloadError("a web page came instead")
        if response.status_code == 200:  # the whole file, whatever part was asked for
            os.ftruncate(self.fd, 0)
        if length := int(response.headers.get("Content-Length", 0)):
            self.wanted = os.fstat(self.fd).st_size + length
        self.flush()

    def write(self, block: bytes) -> None:
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(self.fd, rest) :]

    def flush(self) -> None:
        self.tell(os.fstat(self.fd).st_size, self.wanted)


def may_pass(error: OSError) -> bool:
    """Whether it is the connection or the server's mood, not an answer or this machine's disk.

    A host whose name nobody knows is not asked for again: there is no network. Nor is one that is
    not what its address says.
    """
    if _is_of_no_host(error) or _why_no_tls(error):
        return False
    answer = status(error)
    return error.errno is None if answer is None else answer in _MAY_PASS


def _is_of_no_host(error: OSError) -> bool:
    from urllib3.exceptions import NameResolutionError

    cause = error.args[0] if error.args else None
    return isinstance(getattr(cause, "reason", None), NameResolutionError)


def _why_no_tls(error: OSError) -> str:
    from requests.exceptions import SSLError

    return words_of_tls(error) if isinstance(error, SSLError) else ""


def status(error: OSError) -> int | None:
    """Return the HTTP status of an error of requests, if the server did answer."""
    response = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


def asked_wait_s(error: OSError) -> float:
    """Return the seconds to wait that the server asked for, up to a minute, or 0."""
    response = getattr(error, "response", None)
    asked = "" if response is None else response.headers.get("Retry-After", "")
    return min(float(asked), _LONGEST_WAIT_S) if asked.isdigit() else 0.0


def reason(error: OSError) -> str:
    """Say why in a few words; the errors of requests wrap what happened in several layers."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP {response.status_code} {response.reason}"
    if _is_of_no_host(error):
        return "no network, or no such host"
    if why := _why_no_tls(error):
        return why
    cause = error.args[0] if error.args else error
    text = error.strerror or str(getattr(cause, "reason", cause))
    text = re.sub(r"^\w+\(host=[^)]*\): ", "", text)  # the address is told beside it
    return " ".join(text.split())[:160]
