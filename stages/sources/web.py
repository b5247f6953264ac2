"""Web servers: `https://` and `http://`."""

from __future__ import annotations

import email.utils
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from os import fsencode
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

import requests
import urllib3

from ...cache.addresses import host_of, scheme_of
from ...errors import words_of_tls
from .reach import AbsentError, BrokenError, DeniedError, Fetched, PassingError, Version

CONNECT_S = 15.0
STALL_S = 30.0
"""A connection that brings no byte for so long is ended."""
_NO_BYTE = f"no byte within {STALL_S:g} s"
_CHUNK = 1 << 20
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_BUSY = {429, 503}
_NOT_BY_HEAD = {400, 403, 405, 501}
"""What servers answer that know no HEAD; signed or guarded addresses answer 403 to it."""
_MAX_REDIRECTS = 10
_MAX_PAGE = 64 << 20
_RANGE = re.compile(r"bytes (\d{1,20})-\d+/(\d{1,20}|\*)(?!\d)")
_SIZE = re.compile(r"\d{1,20}")
_local = threading.local()


def look(address: str) -> Version:
    """Ask for the head of an object."""
    with _asked("HEAD", address) as answer:
        status = answer.status_code
        if status not in _NOT_BY_HEAD:
            _require(answer)
            return _version(answer)
    with read(address, 0, 1) as part:
        return part.version


@contextmanager
def read(address: str, start: int, stop: int | None) -> Iterator[Fetched]:
    """Fetch an object from byte `start` on; a server that sends no parts sends it from the start.

    Of such a server what comes before `start` is thrown away.
    """
    headers = {}
    if start or stop is not None:
        headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
    with _asked("GET", address, headers) as answer:
        if answer.status_code == 416 and (
            found := re.search(r"/(\d{1,20})$", _content_range(answer))
        ):
            size = int(found[1])
            if size <= start:  # nothing lies there; an empty file answers so too
                yield Fetched(Version(size, _etag(answer)), iter(()))
                return
        _require(answer)
        if answer.status_code == 200 and start and stop is not None:
            raise BrokenError("it sends no parts of files, without which no tar can be read there")
        begins = 0
        if answer.status_code == 206:
            place = _RANGE.match(_content_range(answer))
            if place is None or int(place[1]) != start:
                raise BrokenError("it sends another part than was asked for")
            begins = start
        length = None if stop is None else stop - start
        chunks = _within(_chunks(answer), start - begins, length)
        yield Fetched(_version(answer), chunks)


def names(address: str) -> Iterator[tuple[str, Version | None]]:
    """Yield the names below an address that its pages of links lead to; servers list folders so."""
    waiting, seen = [""], {""}
    while waiting:
        prefix = waiting.pop()
        folder = f"{address}/{prefix}"
        with _asked("GET", folder) as answer:
            _require(answer)
            if "html" not in answer.headers.get("Content-Type", ""):
                raise BrokenError("it lists no files: name them in a list")
            page = b"".join(_within(_chunks(answer), 0, _MAX_PAGE)).decode("utf-8", "replace")
        for name in _links(page, _url(folder)):
            path = prefix + name
            if path in seen or name.startswith("."):
                continue
            seen.add(path)
            if path.endswith("/"):
                waiting.append(path)
            else:
                yield path, None


def is_there(address: str) -> bool:
    """Whether the server answers, and not that it is out of order or has too much to do."""
    try:
        with _asked("HEAD", host_of(address)) as answer:
            return int(answer.status_code) < 500 and answer.status_code not in _BUSY
    except (PassingError, BrokenError):
        return False


def is_gone(address: str) -> bool:
    """Tell nothing: many servers list no folder."""
    return False


@contextmanager
def _asked(method: str, address: str, headers: dict[str, str] | None = None) -> Iterator[Any]:
    """Ask; what goes wrong below HTTP may pass, but for certificates and redirections."""
    # lengths and versions are to be those of the file, not of a compressed form
    asked = {"Accept-Encoding": "identity", **(headers or {})}
    try:
        with _session().request(
            method, _url(address), headers=asked, stream=True, timeout=(CONNECT_S, STALL_S),
            allow_redirects=True,
        ) as answer:  # fmt: skip
            if scheme_of(address) == "https" and not str(answer.url).startswith("https:"):
                raise BrokenError("it leads to an address without encryption")
            yield answer
    except (requests.exceptions.SSLError, requests.TooManyRedirects) as error:
        if isinstance(error, requests.TooManyRedirects) or words_of_tls(error):
            raise BrokenError(_words(error)) from None
        raise PassingError(_words(error)) from None
    except requests.Timeout as error:
        raise PassingError(_words(error), is_slow=True) from None
    except requests.RequestException as error:
        words = _words(error)
        raise PassingError(words, is_slow=words == _NO_BYTE) from None


