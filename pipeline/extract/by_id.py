"""Files found by a clip's id: under the id itself, or under another name that downloaders give.

VGGSound names a clip `<video>_<start in s, six digits>`, `video` being YouTube's id of 11
characters, which may hold `_` and `-`. Its own videos are cut to `<video>_<start ms>_<end ms>`;
other programs write `<video>_<start s>` or `<video>_<start s>_<end s>`.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from functools import cached_property
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from ...errors import InputError
from .lists import VGGSOUND_SECONDS, shown

if TYPE_CHECKING:
    from .candidate import Candidate

_NUMBER = r"\d+(?:\.\d+)?"
_CUT = re.compile(rf"([A-Za-z0-9_-]{{11}})_({_NUMBER})(?:_({_NUMBER}))?")
_OWN = re.compile(r"([A-Za-z0-9_-]{11})_(\d{6,12})")
_SHORTEST_MS = 200
_NUM_NEAR = 2


def cut_id(stem: str) -> str | None:
    """Return the id of the clip that a file was cut to, by its name; None where it says none.

    The unit of two numbers follows from their difference: up to 10 are seconds, more milliseconds.
    One number alone is seconds.
    """
    match = _CUT.fullmatch(stem)
    if match is None:
        return None
    start = float(match[2])
    if match[3] is not None:
        length = float(match[3]) - start
        if _SHORTEST_MS <= length <= VGGSOUND_SECONDS * 1000:
            start /= 1000
        elif not 0 < length <= VGGSOUND_SECONDS:
            return None
    return f"{match[1]}_{int(start):06d}" if start.is_integer() else None


class Files:
    """The clips below a folder, by the names of their files."""

    def __init__(self, clips: Iterable[Candidate]) -> None:
        """Keep the clips, given in the order of their paths; of several of one stem the first."""
        self._of_stem: dict[str, Candidate] = {}
        self._second: dict[str, str] = {}
        for clip in clips:
            if self._of_stem.setdefault(clip.id, clip) is not clip:
                self._second.setdefault(clip.id, clip.path)
        self._passed_over: dict[str, str] = {}

    def whole(self, stem: str | None) -> Candidate | None:
        """Return the file of a stem."""
        clip = self._of_stem.get(stem) if stem is not None else None
        if clip is not None and clip.id in self._second:
            self._passed_over[clip.id] = f"{shown(clip.path)}, not {shown(self._second[clip.id])}"
        return clip

    def cut(self, clip_id: str) -> Candidate | None:
        """Return the file that was cut to a clip and says so by another name than the clip's id.

        Raises:
            InputError: Several files do.
        """
        found = self._cuts.get(clip_id, [])
        if len(found) > 1:
            names = " and ".join(shown(clip.path) for clip in found[:2])
            raise InputError(
                f"{clip_id} is {names} in {shown(found[0].root)}: remove one, or rename the right "
                f"one to {clip_id}"
            )
        return self.whole(found[0].id) if found else None

    @cached_property
    def _cuts(self) -> dict[str, list[Candidate]]:
        cuts: dict[str, list[Candidate]] = {}
        for stem, clip in self._of_stem.items():
            if (clip_id := cut_id(stem)) is not None:
                cuts.setdefault(clip_id, []).append(clip)
        return cuts

    @cached_property
    def _stems(self) -> list[str]:
        return sorted(self._of_stem)

    def looked_for(self, clip_id: str, uncut: str | None = None) -> str:
        """Say which files an id was looked for in, and name some that come near."""
        begin = clip_id
        own = _OWN.fullmatch(clip_id)
        if own is None:
            detail = f"no video or picture is named {clip_id}"
        else:
            begin, start = own[1], int(own[2])
            end = start + round(VGGSOUND_SECONDS)
            names = [clip_id, f"{begin}_{start}000_{end}000", f"{begin}_{start}_{end}"]
            names += [f"{begin}_{start}", *([uncut] if uncut else [])]
            detail = f"no video is named {', '.join(names[:-1])} or {names[-1]}"
        first = bisect_left(self._stems, begin)
        after = takewhile(lambda stem: stem.startswith(begin), islice(self._stems, first, None))
        near = " and ".join(self._of_stem[stem].path for stem in islice(after, _NUM_NEAR))
        return f"{detail}; there is {near}" if near else detail

    def notices(self) -> list[str]:
        """Say which ids had several files, once."""
        number = len(self._passed_over)
        if not number:
            return []
        clip_id, files = next(iter(self._passed_over.items()))
        ids = "an id has" if number == 1 else f"{number} ids have"
        return [f"{ids} several files, the first by path is taken: {shown(clip_id)} is {files}"]
