"""What of a cache is there: its stages and their shards, read from file names and headers."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from ..errors import CacheCorruptError, Fault, InputError, Wrong
from .defaults import WHOLE as WHOLE
from .defaults import Part as Part
from .manifest import Manifest
from .schema import (
    AUDIO,
    CLUSTERS,
    DAMAGED,
    DROPPED,
    EMBEDDINGS,
    EXTRACT,
    HINTS,
    MANIFEST,
    NEIGHBORS,
    OBJECTS,
    Header,
    damaged,
    fault_of,
    shard_path,
)
from .shard import read_header
from .writer import make_folder, sync_folder

_NETWORKS = frozenset({HINTS, OBJECTS, EMBEDDINGS, NEIGHBORS, CLUSTERS})
_SHARD_NAME = re.compile(r"([0-9]{7})\.h5")


def shard_numbers(cache: Path, stage: str) -> set[int]:
    """Return the numbers of the shards of `stage` that lie in the cache."""
    found = map(_SHARD_NAME.fullmatch, _names(cache / stage))
    return {int(name[1]) for name in found if name}


def _names(folder: Path) -> list[str]:
    """Return the names in a folder; none if it is no folder: not made yet, or dropped meanwhile."""
    try:
        return os.listdir(folder)  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []


def stages(cache: Path) -> list[str]:
    """Return the names of the stages that have shards or a `DROPPED` mark, in reading order."""
    found = set()
    for kind in set(_names(cache)).difference((MANIFEST, DAMAGED)):
        names = _names(cache / kind)
        if any(map(_is_of_a_stage, names)):
            found.add(kind)
        for name in names:
            if not _is_of_a_stage(name) and any(map(_is_of_a_stage, _names(cache / kind / name))):
                found.add(f"{kind}/{name}")
    return sorted(found, key=lambda stage: (stage not in (EXTRACT, AUDIO), stage != EXTRACT, stage))


def _is_of_a_stage(name: str) -> bool:
    return name == DROPPED or _SHARD_NAME.fullmatch(name) is not None


def headers(cache: Path, stage: str, part: Part = WHOLE) -> Iterator[Header]:
    """Read the header of every shard of `stage` that belongs to a part, in order.

    Raises:
        CacheCorruptError: If a header is damaged.
    """
    for shard in of_part(shard_numbers(cache, stage), part):
        path = shard_path(cache, stage, shard)
        header = read_header(path)
        require_named(header, stage, shard, path)
        yield header


def published_ns(folder: Path) -> int:
    """Return when the newest shard of a stage was published, in ns; 0 where there is none."""
    newest = 0
    for name in _names(folder):
        if name.endswith(".h5"):
            with suppress(FileNotFoundError):  # dropped meanwhile
                newest = max(newest, (folder / name).stat().st_mtime_ns)
    return newest


def require_cache(cache: Path) -> None:
    """Check that a folder is a cache.

    Raises:
        InputError: If it has no manifest.
    """
    if not (cache / MANIFEST).is_dir():
        raise InputError(f"{cache} is no cache", fault=Fault(Wrong.NOT_A_CACHE, cache))


def require_manifest_of(cache: Path, manifest: Manifest) -> None:
    """Check that the manifest reaches as far as the extracted shards do.

    Another run may have planned and extracted clips since this manifest was read.

    Raises:
        CacheCorruptError: If a segment and its copy are gone: their rows must not be given again.
    """
    last = max(shard_numbers(cache, EXTRACT), default=-1)
    if last >= manifest.num_shards and last >= manifest.refreshed().num_shards:
        raise CacheCorruptError(
            f"{shard_path(cache, EXTRACT, last)}: the manifest ends before it; put back the files "
            f"missing from {cache / MANIFEST}"
        )


def require_named(header: Header, stage: str, number: int, path: Path) -> None:
    """Refuse a shard that lies under the name of another.

    Raises:
        CacheCorruptError: It does.
    """
    if (header.stage, header.shard) != (stage, number):
        raise damaged(path, f" is shard {header.shard} of {header.stage} under another name")


def require_shard_of(manifest: Manifest, number: int, header: Header, path: Path) -> None:
    """Check that a shard holds the clips of a manifest: under other ids they would be other clips.

    Args:
        manifest: Whose ids are given out.
        number: The shard's, by its name.
        header: The shard's header; only of decoded stages does it name a manifest.
        path: The shard, for the message.

    Raises:
        CacheCorruptError: If it was extracted for another manifest.
    """
    made_for = header.inputs.get(MANIFEST)
    if made_for is None:
        return
    if number >= manifest.num_shards or manifest.shard_sha256(number) != made_for:
        raise damaged(path, " belongs to another manifest, its clips are not those of these ids")


def is_dropped(cache: Path, stage: str) -> bool:
    """Whether the stage's shards were dropped on purpose."""
    return (cache / stage / DROPPED).exists()


