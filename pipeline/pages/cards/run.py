"""`avpipe inspect`: what the cache knows of single clips, as a picture or a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ....advice import advice
from ....cache.store import Cache
from ....drafts import remove_orphans, temporary, write_durably
from ....errors import CacheUnwritableError, InputError, UsageError
from ....train.show.drawing import to_png
from .gather import make_card, read_class_names, remarks, shown_stages, spread
from .page import page_of_cards
from .picture import draw_cards

MAX_CLIPS = 100


def draw(
    folder: Path, named: Sequence[str], count: int, out: Path, labels: Path | None
) -> dict[str, Any]:
    """Draw clips with everything the cache knows of them; return the `avpipe.inspect/1` document.

    Args:
        folder: The cache's.
        named: Clips; if there are none, `count` of them from all over the cache.
        count: How many.
        out: The picture, .png, or the page, .html.
        labels: A table of other names for the tags; None for AudioSet's own.

    Raises:
        InputError: The cache is not there or empty, lacks a clip, or the labels cannot be read.
        UsageError: More clips are named than fit in a picture, or it is no .png or .html file.
        CacheUnwritableError: The file cannot be written.
    """
    is_page = check_name(out, ".png", ".html") == ".html"
    cache = Cache(folder)
    class_names = read_class_names(labels)
    if len(named) > MAX_CLIPS:
        raise UsageError(f"{len(named)} clips do not fit in a picture: at most {MAX_CLIPS}")
    if not len(cache):
        why = advice("inspect --failures", cache.path)
        raise InputError(f"{cache.path} has no finished clip; {why} says why")
    ids = list(dict.fromkeys(named)) or spread(cache.ids, count)
    _require(cache, ids)
    shown = shown_stages(cache, [cache.row_of(clip_id) for clip_id in ids])
    cards = [make_card(cache, clip_id, shown, class_names) for clip_id in ids]
    notes = remarks(shown, folder)
    if is_page:
        write_result(out, page_of_cards(cards, shown, notes).encode())
    else:
        write_result(out, to_png(draw_cards(cards, shown, notes)))
    return {
        "schema": "avpipe.inspect/1",
        "picture": str(out),
        "stages": {kind: header.stage for kind, header in shown.items()},
        "clips": [card.as_json() for card in cards],
        "notices": notes,
    }


def check_name(out: Path, *suffixes: str) -> str:
    """Return the suffix of a file that will be written.

    Raises:
        UsageError: It is none of these, or names a folder.
    """
    suffix = out.suffix.lower()
    if suffix not in suffixes or out.is_dir():
        raise UsageError(f"--out {out}: not the name of a {' or '.join(suffixes)} file")
    return suffix


def write_result(out: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        CacheUnwritableError: It cannot be written.
    """
    remove_orphans(out.parent)
    try:
        with temporary(out) as draft:
            write_durably(draft, content)
            draft.rename(out)
    except CacheUnwritableError as error:  # its remedy is for a cache
        why = getattr(error.__cause__, "strerror", None) or error.__cause__
        raise CacheUnwritableError(
            f"--out {out}: {why}; name another file, or free some space"
        ) from error


def _require(cache: Cache, ids: Sequence[str]) -> None:
    """Check that clips are done; tell why one is not."""
    done = set(cache.ids)
    for clip_id in ids:
        if clip_id in done:
            continue
        for failure in cache.failures():
            if failure.id == clip_id:
                why = f"{failure.reason}: {failure.detail}" if failure.detail else failure.reason
                raise InputError(f"{cache.path}: clip {clip_id} failed ({why})")
        raise InputError(f"{cache.path} has no finished clip {clip_id!r}")