def _session() -> Any:
    """Return this thread's connections; one for each request would take longer than the request."""
    if not hasattr(_local, "session"):
        _local.session = requests.Session()
        _local.session.max_redirects = _MAX_REDIRECTS
    return _local.session


def _url(address: str) -> str:
    scheme, _, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host}{slash}{quote(fsencode(path), safe='/~!$()*,;:@=+')}"


def _require(answer: Any) -> None:
    """Raise what an answer says that is not the object."""
    status = int(answer.status_code)
    if status in (200, 206):
        return
    if status in (404, 410):
        raise AbsentError
    if status in (401, 403, 407):
        raise DeniedError(f"HTTP {status}")
    if status in _PASSING:
        raise PassingError(f"HTTP {status}", wait_s=_asked_wait_s(answer), is_busy=status in _BUSY)
    raise BrokenError(f"HTTP {status}")


def _asked_wait_s(answer: Any) -> float:
    """Return what `Retry-After` says, in seconds from now; it is a number or a date."""
    text = str(answer.headers.get("Retry-After", "")).strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _version(answer: Any) -> Version:
    place = _RANGE.match(_content_range(answer)) if answer.status_code == 206 else None
    size = place[2] if place else answer.headers.get("Content-Length", "0")
    return Version(int(size) if _SIZE.fullmatch(size) else 0, _etag(answer))


def _etag(answer: Any) -> str | None:
    """Return what names this content; an ETag that begins with W/ names more than one."""
    etag = answer.headers.get("ETag", "")
    strong = "" if etag.startswith("W/") else etag
    return str(strong or answer.headers.get("Last-Modified", "")) or None


def _content_range(answer: Any) -> str:
    return str(answer.headers.get("Content-Range", ""))


def _chunks(answer: Any) -> Iterator[bytes]:
    """Yield what comes; a connection that ends too early may pass."""
    wanted = answer.headers.get("Content-Length", "")
    left = int(wanted) if _SIZE.fullmatch(wanted) else None
    # `iter_content` loses what came before the connection ended
    try:
        while chunk := answer.raw.read1(_CHUNK):
            left = None if left is None else left - len(chunk)
            yield chunk
    except urllib3.exceptions.HTTPError as error:
        words = _words(error)
        raise PassingError(words, is_slow=words == _NO_BYTE) from None
    if left:
        raise PassingError("the connection ended too early")


def _within(chunks: Iterator[bytes], skip: int, length: int | None) -> Iterator[bytes]:
    """Leave out what lies before a part and behind it."""
    left = length
    for chunk in chunks:
        part = chunk[skip:] if skip else chunk
        skip = max(0, skip - len(chunk))
        if left is not None:
            part = part[:left]
            left -= len(part)
        if part:
            yield part
        if left == 0:
            return


def _words(error: Exception) -> str:
    """Say what went wrong without the address, which such errors repeat."""
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {CONNECT_S:g} s"
    if isinstance(error, requests.Timeout):
        return _NO_BYTE
    if isinstance(error, requests.TooManyRedirects):
        return f"more than {_MAX_REDIRECTS} redirections"
    if isinstance(error, requests.exceptions.SSLError):
        return words_of_tls(error) or "no encrypted connection comes about"
    text = str(error)
    for part, words in _KNOWN.items():
        if part in text:
            return words
    return type(error).__name__


_KNOWN = {
    "Connection refused": "connection refused",
    "NameResolution": "nobody knows its name",
    "Name or service not known": "nobody knows its name",
    "Network is unreachable": "the network cannot be reached",
    "No route to host": "there is no way to it",
    "IncompleteRead": "the connection ended too early",
    "InvalidChunkLength": "the connection ended too early",
    "Remote end closed": "the connection ended too early",
    "BadStatusLine": "it answers with no HTTP: is it https://, or another port?",
    "Connection reset": "the connection was reset",
    "Read timed out": _NO_BYTE,
}


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]


def _links(page: str, folder: str) -> Iterator[str]:
    """Yield the names directly below a folder that its page links to, folders with their slash."""
    parser = _Anchors()
    parser.feed(page)
    for link in parser.found:
        parts = urlsplit(urljoin(folder, link))
        base = urlsplit(folder)
        inside = parts.path.removeprefix(base.path)
        if parts[:2] != base[:2] or inside == parts.path or parts.query or not inside:
            continue
        name = unquote(inside, errors="surrogateescape")
        if "/" not in name.removesuffix("/") and "%2f" not in inside.lower() and "\0" not in name:
            yield name
