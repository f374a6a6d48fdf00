"""What a library that reads slides must offer to :class:`nucleosynth.slides.reader.SlideReader`."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

__all__ = ["SlideBackend", "plausible_mpp"]

MPP_RANGE = (0.05, 20.0)  # Beyond it a resolution is a default such as 72 dpi (353 µm/px), not a microscope's.
ANISOTROPY = 0.05


class SlideBackend(Protocol):
    """An open slide, read in pixels of its levels.

    Attributes:
        mpp: µm per pixel of level 0, or ``None`` where the file does not say.
        level_dimensions: (width, height) of each level, in pixels.
    """

    mpp: float | None
    level_dimensions: list[tuple[int, int]]

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Read a rectangle that lies inside a level, in pixels of that level.

        Returns:
            uint8, shape (height, width, 3), RGB on white, the caller's own.

        Raises:
            InputError: the file is damaged there.
        """
        ...

    def close(self) -> None: ...


def plausible_mpp(x: float | None, y: float | None) -> float | None:
    """The scale of a slide from its horizontal and vertical scale, or ``None`` if they cannot be those of tissue.

    Args:
        x, y: µm per pixel; their mean is taken, unless they differ by more than 5 %.
    """
    if x is None or y is None or not (math.isfinite(x) and math.isfinite(y)):
        return None
    mean = (x + y) / 2
    if not MPP_RANGE[0] <= mean <= MPP_RANGE[1] or abs(x - y) > ANISOTROPY * mean:
        return None
    return mean
