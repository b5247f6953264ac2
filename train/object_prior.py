"""OGL: where ImageNet's ResNet18 sees anything at all (EZ-VSL, section 3.3). It hears nothing."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ..weights import weights_dir
from .augment import normalise_frames
from .clips import squeeze
from .controls import Floats
from .encoders import load_imagenet, resnet18
from .geometry import Geometry, cell_centres, upsample

_IMAGE_PX = 224


class ObjectPrior:
    """The network, ready for frames."""

    def __init__(self, geometry: Geometry = "rf-centred") -> None:
        """Load the weights from the weights folder; nothing is fetched.

        Args:
            geometry: Where the map's cells lie; see `geometry.upsample`.

        Raises:
            MissingDependencyError: If they are not there.
        """
        self._geometry = geometry
        self._encoder = resnet18().eval()
        load_imagenet(self._encoder, (str(weights_dir()),))
        self._centres_px = cell_centres(self._encoder, _IMAGE_PX)

    @torch.inference_mode()
    def __call__(self, frame: NDArray[np.uint8], size_px: int = _IMAGE_PX) -> Floats:
        """Return the object map of a frame.

        Args:
            frame: `(H, W, 3)` uint8 RGB.
            size_px: Side of the result, the whole frame.

        Returns:
            `(size_px, size_px)`: mean of the last feature map's channels, 0 or more.
        """
        square = squeeze(Image.fromarray(frame), (_IMAGE_PX, _IMAGE_PX))
        pixels = torch.from_numpy(square.copy()).permute(2, 0, 1)[None].float()
        activity = self._encoder(normalise_frames(pixels)).abs().mean(1).numpy()
        size = (size_px, size_px)
        maps = upsample(activity, size, self._geometry, self._centres_px, _IMAGE_PX)
        object_map: Floats = maps[0]
        return object_map
