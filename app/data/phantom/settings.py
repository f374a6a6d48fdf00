"""What a phantom is made from, and what comes out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Phantom", "PhantomSettings"]

_SMALLEST_SIDE = 64  # px: less holds hardly a nucleus
_LARGEST_SIDE = 32_000  # px: OpenCV addresses pixels of a warped image with 16 bits


@dataclass(frozen=True)
class PhantomSettings:
    """Settings of one phantom; equal settings give equal bytes.

    Every size of the tissue is in µm, so a phantom at 0.5 µm/px looks like a 20x scan and not like a small 40x scan.

    Args:
        width: of the image, in pixels, 64 to 32 000.
        height: of the image, in pixels, 64 to 32 000.
        mpp: µm per pixel, 0.1 to 2.
        seed: of all draws, not negative; another seed is another tissue from another laboratory.
        tissue_share: share of the image that the piece of tissue covers, above 0 and at most 1; the rest is glass.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> PhantomSettings(width=2048, height=1024, mpp=0.5, seed=3)
        PhantomSettings(width=2048, height=1024, mpp=0.5, seed=3, tissue_share=0.8)
    """

    width: int = 1024
    height: int = 1024
    mpp: float = 0.25
    seed: int = 0
    tissue_share: float = 0.8

    def __post_init__(self) -> None:
        for name, side in (("width", self.width), ("height", self.height)):
            if int(side) != side or not _SMALLEST_SIDE <= side <= _LARGEST_SIDE:
                raise ValueError(
                    f"{name} must be a whole number of pixels from {_SMALLEST_SIDE} to {_LARGEST_SIDE}, got {side}"
                )
        if not (math.isfinite(self.mpp) and 0.1 <= self.mpp <= 2):
            raise ValueError(f"mpp must be from 0.1 to 2 µm per pixel, got {self.mpp}")
        if int(self.seed) != self.seed or self.seed < 0:
            raise ValueError(f"seed must be a whole number that is not negative, got {self.seed}")
        if not 0 < self.tissue_share <= 1:
            raise ValueError(f"tissue_share must be above 0 and at most 1, got {self.tissue_share}")


@dataclass(frozen=True, eq=False)
class Phantom:
    """Artificial tissue and the truth about its nuclei.

    Attributes:
        image: uint8, shape (H, W, 3), RGB.
        labels: int32, shape (H, W); 0 is background, nuclei are 1 to N without a gap, each in one piece.
        mpp: µm per pixel of both.
    """

    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]
    mpp: float
