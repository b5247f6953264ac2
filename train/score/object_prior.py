"""OGL: where ImageNet's ResNet18 sees anything at all (EZ-VSL, section 3.3). It hears nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ...cache.store import Cache
from ...weights import require, weights_dir
from ..choices import DEFAULT_GEOMETRY, MAPS_AT_A_TIME
from ..data.augment import normalise_frames
from ..data.batches import Pick, Stream
from ..data.clips import ClipReader, square, squeeze
from ..data.sources import reading_threads
from ..device import choose_device
from ..nets.encoders import IMAGENET, IMAGENET_NETWORK, load_imagenet, resnet18
from ..nets.geometry import Geometry, upsample
from .controls import Floats32

_IMAGE_PX = 224


class ObjectPrior:
    """The network, ready for frames.

    Attributes:
        digest: Of its weights.
        centres_px: `(7,)` centres of the map's cells in its square image.
        image_px: Side of that image.
    """

    def __init__(self, geometry: Geometry = DEFAULT_GEOMETRY, device: str = "cpu") -> None:
        """Load the weights from the weights folder; nothing is fetched.

        Args:
            geometry: Where the map's cells lie; see `geometry.upsample`.
            device: `auto`, `cpu`, `cuda`, ...

        Raises:
            MissingDependencyError: If they are not there.
        """
        self._geometry = geometry
        self._device = choose_device(device)
        folder = (str(weights_dir()),)
        require({IMAGENET_NETWORK: (IMAGENET,)}, folder)  # a network for nothing takes a while
        self._encoder = resnet18().eval()
        self.digest = load_imagenet(self._encoder, folder)
        self.centres_px = self._encoder.cell_centres(_IMAGE_PX)
        self.image_px = _IMAGE_PX
        self._encoder.to(self._device)

    def __call__(self, frame: NDArray[np.uint8], size_px: int = _IMAGE_PX) -> Floats32:
        """Return the object map of a frame.

        Args:
            frame: `(H, W, 3)` uint8 RGB.
            size_px: Side of the result, the whole frame.

        Returns:
            `(size_px, size_px)`: mean of the last feature map's channels, 0 or more.
        """
        squared = squeeze(Image.fromarray(frame), (_IMAGE_PX, _IMAGE_PX))
        activity = self._activity(torch.from_numpy(squared.copy())[None])
        size = (size_px, size_px)
        maps = upsample(activity, size, self._geometry, self.centres_px, _IMAGE_PX)
        object_map: Floats32 = maps[0]
        return object_map

    def activities(
        self,
        cache: Cache,
        rows: NDArray[np.int64],
        batch_size: int = MAPS_AT_A_TIME,
        progress: Callable[[int, int], None] | None = None,
    ) -> Floats32:
        """Return the object maps of clips' frames before they are brought to image size.

        Args:
            cache: The clips.
            rows: `(n,)` their rows.
            batch_size: Frames at a time.
            progress: Called with (maps made, maps wanted).

        Returns:
            `(n, 7, 7)`.
        """
        reader = ClipReader(cache, rows, square(_IMAGE_PX))
        nothing = np.zeros(0, np.int64)
        cuts = np.split(np.arange(len(rows)), range(batch_size, len(rows), batch_size))
        parts: list[Floats32] = []
        batches = Stream(reader, reading_threads(None)).batches(
            Pick(frames, frames, nothing) for frames in cuts
        )
        if progress:
            progress(0, len(rows))
        for number, batch in enumerate(batches):
            parts.append(self._activity(batch.frames))
            if progress:
                progress(min((number + 1) * batch_size, len(rows)), len(rows))
        return np.concatenate(parts)

    @torch.inference_mode()
    def _activity(self, frames: torch.Tensor) -> Floats32:
        """Look at squares `(n, 224, 224, 3)` uint8, `(n, 7, 7)`."""
        pixels = frames.to(self._device).permute(0, 3, 1, 2).float()
        activity: Floats32 = self._encoder(normalise_frames(pixels)).abs().mean(1).cpu().numpy()
        return activity
