"""Ground truth as masks: pictures whose pixels other than 0 belong to what sounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ...errors import InputError
from ...reading import PICTURE_DAMAGE, open_regular
from ..benchmarks import SIZE_PX, Truth
from ..score.binarize import Bools

_NO_BOX = np.zeros((0, 4))


def read_mask(path: Path) -> Bools:
    """Read a mask, `(H, W)`: true where any channel of the picture is not 0.

    Raises:
        InputError: It is missing, not a picture, or damaged.
    """
    try:
        with open_regular(path) as file, Image.open(file) as picture:
            pixels = np.asarray(picture)
    except UnidentifiedImageError:
        raise InputError(f"{path} is not a picture; the mask of a clip is a PNG") from None
    except MemoryError:  # of a chunk that says it is gigabytes long, and is not there
        raise InputError(f"{path} is damaged: it asks for an absurd amount of memory") from None
    except (*PICTURE_DAMAGE, Image.DecompressionBombError) as error:
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(f"{path}: {why}") from None
    return np.asarray(pixels.any(2) if pixels.ndim == 3 else pixels != 0)


class MaskFiles(Mapping[str, Bools]):
    """Masks of clips, read once and kept as bits.

    Attributes:
        shapes: Height and width of each.
        bare: Clips whose mask is empty.
    """

    def __init__(self, paths: Mapping[str, Path]) -> None:
        """Read the masks.

        Raises:
            InputError: One is missing or not a picture.
        """
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.bare: list[str] = []
        self._bits: dict[str, NDArray[np.uint8]] = {}
        for name, path in paths.items():
            mask = read_mask(path)
            self.shapes[name], self._bits[name] = mask.shape, np.packbits(mask)
            if not mask.any():
                self.bare.append(name)

    def __getitem__(self, name: str) -> Bools:
        """Return the mask of a clip, `(H, W)`."""
        shape = self.shapes[name]
        bits = np.unpackbits(self._bits[name], count=int(np.prod(shape)))
        return np.asarray(bits.reshape(shape), bool)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the clips."""
        return iter(self._bits)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._bits)


def find_masks(folder: Path) -> dict[str, Path]:
    """Return the masks in a folder and all below it, by the stems of their names.

    Raises:
        InputError: Two have the same name.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.png")):
        if (first := found.setdefault(path.stem, path)) is not path:
            raise InputError(f"{path} and {first}: two masks of {path.stem}; remove one")
    return found


def draw_masks(masks: Sequence[NDArray[Any]]) -> Bools:
    """Bring masks to the size of maps by their nearest pixels; what is empty becomes no pixel.

    Args:
        masks: `(H, W)` bool each.

    Returns:
        `(n, 224, 224)`.
    """
    drawn = np.zeros((len(masks), SIZE_PX, SIZE_PX), bool)
    for truth, mask in zip(drawn, masks, strict=True):
        if mask.size:
            rows, columns = (_nearest(side) for side in mask.shape)
            truth[:] = mask[rows][:, columns]
    return drawn


def _nearest(side: int) -> NDArray[np.int64]:
    """Return the pixel of a side of `side` pixels that each pixel of a map's side lies in."""
    return ((np.arange(SIZE_PX) + 0.5) * side / SIZE_PX).astype(np.int64)


def show_mask(mask: NDArray[Any]) -> Truth:
    """Return what to draw on a frame: the outline of the mask."""
    return Truth(_NO_BOX, _NO_BOX, np.asarray(mask, bool))