def of_part(shards: Iterable[int], part: Part) -> list[int]:
    """Return the shards that belong to a part, in order."""
    return sorted(shard for shard in shards if shard % part[1] == part[0])


def extracted_shards(cache: Path) -> set[int]:
    """Return the shards whose decode pass is done: `extract` and, unless dropped, `audio`."""
    done = shard_numbers(cache, EXTRACT)
    return done if is_dropped(cache, AUDIO) else done & shard_numbers(cache, AUDIO)


def audio_of(cache: Path, extract: Header) -> Header:
    """Return the header of the sounds that were decoded together with a shard of `extract`.

    Raises:
        InputError: If they are not there.
        CacheCorruptError: If they are of another decode pass.
    """
    path = shard_path(cache, AUDIO, extract.shard)
    try:
        audio = read_header(path)
    except FileNotFoundError:
        raise InputError(f"{path} is missing", fault=fault_of(Wrong.NO_SOUND, path)) from None
    require_together(audio, extract, path)
    return audio


def require_together(audio: Header, extract: Header, path: Path) -> None:
    """Check that sounds and pictures are of one decode pass: else a re-make was interrupted.

    Args:
        audio: The header of the sounds.
        extract: That of the pictures.
        path: The shard of sounds, for the message.

    Raises:
        CacheCorruptError: If they are not.
    """
    if audio.sha256 != extract.companions.get(AUDIO):
        raise CacheCorruptError(
            f"{path} and {EXTRACT}/{path.name} were not made together",
            fault=fault_of(Wrong.NO_SOUND, path),
        )


def drop_stage(cache: Path, stage: str) -> int:
    """Remove all shards of a stage; for audio leave a mark, so that it is not kept again.

    Returns:
        Bytes freed.

    Raises:
        InputError: If there is no such stage, or it is the one all others are aligned to.
    """
    have_stages = stages(cache)
    lost_audio = stage == AUDIO and EXTRACT in have_stages  # none is left, and none is to be made
    known = stage in have_stages or lost_audio or _is_emptied(cache, stage)
    if not known:  # `extract/` or `../other` name no stage
        have = ", ".join(name for name in have_stages if name != EXTRACT) or "nothing"
        raise InputError(f"{cache} has no stage {stage!r} to drop (it has {have})")
    if stage == EXTRACT:
        raise InputError(
            "every stage is aligned to extract", fault=Fault(Wrong.NEEDED_BY_ALL, cache, EXTRACT)
        )
    if stage == AUDIO:
        make_folder(cache / AUDIO)
        (cache / AUDIO / DROPPED).touch()
        sync_folder(cache / AUDIO)  # before the first file goes: a kill leaves it dropped
    freed = 0
    for number in shard_numbers(cache, stage):
        path = shard_path(cache, stage, number)
        with suppress(FileNotFoundError):  # another process drops it too
            size = path.stat().st_size
            path.unlink()
            freed += size
    with suppress(FileNotFoundError):
        sync_folder(cache / stage)
    if stage != AUDIO:
        _remove_emptied(cache / stage)
    return freed


def _remove_emptied(folder: Path) -> None:
    """Remove a stage's folder without shards; drafts go with it, files of other people stay."""
    with suppress(FileNotFoundError):
        for path in folder.glob(".*.h5.*"):
            path.unlink(missing_ok=True)
        if not any(folder.iterdir()):
            try:
                folder.rmdir()
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:  # somebody makes it again
                    raise
            sync_folder(folder.parent)


def _is_emptied(cache: Path, stage: str) -> bool:
    """Whether a folder is what a killed `drop` leaves of a stage: no shard, at most drafts."""
    kind, _, name = stage.partition("/")
    folder = cache / stage
    is_name = kind in _NETWORKS and bool(name) and "/" not in name and name not in (".", "..")
    return is_name and folder.is_dir() and not any(folder.glob("[!.]*"))
