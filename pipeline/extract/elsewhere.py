"""Clips at addresses and in tars: which there are, and what is known of each beforehand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

from ...cache.addresses import (
    ARCHIVE,
    SCHEMES,
    WEB,
    archive_in,
    host_of,
    is_address,
    is_other_address,
    parse_address,
    scheme_of,
    without_secrets,
)
from ...errors import InputError
from ...stages.sources import archives
from ...stages.sources.reach import (
    AbsentError,
    BrokenError,
    DeniedError,
    PassingError,
    Version,
    denied,
    patiently,
    place_of,
    unreachable,
)
from ...stages.sources.tar import leads_out
from .lists import shown

_AT_ONCE = 32
"""Requests on their way at once: of each only the head is asked for."""


class Seen(NamedTuple):
    """What is known of a file before it is fetched; see `cache.segment.Line`."""

    bytes: int
    etag: str | None = None
    offset: int | None = None


class Problems:
    """What went wrong at one host while its objects were looked for."""

    def __init__(self) -> None:
        """Begin with none."""
        self.num_found = 0
        self.first: DeniedError | BrokenError | None = None


def parsed(text: str) -> str:
    """Return an address that a user wrote.

    Raises:
        InputError: It cannot be used; secrets in it are not repeated.
    """
    name = shown(without_secrets(text))
    if is_other_address(text):
        kinds = ", ".join(f"{scheme}://" for scheme in SCHEMES[:-1])
        raise InputError(f"{name}: addresses of this kind are not read: {kinds} are")
    try:
        return parse_address(text)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None


def names_below(address: str) -> dict[str, Seen | None]:
    """Return the names below an address, and what is known of each: of web servers nothing yet.

    Raises:
        InputError: The host does not answer, wants credentials, or lists nothing there.
    """
    try:
        found = patiently(lambda: dict(place_of(address).names(address)))
    except AbsentError:
        raise InputError(f"{shown(address)}: nothing is there") from None
    except DeniedError as error:
        raise denied(address, error) from None
    except BrokenError as error:
        raise InputError(f"{shown(address)}: {error}") from None
    except PassingError as error:
        raise unreachable(address, error) from None
    return {name: _seen(known) for name, known in found.items()}


def members_of(archive: str, notices: list[str]) -> tuple[dict[str, Seen], list[str]]:
    """Return the files of a tar, and the names among them that lead out of it.

    Args:
        archive: Its path or address.
        notices: What people should know of it is added.

    Raises:
        InputError: It cannot be read.
    """
    found, version = archives.contents(archive)
    name = shown(archive)
    if found.is_cut:
        notices.append(f"{name} ends too early: what was behind its end is not known")
    if found.twice:
        again = f"{len(found.twice)} names" if len(found.twice) > 1 else "a name"
        first = shown(found.twice[0])
        notices.append(f"{name} holds {again} more than once, the last is taken: {first}")
    if found.links:
        notices.append(f"{name} holds {found.links} links or sparse files, which are left alone")
    etag = version.etag if is_address(archive) else None
    members = {
        name: Seen(member.bytes, etag, member.offset)
        for name, member in found.members.items()
        if not leads_out(name)
    }
    return members, [name for name in found.members if leads_out(name)]


def is_archive(name: str) -> bool:
    """Whether a name is that of a tar."""
    return name.endswith(ARCHIVE)


def is_there(full: str) -> bool:
    """Whether a file is there, as far as listings tell; a web server is asked later."""
    if inside := archive_in(full):
        return inside[1] in archives.contents(inside[0])[0].members
    if scheme_of(full) in WEB:
        return True
    folder, _, name = full.rpartition("/")
    return name in _listed(folder)


@lru_cache(4)
def _listed(folder: str) -> dict[str, Seen | None]:
    return names_below(folder)


def look_at(paths: Sequence[str]) -> list[Seen | None]:
    """Ask for many files at once; None of those that are not there or cannot be asked for.

    Args:
        paths: Addresses, or paths into tars.

    Raises:
        InputError: A host does not answer; or it wants credentials for all that is there.
    """
    _listed.cache_clear()
    problems: defaultdict[str, Problems] = defaultdict(Problems)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            found = list(pool.map(lambda path: _look(path, problems), paths))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for host, problem in problems.items():
        if problem.num_found == 0 and problem.first is not None:
            if isinstance(problem.first, DeniedError):
                raise denied(host, problem.first)
            raise InputError(f"{host}: {problem.first}")
    return found


def _look(path: str, problems: defaultdict[str, Problems]) -> Seen | None:
    if inside := archive_in(path):
        archive, name = inside
        found, version = archives.contents(archive)
        member = found.members.get(name)
        etag = version.etag if is_address(archive) else None
        return member and Seen(member.bytes, etag, member.offset)
    at_host = problems[host_of(path)]
    try:
        seen = _seen(archives.look(path))
    except AbsentError:
        return None
    except (DeniedError, BrokenError) as error:
        at_host.first = at_host.first or error
        return None
    except PassingError as error:
        raise unreachable(path, error) from None
    at_host.num_found += 1
    return seen


def _seen(version: Version | None) -> Seen | None:
    return None if version is None else Seen(version.bytes, version.etag)
