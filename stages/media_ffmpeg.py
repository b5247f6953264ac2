"""Decoding with the `ffmpeg` program, driven by ffmpeg-python.

PyAV finds the packets, as for its own decoding; the program decodes exactly those.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from typing import Any

import ffmpeg
import imageio_ffmpeg
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from ..errors import ClipError, MissingDependencyError, Reason
from .media_open import FORMATS, MAX_PIXELS, STILL, sizes_in
from .media_packets import start_s
from .media_plan import SHORT_SIDE, Target
from .media_sound import PREROLL_S, SoundWindow

_URL = "the file"  # ffmpeg-python hashes names, and cannot those that are not UTF-8
_CPU_LIMIT_S = 600  # of one call, should nobody be left to end it

# Both expressions see the picture after the program has turned it upright.
_SHORT = "min(iw*sar,ih)"
_WIDTH = f"floor(iw*sar*{SHORT_SIDE}/{_SHORT}+0.5)"
_HEIGHT = f"floor(ih*{SHORT_SIDE}/{_SHORT}+0.5)"
_PIECE = re.compile(rb"\] n:\d+ pts:(-?\d+) .* channels:(\d+) .* rate:(\d+) nb_samples:(\d+) ")


@functools.cache
def program() -> str:
    """Return the `ffmpeg` of the system, else the one inside the package imageio-ffmpeg.

    Raises:
        MissingDependencyError: There is neither.
    """
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:
        raise MissingDependencyError(
            "no ffmpeg program: install ffmpeg, or use --decoder pyav"
        ) from None


@functools.cache
def version() -> str:
    """Return the program's version.

    Raises:
        MissingDependencyError: There is no program.
    """
    output = subprocess.run([program(), "-version"], capture_output=True, check=True).stdout
    return "ffmpeg program " + output.decode(errors="replace").split()[2]


def decode_frame(target: Target) -> NDArray[np.uint8]:
    """Decode the wanted picture.

    Returns:
        (H, W, 3) uint8 RGB, upright, square pixels, short side 256.

    Raises:
        ClipError: decode_error, too_large.
        MissingDependencyError: There is no program.
    """
    output, messages = b"", b""
    for seek_s in (
        target.frame_pts_s,
        None,
    ):  # the program may miss a key frame; then from the start
        output, messages = _run(
            target.container.name,
            _input(target.container, seek_s, max_pixels=target.max_pixels)[str(target.video.index)]
            .filter("select", f"eq(pts,{target.pictures.pts})")
            .filter("scale", _WIDTH, _HEIGHT, flags="bicubic")
            .output(
                "pipe:",
                format="image2pipe",
                vcodec="ppm",
                pix_fmt="rgb24",
                **{"frames:v": 1, "autoscale": 0},
            ),
        )
        if output:
            break
    head = re.match(rb"P6\s(\d+)\s(\d+)\s255\s", output)
    if head is None:
        if refused := sizes_in(messages.decode(errors="replace")):
            raise ClipError(Reason.TOO_LARGE, refused[0])
        raise ClipError(
            Reason.DECODE_ERROR, f"the picture at {target.frame_pts_s:.3f} s cannot be decoded"
        )
    width, height = int(head[1]), int(head[2])
    return np.frombuffer(output, np.uint8, offset=head.end()).reshape(height, width, 3).copy()


def decode_sound(target: Target, first_s: float, last_s: float) -> SoundWindow:
    """Decode the sound between two times, all channels of it; damaged packets leave silence.

    Raises:
        MissingDependencyError: There is no program.
    """
    origin_s = start_s(target.sound_container)
    output, messages = _run(
        target.sound_container.name,
        _input(target.sound_container, first_s - PREROLL_S)[str(target.audio.index)]
        .filter("atrim", start=first_s + origin_s, end=last_s + origin_s)
        .filter("ashowinfo")
        .output("pipe:", format="f32le", acodec="pcm_f32le"),
    )
    window = SoundWindow(first_s, last_s)
    samples = np.frombuffer(output, np.float32)
    position = 0
    for piece in _PIECE.finditer(messages):
        pts, channels, rate_hz, count = (int(group) for group in piece.groups())
        part = samples[position : position + channels * count]
        position += channels * count
        window.add(list(part.reshape(-1, channels).T), rate_hz, pts / rate_hz - origin_s)
    return window


def _input(container: InputContainer, seek_s: float | None, max_pixels: int = MAX_PIXELS) -> Any:
    """Open a file in the program as `open_media` does, seeking roughly."""
    options: dict[str, Any] = {
        "protocol_whitelist": "file",
        "format_whitelist": FORMATS,
        "threads": 1,
        "max_pixels": max_pixels,
        "noaccurate_seek": None,
    }
    if container.format.name == STILL:
        options["format"] = STILL
    if seek_s is not None and seek_s > 0:
        options["ss"] = f"{seek_s:.6f}"
    return ffmpeg.input(_URL, **options)


def _run(url: str, command: Any) -> tuple[bytes, bytes]:
    """Run a command of ffmpeg-python on a file; return its output and its messages."""
    command = command.global_args(
        "-nostdin", "-hide_banner", "-copyts", "-timelimit", str(_CPU_LIMIT_S)
    )
    arguments = [url if word == _URL else word for word in command.compile(cmd=[program()])]
    done = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.stdout, done.stderr
