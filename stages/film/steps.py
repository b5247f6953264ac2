"""The process that makes films, a step for each request: `python -m avpipe.stages.film.steps`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np

from ...errors import ClipError, Reason
from ..media.decoders.pyav import upright
from ..media.mono import MIN_SOUND_S
from ..workers.child import Answerer, Message, serve
from .file import Film, FilmError
from .heat import Heat, Painter
from .source import drawn_rate_hz, drawn_size, open_source, shown_pictures
from .track import SlidingWindow, SoundStream

_TELL_EVERY_S = 0.5
_SLACK_S = 1e-6
_MANY = 1_000_000_000


def main() -> None:
    """Be the child: answer requests until standard input ends."""
    serve(_prepare)


def _prepare(_: Message) -> Answerer:
    """Return what answers requests: one starts something, `next` asks for its next step."""
    steps: Iterator[Message] | None = None
    received: list[Message] = []

    def answer(request: Message) -> Message:
        nonlocal steps
        arguments = dict(request)
        match arguments.pop("do"):
            case "moments":
                steps = _moments(**arguments)
            case "draw":
                received.clear()
                steps = _draw(received=received, **arguments)
            case "more":
                received.append(arguments)
        if steps is None:
            raise ClipError(Reason.CRASHED, "the process was killed between two steps")
        return next(steps, {"done": True})

    return answer


def _moments(*, every_s: float, window_s: float, **place: Any) -> Iterator[Message]:
    """Yield what `RenderChild.moments` does."""
    with open_source(**place) as source:
        sound = SoundStream(source)
        window = SlidingWindow(sound, source.first_s, window_s)
        num_moments = _about(source.duration_s / every_s) + 1
        drawn_hw: tuple[int, ...] = ()
        due_s = -np.inf
        for shown in shown_pictures(source):
            if shown.time_s < due_s - _SLACK_S:
                continue
            due_s += every_s
            if due_s <= shown.time_s:  # the first one, or after a picture that stood for long
                due_s = shown.time_s + every_s
            waveform = window.around(shown.time_s)
            if len(waveform) < MIN_SOUND_S * sound.rate_hz:
                raise ClipError(Reason.NO_AUDIO, f"no sound around {shown.time_s:.3f} s")
            drawn_hw = drawn_hw or upright(shown.frame, drawn_size(source.video)).shape[:2]
            yield {
                "time_s": shown.time_s,
                "frame": upright(shown.frame, source.network_size),
                "waveform": waveform,
                "rate_hz": sound.rate_hz,
                "drawn_hw": drawn_hw,
                "num_moments": num_moments,
            }


def _draw(
    *, film: str, times_s: Any, maps: Any, is_last: bool, limits: Any, dimming: Any, glow: Any,
    legend: Any, received: list[Message], **place: Any,
) -> Iterator[Message]:  # fmt: skip
    """Yield what `RenderChild.draw` does, or the error of the file that is written.

    Where the maps given end before the film does, more are asked for; they are then `received`.
    """
    heat = Heat(times_s, maps, tuple(limits), dimming, glow, legend, is_last=is_last)
    try:
        yield from _drawn(film, heat, received, place)
    except FilmError as error:
        yield {"errno": error.errno, "strerror": str(error)}


def _drawn(
    film: str, heat: Heat, received: list[Message], place: dict[str, Any]
) -> Iterator[Message]:
    with open_source(**place) as source, closing(shown_pictures(source)) as pictures:
        sound = SoundStream(source)
        size, rate_hz = drawn_size(source.video), drawn_rate_hz(source.video)
        first = next(pictures)
        height, width = upright(first.frame, size).shape[:2]
        painter = Painter(heat, height, width)
        yield _told(0, source.duration_s * rate_hz, 0.0, source.duration_s)
        told, end_s = time.monotonic(), 0.0
        with Film(film, (width, height), rate_hz, sound) as output:
            for number, shown in enumerate(chain([first], pictures), 1):
                picture = upright(shown.frame, size)
                if picture.shape[:2] != (height, width):
                    raise ClipError(Reason.DECODE_ERROR, "its pictures change their orientation")
                begin_s, end_s = shown.time_s - source.first_s, shown.until_s - source.first_s
                if painter.lacks(shown.time_s):
                    yield {"maps_at_s": shown.time_s}
                    painter.take(**received.pop())
                output.add_picture(painter.paint(picture, shown.time_s), begin_s, end_s)
                for piece in sound.until(round(end_s * sound.rate_hz)):
                    output.add_sound(piece)
                if time.monotonic() - told > _TELL_EVERY_S:
                    yield _told(number, source.duration_s * rate_hz, end_s, source.duration_s)
                    told = time.monotonic()
            output.finish()
    yield _told(number, number, end_s, source.duration_s)


def _told(number: int, expected: float | Fraction, end_s: float, said_s: float) -> Message:
    expected = max(number, _about(expected))
    return {"num_pictures": number, "num_expected": expected, "end_s": end_s, "said_s": said_s}


def _about(count: float | Fraction) -> int:
    """Return a whole number, a sane one even where a file lies about its length."""
    return int(min(count, _MANY)) if count > 0 else 0


if __name__ == "__main__":
    main()
