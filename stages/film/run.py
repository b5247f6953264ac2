"""Films of what is heard where, made in a child process as clips are decoded in one.

This is the parent's side, `steps.py` the child's. The child first gives
out moments with the picture and the sound around them; the parent finds a map for each; then the
child draws the film. Both times the clip is read from its start to its end, little of it is held.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ClipError
from ..workers.child import MEMORY_BYTES, TIMEOUT_S, Child, Message
from .heat import Heat

_COMMAND = (sys.executable, "-m", "avpipe.stages.film.steps")
_LINE = ("path", "audio_path", "start_s", "seconds")
MAPS_SENT = 512
"""Maps of a message, two at least: the child asks for those around a moment when it comes there."""


@dataclass(frozen=True)
class Moment:
    """A moment of a clip.

    Attributes:
        time_s: When, from the container's start.
        frame: (H, W, 3) uint8 RGB, upright, short side 256.
        waveform: (n,) float32 mono around it, see `SlidingWindow`.
        rate_hz: Sampling rate of the waveform.
        drawn_hw: Height and width of the film's pictures.
        num_moments: About how many there are in the clip.
    """

    time_s: float
    frame: NDArray[np.uint8]
    waveform: NDArray[np.float32]
    rate_hz: int
    drawn_hw: tuple[int, int]
    num_moments: int


@dataclass(frozen=True)
class Drawn:
    """How far a film is.

    Attributes:
        num_pictures: So many are drawn.
        num_expected: About so many there will be.
        end_s: The film is that long so far.
        said_s: The file says that the clip is that long.
    """

    num_pictures: int
    num_expected: int
    end_s: float
    said_s: float


class RenderChild(Child):
    """One process that makes films, restarted whenever a clip takes it down."""

    def __init__(
        self,
        *,
        timeout_s: float = TIMEOUT_S,
        memory_bytes: int = MEMORY_BYTES,
        command: Sequence[str] = _COMMAND,
    ) -> None:
        """Remember what to run; the process starts with the first clip.

        Args:
            timeout_s: Wall-clock limit for one step: a moment, or half a second's work of drawing.
            memory_bytes: Limit of the child's address space.
            command: The child's command line.
        """
        super().__init__(command, {}, timeout_s=timeout_s, memory_bytes=memory_bytes)

    def moments(self, line: Mapping[str, Any], every_s: float, window_s: float) -> Iterator[Moment]:
        """Yield the pictures shown every so often, each with the sound around it.

        Args:
            line: As for `DecoderChild.row`.
            every_s: Time between moments; no more than one for each picture shown.
            window_s: Length of the sound.

        Raises:
            ClipError: The clip cannot be used; timeout, oom and crashed included.
            AvpipeError: The child cannot run at all.
        """
        request = {"do": "moments", "every_s": every_s, "window_s": window_s}
        for answer in self._steps({**request, **_place(line)}):
            yield Moment(**{**answer, "drawn_hw": tuple(answer["drawn_hw"])})

    def draw(self, line: Mapping[str, Any], heat: Heat, path: str) -> Iterator[Drawn]:
        """Draw the film, and tell from time to time how far it is.

        Args:
            line: As for `DecoderChild.row`.
            heat: What is laid over the pictures; its legend fits them.
            path: The MP4 to write: a draft, which is whole when this ends without an error.

        Raises:
            ClipError: The clip cannot be used; timeout, oom and crashed included.
            OSError: The film cannot be written.
            AvpipeError: The child cannot run at all.
        """
        request: Message = {**_part(heat, 0.0), **_place(line), "do": "draw", "film": path}
        answer = self.ask({**_looks(heat), **request})
        while "done" not in answer:
            if "errno" in answer:
                raise OSError(answer["errno"], answer["strerror"])
            if "maps_at_s" in answer:
                answer = self.ask({"do": "more", **_part(heat, answer["maps_at_s"])})
                continue
            yield Drawn(**answer)
            answer = self.ask({"do": "next"})

    def _steps(self, request: Message) -> Iterator[dict[str, Any]]:
        """Start something in the child and yield its steps."""
        answer = self.ask(request)
        while "done" not in answer:
            yield answer
            answer = self.ask({"do": "next"})


def _looks(heat: Heat) -> dict[str, Any]:
    """Return all of a heat but its maps, of which there is no end."""
    return {name: value for name, value in vars(heat).items() if name not in ("times_s", "maps")}


def _part(heat: Heat, time_s: float) -> dict[str, Any]:
    """Return the maps from a moment on, and the one before it."""
    first = max(0, int(np.searchsorted(heat.times_s, time_s)) - 1)
    part = slice(first, first + MAPS_SENT)
    return {
        "times_s": heat.times_s[part],
        "maps": heat.maps[part].astype(np.float16),
        "is_last": first + MAPS_SENT >= len(heat.maps),
    }


def _place(line: Mapping[str, Any]) -> dict[str, Any]:
    if line.get("reject"):
        raise ClipError(line["reject"], line.get("detail", ""))
    return {name: line[name] for name in _LINE if line.get(name) is not None}
