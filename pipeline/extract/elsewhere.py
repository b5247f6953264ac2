"""Clips at addresses and in tars: which there are, and what is known of each beforehand."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ...cache.addresses import (
    ARCHIVE,
    WEB,
    archive_in,
    host_of,
    is_address,
    is_elsewhere,
    joined,
    parse_address,
    scheme_of,
    why_unread,
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
    in_words,
    patiently,
    place_of,
    unreachable,
)
from ...stages.sources.tar import leads_out
from .folders import clips_named
from .lists import LIST_SUFFIXES, VIDEO_SUFFIXES, require_no_packed, shown, suffix_of

if TYPE_CHECKING:
    from .candidate import Candidate

_PICTURES = frozenset({".jpg", ".jpeg", ".png"})
_AT_ONCE = 32
"""Requests on their way at once: of each only the head is asked for."""


class SeenFile(NamedTuple):
    """What is known of a file before it is fetched; see `cache.segment.Line`."""

    bytes: int
    etag: str | None = None
    offset: int | None = None


class FoundAway(NamedTuple):
    """A clip that was found at an address or in a tar.

    Attributes:
        root: The address, or the folder of the tar.
        path: Below the root.
        bytes: 0 where that is not known yet.
        audio_path: A picture's sound, below the root.
        source: What several pictures of one sound share.
        etag: See `cache.segment.Line`.
        offset: See there.
        wrong: What is wrong with its name.
    """

    root: str
    path: str
    bytes: int = 0
    audio_path: str | None = None
    source: str | None = None
    etag: str | None = None
    offset: int | None = None
    wrong: str | None = None


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
    if why := why_unread(text):
        raise InputError(f"{name}: {why}")
    try:
        return parse_address(text)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None


def clips_at(place: str, ignored: Counter[str], notices: list[str]) -> Iterator[FoundAway]:
    """Yield what an address or a tar holds: itself, if it is a video, or all clips below it.

    Args:
        place: An address, or the path of a tar.
        ignored: Counts of the files left alone by suffix, added to.
        notices: What people should know of it is added.

    Raises:
        InputError: It cannot be read, or is a kind of file that is not.
    """
    root, _, name = place.rpartition("/")
    root = root or "/"
    if _suffix(place) in LIST_SUFFIXES:
        raise InputError(f"{shown(place)}: a list has to lie on this machine: fetch it first")
    if is_archive(place):
        members, wrong = members_of(place, notices)
        yield from _clips_among(members, root, f"{name}/", ignored, notices, with_pairs=True)
        for member in wrong:
            yield FoundAway(root, member, wrong="its name leads out of the tar")
    elif is_one_file(place):
        inside = archive_in(place)
        home = inside[0].rpartition("/")[0] if inside else root
        yield FoundAway(home, place[len(home) + 1 :])
    else:
        require_no_packed(place)
        yield from _clips_among(names_below(place), place, "", ignored, notices)


def is_one_file(place: str) -> bool:
    """Whether an address names one clip by itself, and no folder or tar of them."""
    return _suffix(place) in VIDEO_SUFFIXES | _PICTURES or archive_in(place) is not None


def _suffix(place: str) -> str:
    return suffix_of(place[place.rfind("/") :])


def require_there(place: str) -> None:
    """Check that there is what an address names.

    Raises:
        InputError: Its host answers that there is no such file.
    """
    inside = archive_in(place)
    try:
        archives.look(inside[0] if inside else place)
        if inside is None or is_there(place):
            return
    except AbsentError:
        pass
    except (DeniedError, BrokenError, PassingError):
        return  # which the clip's own fetching tells
    raise InputError(f"{shown(place)}: no such file")


def clip_inside(archive: str, name: str) -> FoundAway:
    """Return a clip of a local tar that is named by its path, as `x.tar/dog.mp4`.

    Raises:
        InputError: The tar cannot be read, or has no file of this name.
    """
    members, _ = members_of(archive, [])
    root, _, base = archive.rpartition("/")
    path = f"{base}/{name}"
    if name not in members:
        what = "a folder of" if any(one.startswith(f"{name}/") for one in members) else "no file of"
        raise InputError(
            f"{shown(f'{archive}/{name}')}: {what} that tar: name {shown(archive)} itself, which "
            "takes all its clips, or one of its files"
        )
    for clip in clips_at(archive, Counter(), []):
        if clip.path == path:  # which may be a picture that has its sound beside it
            return clip
    size, etag, offset = members[name]
    return FoundAway(root or "/", path, size, etag=etag, offset=offset)


def _clips_among(
    names: Mapping[str, SeenFile | None],
    root: str,
    prefix: str,
    ignored: Counter[str],
    notices: list[str],
    *,
    with_pairs: bool = False,
) -> Iterator[FoundAway]:
    """Yield the clips among names; `prefix` leads from the root to them."""
    sizes = {name: seen.bytes if seen else None for name, seen in names.items()}
    where = joined(root, prefix)
    found = clips_named(sizes, where, ignored, notices, with_pairs=with_pairs)
    for path, size, audio_path, source in found:
        seen = names[path]
        audio_path = None if audio_path is None else prefix + audio_path
        etag, offset = (seen.etag, seen.offset) if seen else (None, None)
        yield FoundAway(root, prefix + path, size, audio_path, source, etag, offset)


def look_elsewhere(candidates: Sequence[Candidate]) -> list[tuple[int, SeenFile]]:
    """Ask for what is not known yet of clips at addresses and in tars.

    Returns:
        The place of each among the candidates, and what was seen of it.

    Raises:
        InputError: As `look_at`.
    """
    _listed.cache_clear()
    roots = {clip.root for clip in candidates}
    away = {root: is_address(root) or is_archive(root) for root in roots}
    doubtful = [
        (at, clip)
        for at, clip in enumerate(candidates)
        if clip.bytes == 0 and (away[clip.root] or ".tar/" in clip.path) and clip.etag is None
    ]
    unseen = [
        (at, joined(clip.root, clip.path))
        for at, clip in doubtful
        if clip.path and clip.reject is None and is_elsewhere(joined(clip.root, clip.path))
    ]
    if not unseen:
        return []
    found = look_at([path for _, path in unseen])
    return [(at, seen) for (at, _), seen in zip(unseen, found, strict=True) if seen is not None]


def names_below(address: str) -> dict[str, SeenFile | None]:
    """Return the names below an address, and what is known of each: of web servers nothing yet.

    Raises:
        InputError: The host does not answer, wants credentials, or lists nothing there.
    """
    with in_words(address, shown(address), "nothing is there"):
        found = patiently(lambda: dict(place_of(address).names(address)))
    return {name: _seen(known) for name, known in found.items()}


def members_of(archive: str, notices: list[str]) -> tuple[dict[str, SeenFile], list[str]]:
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
        name: SeenFile(member.bytes, etag, member.offset)
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
def _listed(folder: str) -> dict[str, SeenFile | None]:
    return names_below(folder)


def look_at(paths: Sequence[str]) -> list[SeenFile | None]:
    """Ask for many files at once; None of those that are not there or cannot be asked for.

    Args:
        paths: Addresses, or paths into tars.

    Raises:
        InputError: A host does not answer; or it wants credentials for all that is there.
    """
    problems: defaultdict[str, Problems] = defaultdict(Problems)
    inside = [archive_in(path) for path in paths]
    tars = sorted({split[0] for split in inside if split})
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            members = dict(zip(tars, pool.map(_members, tars), strict=True))
            found = list(
                pool.map(
                    lambda path, split: (
                        members[split[0]].get(split[1]) if split else _look(path, problems)
                    ),
                    paths,
                    inside,
                )
            )
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for host, problem in problems.items():
        if problem.num_found == 0 and problem.first is not None:
            if isinstance(problem.first, DeniedError):
                raise denied(host, problem.first)
            raise InputError(f"{host}: {problem.first}")
    return found


def _members(archive: str) -> dict[str, SeenFile]:
    """Return the files of a tar; none of one that is not there."""
    try:
        archives.look(archive)
    except AbsentError:
        return {}
    except (DeniedError, BrokenError, PassingError):
        pass  # which `members_of` turns into words
    return members_of(archive, [])[0]


def _look(path: str, problems: defaultdict[str, Problems]) -> SeenFile | None:
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


def _seen(version: Version | None) -> SeenFile | None:
    return None if version is None else SeenFile(version.bytes, version.etag)
