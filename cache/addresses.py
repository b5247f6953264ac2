"""Where a clip may lie besides a folder: at an address, or inside an uncompressed tar.

Inside the program an address is `SCHEME://HOST/NAME` with every name as it is, nothing escaped:
what is joined, cut and compared are the names, as of local files. Only who asks a web server
escapes them.
"""

from __future__ import annotations

import os
import posixpath
import re
from urllib.parse import unquote, urlsplit

WEB = ("https", "http")
SCHEMES = (*WEB, "s3", "gs", "hf", "memory")
ARCHIVE = ".tar"

_ADDRESS = re.compile(rf"({'|'.join(SCHEMES)}):/+(?=[^/])", re.IGNORECASE)
"""`pathlib` makes one slash of two, so an address that was a path for a while has one."""
_ANY = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/+)(?=[^/])")
_INSIDE = f"{ARCHIVE}/"


def is_address(name: str) -> bool:
    """Whether a name is an address of a scheme that is read."""
    return ":/" in name and _ADDRESS.match(name) is not None


def is_other_address(name: str) -> bool:
    """Whether a name looks like an address, but is of a scheme that is not read."""
    return ":/" in name and _ANY.match(name) is not None and not is_address(name)


def why_unread(text: str) -> str:
    """Say in words why a text that looks like an address is none that is read; "" if it is one.

    Args:
        text: As somebody wrote it: a path made of it would have lost a slash.
    """
    found = _ANY.match(text)
    if found is None:
        return ""
    scheme, slashes, rest = found[1].lower(), found[2], text[found.end() :]
    if scheme == "file":
        host = slashes == "//" and rest.partition("/")[0]
        path = rest.removeprefix(str(host)) if host in ("localhost", "127.0.0.1") else f"/{rest}"
        return f"files of this machine are named by their paths: {path}"
    if scheme not in SCHEMES:
        kinds = ", ".join(f"{one}://" for one in SCHEMES[:-1])
        return f"addresses of this kind are not read: {kinds} are"
    if slashes != "//":
        whole = without_secrets(f"{scheme}://{rest}")
        return f"an address has two slashes behind its scheme: {whole}"
    return ""


def scheme_of(address: str) -> str:
    """Return the scheme of an address, in lower case."""
    return address[: address.index(":")].lower()


def host_of(address: str) -> str:
    """Return what messages call the other side: the scheme and the host or bucket."""
    found = _ADDRESS.match(address)
    if found is None:
        return address
    host = address[found.end() :].partition("/")[0]
    return f"{found[1].lower()}://{re.split('[?#]', host.rpartition('@')[2])[0]}"


def without_secrets(text: str) -> str:
    """Return an address without what may be secret: user, password, query and fragment.

    Names in stores may hold `?`, `#` and `@`: they have no such parts.
    """
    found = _ANY.match(text)
    if found is None or found[1].lower() in set(SCHEMES).difference(WEB):
        return text
    host, slash, path = text[found.end() :].partition("/")
    user, _, name = host.rpartition("@")
    if found[1].lower() in WEB or ":" in user:  # abfs://box@account has no password
        host = name
    bare = re.split("[?#]", f"{host}{slash}{path}", maxsplit=1)
    return f"{found[1].lower()}:{found[2]}{bare[0]}{'?...' if len(bare) > 1 else ''}"


def parse_address(text: str) -> str:
    """Return an address that somebody wrote as the program keeps it.

    Raises:
        ValueError: It holds what must not be kept (a password, a query), or cannot be read.
    """
    found = _ADDRESS.match(text)
    if found is None:
        raise ValueError("no address")
    scheme, rest = found[1].lower(), text[found.end() :]
    if "\0" in rest:
        raise ValueError("the address holds a NUL")
    if scheme not in WEB:
        return f"{scheme}://{rest.rstrip('/')}"
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        host = parts.netloc.lower()
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"no address ({error})") from None
    if "@" in host:
        raise ValueError(
            "holds a user or a password, which a cache must not keep: write them into ~/.netrc"
        )
    if parts.query or parts.fragment or "?" in rest or "#" in rest:
        raise ValueError(
            "holds a query (or #), which may be secret and ends some day: a cache must not keep it"
        )
    if re.search("%2f|%00", parts.path, re.IGNORECASE):
        raise ValueError("holds %2F or %00, which no name can")
    path = posixpath.normpath(f"/{unquote(parts.path, errors='surrogateescape')}").lstrip("/")
    return f"{scheme}://{host}{'/' if path and path != '.' else ''}{path if path != '.' else ''}"


def joined(folder: str, name: str) -> str:
    """Return a name below a folder or an address; a path that is absolute as it is."""
    if is_address(name) or not is_address(folder):
        return name if is_address(name) else os.path.join(folder, name)  # noqa: PTH118
    return f"{folder.rstrip('/')}/{name}"


def address_below(root: str, name: str) -> str:
    """Return the address of a relative name; `.` and `..` in it lead as those of a path do."""
    host = host_of(root)
    inside = posixpath.normpath(f"/{root[len(host) :]}/{name}").lstrip("/")
    return f"{host}/{inside}"


def archive_in(path: str) -> tuple[str, str] | None:
    """Split a path into a tar and the name of what lies in it; None where it leads into none.

    A local folder may be called `x.tar` too.
    """
    at = path.find(_INSIDE)
    if at < 0:
        return None
    archive = path[: at + len(ARCHIVE)]
    if not is_address(path) and not os.path.isfile(archive):  # noqa: PTH113
        return None
    return archive, path[at + len(_INSIDE) :]


def is_elsewhere(path: str) -> bool:
    """Whether a path has to be fetched before it can be opened."""
    return is_address(path) or archive_in(path) is not None
