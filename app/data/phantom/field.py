"""Random fields and the grids they live on: the material that tissue is drawn with.

Coordinates are in µm from the upper left corner of the image, (row, column). A pixel's value is the one at its centre.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["FAR", "Field", "Grid", "bell", "exceeding", "smoothstep"]

Field = npt.NDArray[np.float32]

FAR = 1e3
"""µm; the distance that stands for "nowhere near"."""


@dataclass(frozen=True)
class Grid:
    """A raster of the image's extent.

    Args:
        height: in pixels.
        width: in pixels.
        mpp: µm per pixel.
    """

    height: int
    width: int
    mpp: float

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def extent(self) -> tuple[float, float]:
        """(height, width) in µm."""
        return self.height * self.mpp, self.width * self.mpp

    def coarser(self, mpp: float) -> Grid:
        """A grid of ``mpp`` µm per pixel that covers this one, by up to a pixel more."""
        height, width = self.extent
        return Grid(int(np.ceil(height / mpp)), int(np.ceil(width / mpp)), mpp)

    def axes(self) -> tuple[Field, Field]:
        """Centres of the pixels in µm: rows with shape (H, 1), columns with shape (1, W)."""
        rows = (np.arange(self.height, dtype=np.float32) + 0.5) * self.mpp
        columns = (np.arange(self.width, dtype=np.float32) + 0.5) * self.mpp
        return rows[:, None], columns[None, :]

    def window(self, center: tuple[float, float], reach: float) -> tuple[slice, slice]:
        """Slices of the pixels within ``reach`` µm of ``center`` (µm), cut off at the image; may be empty."""
        slices = []
        for middle, size in zip(center, self.shape, strict=True):
            start = int(np.clip(np.floor((middle - reach) / self.mpp), 0, size))
            stop = int(np.clip(np.ceil((middle + reach) / self.mpp), start, size))
            slices.append(slice(start, stop))
        return slices[0], slices[1]

    def at(self, values: Field, points: npt.NDArray[np.float64]) -> Field:
        """Values of a field at ``points``, shape (N, 2) in µm; outside the grid, of its nearest pixel."""
        index = np.floor(points / self.mpp).astype(int)
        return values[np.clip(index[:, 0], 0, self.height - 1), np.clip(index[:, 1], 0, self.width - 1)]

    def refine(self, values: Field, onto: Grid) -> Field:
        """Bilinear interpolation of a field of this grid on another one, shape ``onto.shape``."""
        scale = onto.mpp / self.mpp
        shift = 0.5 * scale - 0.5  # pixel centres, not corners, lie on whole numbers in OpenCV
        matrix = np.array([[scale, 0, shift], [0, scale, shift]], np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (onto.width, onto.height)
        return cv2.warpAffine(values, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)

    def noise(self, rng: np.random.Generator, period: float, octaves: int = 1) -> Field:
        """Smooth noise: a lattice of normal draws, interpolated; octaves add halved periods at 0.6 of the strength.

        Octaves finer than a pixel are left out, as the camera would not see them.

        Args:
            rng: where the draws come from.
            period: distance of the lattice's points in µm.
            octaves: how many lattices are added, 1 or more.

        Returns:
            float32, shape (H, W), mean near 0 and standard deviation near 1.
        """
        total = np.zeros(self.shape, np.float32)
        power = 0.0
        for octave in range(octaves):
            cell = period / 2**octave / self.mpp
            if octave and cell < 1:
                break
            gain = 0.6**octave
            total += gain * _lattice(rng, self.shape, max(cell, 1.0))
            power += gain**2
        total *= np.float32(power**-0.5)
        return total


def _lattice(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> Field:
    rows, columns = int(np.ceil(shape[0] / cell)) + 3, int(np.ceil(shape[1] / cell)) + 3
    knots = rng.standard_normal((rows, columns), dtype=np.float32)
    shift = rng.uniform(1, 2, size=2)
    matrix = np.array([[1 / cell, 0, shift[1]], [0, 1 / cell, shift[0]]], np.float32)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    # Interpolation between independent knots lowers the variance to about 0.6, hence the factor.
    return 1.3 * cv2.warpAffine(knots, matrix, (shape[1], shape[0]), flags=flags, borderMode=cv2.BORDER_REFLECT)


def smoothstep(values: Field, low: float, high: float) -> Field:
    """0 below ``low``, 1 above ``high``, a smooth rise between them."""
    ramp = (values - np.float32(low)) * np.float32(1 / (high - low))
    np.clip(ramp, 0, 1, out=ramp)
    return ramp * ramp * (3 - 2 * ramp)


def bell(values: Field, center: float, width: float) -> Field:
    """1 at ``center``, falling off as a Gaussian of standard deviation ``width``."""
    scaled = (values - np.float32(center)) * np.float32(1 / width)
    return np.exp(np.float32(-0.5) * scaled * scaled)


def exceeding(values: Field, share: float, within: npt.NDArray[np.bool_]) -> Field:
    """A field shifted so that it is positive on ``share`` (0 to 1) of the pixels ``within``, if there are any."""
    inside = values[within]
    return values - np.float32(np.quantile(inside, 1 - share) if inside.size else FAR)
