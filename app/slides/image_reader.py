"""A plain image as a slide of one level, held in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ..data.images import read_image
from .backend import plausible_mpp

__all__ = ["ImageBackend"]

_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_UM_PER_UNIT = {2: 25400.0, 3: 1e4}


class ImageBackend:
    """An image file. Only TIFF carries a scale that can be believed.

    Raises:
        InputError: see :func:`nucleosynth.data.images.read_image`.
    """

    def __init__(self, path: Path) -> None:
        self._pixels = read_image(path)
        self.mpp = _tiff_mpp(path)
        self.level_dimensions = [(self._pixels.shape[1], self._pixels.shape[0])]

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """See :meth:`nucleosynth.slides.backend.SlideBackend.read`."""
        return self._pixels[y : y + height, x : x + width].copy()

    def close(self) -> None:
        self._pixels = np.empty((0, 0, 3), np.uint8)


def _tiff_mpp(path: Path) -> float | None:
    with Image.open(path) as image:
        if image.format != "TIFF":
            return None
        tags = image.tag_v2
        unit = _UM_PER_UNIT.get(tags.get(_RESOLUTION_UNIT, 2))
        x, y = (float(tags.get(tag, 0)) for tag in (_X_RESOLUTION, _Y_RESOLUTION))
    return plausible_mpp(unit / x, unit / y) if unit and x > 0 and y > 0 else None
