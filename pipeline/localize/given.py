"""What `localize` is given besides videos: a picture with a sound, and clips of a cache."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ...advice import advice
from ...cache.addresses import archive_in, joined
from ...cache.clip_ids import file_stem, is_bad_id
from ...cache.store import Cache
from ...drafts import temporary_folder
from ...errors import ClipError, ClipsFailedError, InputError, Reason, UsageError
from ...stages.features import FeatureParams
from ...stages.sources.staging import staged_file
from ...stages.workers.decoder import DecoderChild
from ..extract.candidate import Candidate, CandidateAway
from ..extract.lists import suffix_of
from ..extract.scan import scan
from ..id_lists import read_ids
from ..output import note
from . import PICTURE

PICTURE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")
)


def require_kept(candidates: Sequence[Candidate], out: Path, *endings: str) -> None:
    """See that nothing that will be drawn takes the place of a file that clips are made of.

    Args:
        candidates: The clips.
        out: Folder of the results.
        endings: Of their names, behind each clip's id.

    Raises:
        UsageError: It would.
    """
    inputs = {}
    for clip in candidates:
        for path in filter(None, (clip.path, clip.audio_path)):
            with suppress(OSError, ValueError):  # at an address, in a tar, or gone
                found = os.stat(joined(clip.root, path))  # noqa: PTH116 - as `Candidate` has it
                inputs[found.st_dev, found.st_ino] = joined(clip.root, path)
    stems = [file_stem(clip.id) for clip in candidates if not is_bad_id(clip.id)]
    names = [f"{stem}{ending}" for stem in stems for ending in endings]
    for name in [*names, "sheet.png"] if PICTURE in endings else names:
        with suppress(OSError):
            found = (out / name).stat()
            if taken := inputs.get((found.st_dev, found.st_ino)):
                raise UsageError(
                    f"{taken} is an input, and {out / name} would take its place: name another "
                    "folder with --out"
                )


@contextmanager
def with_sound(candidates: Sequence[Candidate], sound: Path) -> Iterator[list[Candidate]]:
    """Give a picture, or a video, another file's sound.

    A picture is decoded in a child process and stands as a JPEG in a temporary folder, as long as
    the `with` block lasts.

    Raises:
        UsageError: More than one clip is named.
        InputError: There is no such sound.
        ClipsFailedError: The picture cannot be used.
    """
    if len(candidates) != 1:
        raise UsageError(f"--sound goes with one picture or video, {len(candidates)} are named")
    if inside := archive_in(str(sound)):
        raise InputError(f"{sound}: lies in a tar: unpack {inside[1]}, and name that with --sound")
    if not sound.is_file():
        raise InputError(f"{sound}: no file; name the sound's with --sound")
    clip = replace(candidates[0], audio_path=str(sound.absolute()))
    path = joined(clip.root, clip.path)
    with temporary_folder() as folder:
        try:
            with staged_file(path) as file, DecoderChild(FeatureParams()) as child:
                Path(folder, "picture.jpg").write_bytes(child.picture(file))
            clip = replace(clip, root=str(folder), path="picture.jpg")
        except ClipError as error:
            if error.reason != Reason.NOT_MEDIA:  # else it may be a video
                raise ClipsFailedError(f"{path}: {error}") from None
        yield [clip]


@contextmanager
def named_clips(
    inputs: Sequence[str | Path], sound: Path | None, out: Path, *endings: str
) -> Iterator[list[Candidate]]:
    """Yield the clips that inputs name, with another sound where one is given.

    Args:
        inputs: As `scan` takes them.
        sound: Of one picture or video.
        out: Folder of what will be drawn, which must not take the place of a picture.
        endings: Of its names; see `require_kept`.

    Raises:
        UsageError: A picture comes without a sound, or a sound with several clips; or `out` holds
            the picture.
        InputError: An input or the sound is not there.
        ClipsFailedError: The picture cannot be used.
    """
    found = scan([str(path) for path in inputs])
    for line in found.notices:
        note(line)
    if sound is not None:
        require_kept(found.candidates, out, *endings)  # the picture itself is replaced by a copy
        with with_sound(found.candidates, sound) as clips:
            yield clips
    elif len(inputs) == 1 and _is_mute_picture(inputs[0], found.candidates):
        raise UsageError(f"{inputs[0]} is a picture: name its sound, --sound FILE")
    else:
        yield found.candidates


def _is_mute_picture(name: str | Path, candidates: Sequence[Candidate]) -> bool:
    """Whether an input is a picture, and none that its sound lies beside, as in a tar."""
    is_picture = suffix_of(str(name)) in PICTURE_SUFFIXES
    return is_picture and all(clip.audio_path is None for clip in candidates)


@contextmanager
def sound_in_errors(sound: Path | None) -> Iterator[None]:
    """Name the other sound, if there is one, where no clip can be used."""
    try:
        yield
    except ClipsFailedError as error:
        if sound is None:
            raise
        raise ClipsFailedError(f"{error}, with the sound of {sound}") from None


def ids_to_draw(path: Path) -> list[str]:
    """Read the ids of a list, each once.

    Raises:
        InputError: It cannot be read, or names no clip.
    """
    ids = list(dict.fromkeys(read_ids(path) or []))
    if not ids:
        raise InputError(f"{path} names no clip")
    return ids


def cached_sources(cache: Cache, ids: Sequence[str]) -> list[Candidate]:
    """Return the files that clips of a cache were decoded from.

    Raises:
        InputError: The cache lacks a clip.
    """
    if absent := sorted(set(ids).difference(cache.ids)):
        see = advice("status", cache.path)
        raise InputError(f"{cache.path} has no finished clip {absent[0]!r}; see {see}")
    roots = [root["path"] for root in cache.manifest.roots]
    lines = [cache.manifest.line(cache.row_of(name)) for name in ids]
    return [
        CandidateAway(
            id=line["id"],
            root=roots[line["root"]],
            path=line["path"],
            bytes=line["bytes"],
            etag=line.get("etag"),
            offset=line.get("offset"),
            source=line["source"],
            audio_path=line.get("audio_path"),
            start_s=line.get("start_s"),
            seconds=line.get("seconds"),
        )
        for line in lines
    ]
