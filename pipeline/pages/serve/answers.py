"""What the page of `avpipe serve` asks for: files in, maps out. Knows nothing of the page."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ....cache.schema import AUDIO_RATE_HZ
from ....drafts import temporary_folder
from ....errors import ClipError, InputError, Reason
from ....stages.features import FeatureParams, Row
from ....stages.workers.decoder import DecoderChild
from ....train.runs.localizer import Localizer
from ....train.score.controls import Floats32, Frame
from ...localize.files import sound_around_frame
from .nearest import NearClip, Nearest

SHORT_SIDE_PX = 224
MAX_UPLOAD_MB = 64
MAX_PIXELS = 24_000_000
TIMEOUT_S = 20.0

_TROUBLES = {
    Reason.MISSING: "is gone; choose it again",
    Reason.EMPTY: "is empty",
    Reason.NOT_MEDIA: "cannot be used",
    Reason.NO_VIDEO: "has no picture",
    Reason.NO_AUDIO: "has no sound",
    Reason.TOO_SHORT: "is too short",
    Reason.TOO_LARGE: f"is larger than {MAX_PIXELS // 10**6} megapixels",
    Reason.TRUNCATED: "is cut off",
    Reason.DECODE_ERROR: "is damaged",
    Reason.TIMEOUT: f"takes longer than {TIMEOUT_S:g} s to decode",
    Reason.OOM: "needs too much memory",
    Reason.CRASHED: "brings the decoder down",
    Reason.IO_ERROR: "cannot be read",
}


@dataclass(frozen=True)
class Answer:
    """What was localized, kept so that another alpha needs no network.

    Attributes:
        frame: `(H, W, 3)` uint8 RGB, short side 224.
        av_map: `(H, W)` cosines.
        object_map: `(H, W)`.
        object_title: What the object map is.
        object_unit: What its values are.
        notices: What people should know of the sound.
        seconds: Of decoding and of the network.
        frames: Clips of the cache whose frames are nearest.
        sounds: Clips of the cache whose sounds are nearest.
    """

    frame: Frame
    av_map: Floats32
    object_map: Floats32
    object_title: str
    object_unit: str
    notices: tuple[str, ...]
    seconds: tuple[float, float]
    frames: list[NearClip]
    sounds: list[NearClip]


class Demo:
    """A run that localizes files, one after another in a thread of its own.

    The decoder's process dies with the thread that started it, and a web server's threads come and
    go.

    Attributes:
        nearest: Clips to compare with, if there are some.
    """

    def __init__(
        self,
        localizer: Localizer,
        object_title: str,
        object_unit: str,
        object_map: Callable[[Frame], Floats32],
        nearest: Nearest | None = None,
    ) -> None:
        """Keep what localizing needs.

        Args:
            localizer: The run.
            object_title: What the object map is.
            object_unit: What its values are.
            object_map: From a frame to its object map, of any size.
            nearest: Clips to compare with, if there are some.
        """
        self._localizer = localizer
        self._object_title, self._object_unit = object_title, object_unit
        self._object_map = object_map
        self.nearest = nearest
        self._child = DecoderChild(FeatureParams(max_pixels=MAX_PIXELS), timeout_s=TIMEOUT_S)
        self._thread = ThreadPoolExecutor(1, "localize")

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the thread and the decoder."""
        self._thread.shutdown(cancel_futures=True)
        self._child.close()

    def localize_pair(self, picture: str | None, sound: str | None) -> Answer:
        """Localize a sound in a picture.

        Args:
            picture: The picture's file.
            sound: The sound's file; its middle is heard.

        Raises:
            InputError: One is missing or cannot be used; in one line.
        """
        if picture is None or sound is None:
            raise InputError(f"Choose a {'sound' if picture else 'picture'} first")
        return self._thread.submit(self._found, lambda: self._pair_row(picture, sound)).result()

    def localize_clip(self, clip: str | None) -> Answer:
        """Localize the sound of a video in its middle frame; as `localize_pair`."""
        if clip is None:
            raise InputError("Choose a clip first")
        return self._thread.submit(self._found, lambda: self._row(clip, {"path": clip})).result()

    def _pair_row(self, picture: str, sound: str) -> Row:
        with temporary_folder() as folder:
            jpeg = Path(folder, "picture.jpg")
            try:
                jpeg.write_bytes(self._child.picture(picture))
            except ClipError as error:
                raise _trouble(picture, error) from None
            return self._row(sound, {"path": str(jpeg), "audio_path": sound})

    def _row(self, named: str, line: dict[str, str]) -> Row:
        try:
            return self._child.row(line)
        except ClipError as error:
            raise _trouble(named, error) from None

    def _found(self, decode: Callable[[], Row]) -> Answer:
        started = time.monotonic()
        row = decode()
        decoded = time.monotonic()
        frame = np.array(Image.open(io.BytesIO(row["frame_jpeg"])).convert("RGB"))
        sound = sound_around_frame(row, self._localizer.window_s)
        shown = _shown(frame)
        size = (shown.shape[0], shown.shape[1])
        av_map = self._localizer.localize(frame, sound, AUDIO_RATE_HZ, size=size)
        localized = time.monotonic()
        objects = Image.fromarray(self._object_map(frame))
        objects = objects.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        frames: list[NearClip] = []
        sounds: list[NearClip] = []
        if self.nearest is not None:
            embedded = self._localizer.embed(frame, sound, AUDIO_RATE_HZ)
            frames, sounds = self.nearest.like(embedded)
        return Answer(
            frame=shown,
            av_map=av_map,
            object_map=np.asarray(objects),
            object_title=self._object_title,
            object_unit=self._object_unit,
            notices=_notices(row),
            seconds=(decoded - started, localized - decoded),
            frames=frames,
            sounds=sounds,
        )


def _trouble(path: str, error: ClipError) -> InputError:
    """Return what is wrong with a file as one line for its reader."""
    told = _TROUBLES.get(error.reason, str(error.reason))
    return InputError(f"{Path(path).name} {told}" + (f" ({error.detail})" if error.detail else ""))


def _shown(frame: Frame) -> NDArray[np.uint8]:
    """Return a frame with a short side of 224 pixels."""
    scale = SHORT_SIDE_PX / min(frame.shape[:2])
    size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))


def _notices(row: Row) -> tuple[str, ...]:
    notices = []
    if row["silent"]:
        notices.append("The sound is silence: its map means nothing, nor do sounds like it.")
    elif row["short"]:
        notices.append("The sound is shorter than what the network hears: it is repeated.")
    return tuple(notices)
