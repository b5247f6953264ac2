"""Decoding with the `ffmpeg` program, driven by ffmpeg-python.

PyAV finds the packets, as for its own decoding; the program decodes exactly those. Every option
used here means the same in all versions from 4.4 on.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from ....drafts import temporary_folder
from ....errors import ClipError, Reason
from ..container import FORMATS, MAX_PIXELS, PATIENCE, STILL_PNG, is_still, open_media, sizes_in
from ..made import write_made_clip
from ..moments import SHORT_SIDE, Target
from ..mono import PREROLL_S, SoundWindow
from ..packets import picture_period, start_s, time_base
from ..program import Ran, program, run_program, unusable, version

__all__ = ["check_program", "decode_frame", "decode_sound", "program", "version"]

_URL = "the file"  # ffmpeg-python hashes names, and cannot those that are not UTF-8
_LATE_S = 0.1
_CPU_LIMIT_S = 600  # of one call, should nobody be left to end it

# Both expressions see the picture after the program has turned it upright.
_SHORT = "min(iw*sar,ih)"
_WIDTH = f"floor(iw*sar*{SHORT_SIDE}/{_SHORT}+0.5)"
_HEIGHT = f"floor(ih*{SHORT_SIDE}/{_SHORT}+0.5)"
_PPM = re.compile(rb"P6\s(\d+)\s(\d+)\s255\s")
_PIECE = re.compile(rb"\] n:\d+ pts:(-?\d+) .* channels:(\d+) .* rate:(\d+) nb_samples:(\d+) ")


@functools.cache
def check_program() -> None:
    """Decode a clip made here: where that fails the program is at fault, and no clip.

    Raises:
        MissingDependencyError: It fails.
    """
    with temporary_folder() as folder:
        path = write_made_clip(Path(folder, "made.avi"))
        with open_media(str(path)) as container:
            picture = _picture(container, 0, "eq(pts,0)", None, MAX_PIXELS)
            sound = _sound(container, 1, 0.0, 1.0, None)
    for ran, found in (
        (picture, _PPM.match(picture.output)),
        (sound, _PIECE.search(sound.messages)),
    ):
        if ran.signal or not ran.output or not found:
            raise unusable(ran.signal or ran.words or "it decodes nothing")


def decode_frame(target: Target) -> NDArray[np.uint8]:
    """Decode the wanted picture.

    Returns:
        (H, W, 3) uint8 RGB, upright, square pixels, short side 256.

    Raises:
        ClipError: decode_error, too_large; crashed, when a signal ended the program.
        MissingDependencyError: There is no program, or it is at fault.
    """
    for which, seek_s in _attempts(target):
        ran = _picture(target.container, target.video.index, which, seek_s, target.max_pixels)
        _require_end(ran)
        if ran.output:
            break
    head = _PPM.match(ran.output)
    if head is None:
        check_program()
        if refused := sizes_in(ran.messages.decode(errors="replace")):
            raise ClipError(Reason.TOO_LARGE, refused[0])
        said = f"the picture at {target.frame_pts_s:.3f} s cannot be decoded"
        raise ClipError(Reason.DECODE_ERROR, f"{said}: {ran.words}" if ran.words else said)
    width, height = int(head[1]), int(head[2])
    return np.frombuffer(ran.output, np.uint8, offset=head.end()).reshape(height, width, 3).copy()


def _attempts(target: Target) -> list[tuple[str, float | None]]:
    """Return which picture is to be selected and where decoding begins, the quickest way first."""
    pictures = target.pictures
    if pictures.counted:  # in a file without times; they are counted in the order shown
        return [(f"eq(n,{(pictures.packets[0].dts or 0) + pictures.wanted})", None)]
    this = f"eq(pts,{pictures.pts})"
    # the program may miss a key frame; then from the start
    attempts: list[tuple[str, float | None]] = [(this, target.frame_pts_s), (this, None)]
    if target.container.format.name == "mpeg":  # time stamps differ by where reading began
        earliest = pictures.ticks - picture_period(target.video)
        attempts.append((f"gt(pts,{float(earliest)})", None))
    return attempts


def decode_sound(target: Target, first_s: float, last_s: float) -> SoundWindow:
    """Decode the sound between two times, all channels of it; damaged packets leave silence.

    Raises:
        ClipError: crashed, when a signal ended the program.
        MissingDependencyError: There is no program, or it is at fault.
    """
    container, audio = target.sound_container, target.audio
    begin_s = float((audio.start_time or 0) * time_base(audio)) - start_s(container)
    window = SoundWindow(first_s, last_s)
    # seeking may land behind the window; in Ogg, where the program's time stamps are guessed then
    rough = (first_s - PREROLL_S,) if container.format.name != "ogg" else ()
    for seek_s in (*rough, None):
        ran = _sound(container, audio.index, first_s, last_s, seek_s)
        _require_end(ran)
        window = _collected(ran, first_s, last_s, start_s(container))
        samples, found_s = window.waveform()
        if len(samples) and found_s <= max(first_s, begin_s) + _LATE_S:
            return window
    if not window.rate_hz:
        check_program()
    return window


def _collected(ran: Ran, first_s: float, last_s: float, origin_s: float) -> SoundWindow:
    """Put the pieces of sound that the program tells of where they belong."""
    window = SoundWindow(first_s, last_s)
    samples = np.frombuffer(ran.output, np.float32)
    position = 0
    for piece in _PIECE.finditer(ran.messages):
        pts, channels, rate_hz, count = (int(group) for group in piece.groups())
        part = samples[position : position + channels * count]
        position += channels * count
        window.add(list(part.reshape(-1, channels).T), rate_hz, pts / rate_hz - origin_s)
    return window


def _require_end(ran: Ran) -> None:
    """Refuse half an output.

    Raises:
        ClipError: crashed, when a signal ended the program.
        MissingDependencyError: It is at fault.
    """
    if ran.signal:
        check_program()
        raise ClipError(Reason.CRASHED, f"the ffmpeg program ended: {ran.signal}")


def _picture(
    container: InputContainer, index: int, which: str, seek_s: float | None, max_pixels: int
) -> Ran:
    """Have the picture decoded, as PPM, for which an expression is true, from `seek_s` on."""
    return _run(
        container.name,
        _input(container, seek_s, max_pixels)[str(index)]
        .filter("select", which)
        .filter("scale", _WIDTH, _HEIGHT, flags="bicubic")
        .output(
            "pipe:",
            format="image2pipe",
            vcodec="ppm",
            pix_fmt="rgb24",
            # pictures that change their size keep it; `-autoscale 0` is another thing from 8 on
            **{"frames:v": 1, "noautoscale": None},
        )
        .global_args("-loglevel", "error"),
    )


def _sound(
    container: InputContainer, index: int, first_s: float, last_s: float, seek_s: float | None
) -> Ran:
    """Have the sound between two times decoded, as float32; the messages tell of each piece."""
    origin_s = start_s(container)
    return _run(
        container.name,
        _input(container, seek_s, MAX_PIXELS)[str(index)]
        .filter("atrim", start=first_s + origin_s, end=last_s + origin_s)
        .filter("ashowinfo")
        .output("pipe:", format="f32le", acodec="pcm_f32le"),
    )


def _input(container: InputContainer, seek_s: float | None, max_pixels: int) -> Any:
    """Open a file in the program as `open_media` does, seeking roughly."""
    options: dict[str, Any] = {
        "protocol_whitelist": "file",
        "format_whitelist": FORMATS,
        "threads": 1,
        "max_pixels": max_pixels,
        "noaccurate_seek": None,
    }
    said = container.container_options
    options |= {name: said[name] for name in PATIENCE if name in said}
    if is_still(container):
        options["format"] = container.format.name
        options["format_whitelist"] = f"{FORMATS},{STILL_PNG}"
    if seek_s is not None and seek_s > 0:
        options["ss"] = f"{seek_s:.6f}"
    return ffmpeg.input(_URL, **options)


def _run(url: str, command: Any) -> Ran:
    """Run a command of ffmpeg-python on a file."""
    command = command.global_args(
        "-nostdin", "-hide_banner", "-copyts", "-timelimit", str(_CPU_LIMIT_S)
    )
    path = Path(url.removeprefix("file:")).absolute()
    arguments = [f"file:{path}" if word == _URL else word for word in command.compile(cmd=[])]
    return run_program(arguments, str(path))
