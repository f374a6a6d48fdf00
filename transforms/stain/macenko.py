"""Stain normalisation by the slide's own stain vectors (Macenko et al., "A Method for Normalizing Histology Slides for
Quantitative Analysis", ISBI 2009)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from .deconvolution import od_to_rgb, rgb_to_od
from .pixelwise import check_colors, map_colors

__all__ = ["MACENKO_TARGET", "MacenkoStatistics", "apply_macenko", "fit_macenko"]

Vector = tuple[float, float, float]

# Stains whose vectors lie nearer than this, as the sine of the angle between them, cannot be told apart: camera noise
# alone opens an angle in a single colour. Haematoxylin and eosin have 0.3 to 0.6.
_LEAST_SINE = 0.02
_LEAST_MAXIMUM = 0.01
_MAXIMUM_PERCENTILE = 99.0


@dataclass(frozen=True)
class MacenkoStatistics:
    """Stains of a slide, in natural optical density, -ln(I / 255).

    Args:
        stains: optical density in red, green and blue of haematoxylin, then of eosin, as unit vectors; other lengths
            are made 1.
        maxima: concentrations of haematoxylin and eosin (the 99th percentile of each), along these vectors.

    Raises:
        ValueError: shapes are others, values not finite, the vectors parallel, or a maximum is not positive.
    """

    stains: tuple[Vector, Vector]
    maxima: tuple[float, float]

    def __post_init__(self) -> None:
        # Configurations and records hold lists.
        stains = np.asarray(self.stains, np.float64)
        if stains.shape != (2, 3) or not np.isfinite(stains).all() or not np.linalg.norm(stains, axis=1).all():
            raise ValueError(f"stains must be two vectors of three finite values, not all 0, got {self.stains}")
        stains /= np.linalg.norm(stains, axis=1, keepdims=True)
        if np.linalg.norm(np.cross(*stains)) < _LEAST_SINE:
            raise ValueError(f"stains must be two that differ, got {stains.round(4).tolist()}")
        maxima = tuple(float(value) for value in self.maxima)
        if len(maxima) != 2 or not all(math.isfinite(value) and value > 0 for value in maxima):
            raise ValueError(f"maxima must be two positive values, got {maxima}")
        object.__setattr__(self, "stains", tuple(tuple(vector) for vector in stains.tolist()))
        object.__setattr__(self, "maxima", maxima)

    def basis(self) -> np.ndarray:
        """Haematoxylin, eosin, and the unit normal of their plane as columns: float64, shape (3, 3)."""
        haematoxylin, eosin = np.asarray(self.stains)
        normal = np.cross(haematoxylin, eosin)
        return np.column_stack([haematoxylin, eosin, normal / np.linalg.norm(normal)])


MACENKO_TARGET = MacenkoStatistics(stains=((0.5626, 0.7201, 0.4062), (0.2159, 0.8012, 0.5581)), maxima=(1.9705, 1.0308))
"""The reference of the authors' own program (its ``HERef`` and ``maxCRef``), in common use since."""


def fit_macenko(pixels: np.ndarray, beta: float = 0.15, alpha: float = 1.0) -> MacenkoStatistics:
    """Find the stain vectors of tissue, and how much of each stain there is.

    The plane that fits the optical densities best goes through the origin along the two largest singular vectors. In
    it stain vectors are the outermost directions, but for ``alpha`` percent of the pixels on each side. The one that
    absorbs more red is haematoxylin.

    Unlike the authors' program, which takes 240 for white, and leaves out a pixel that any channel puts below
    ``beta``, this takes 255, as all of this package, and leaves out by the mean of the channels: eosin lets red light
    pass, and where it lies alone it would be left out.

    Args:
        pixels: uint8, shape (N, 3), RGB, of tissue only.
        beta: mean optical density of the channels below which a pixel says too little about the stains' hue.
        alpha: percentile of the robust extremes, 0 to below 50.

    Raises:
        ValueError: no pixel reaches ``beta``, or there are no two stains to tell apart, as in a single colour.
    """
    if not 0 <= alpha < 50:
        raise ValueError(f"alpha must lie in [0, 50), got {alpha}")
    check_colors(pixels)
    od = rgb_to_od(pixels.reshape(-1, 1, 3)).reshape(-1, 3) if len(pixels) else np.zeros((0, 3), np.float32)
    stained = od[od.mean(axis=1) >= beta]
    if not len(stained):
        raise ValueError(f"there are no pixels of an optical density of {beta} to find stains by")
    low, high = _extreme_directions(stained, alpha)
    haematoxylin, eosin = (low, high) if low[0] > high[0] else (high, low)
    stains = np.stack([haematoxylin, eosin])
    if np.linalg.norm(np.cross(*stains)) < _LEAST_SINE:
        raise ValueError("there is one colour only, and no two stains to tell apart")
    concentrations = od @ np.linalg.pinv(stains).astype(np.float32)
    maxima = np.percentile(concentrations, _MAXIMUM_PERCENTILE, axis=0)
    if maxima.min() < _LEAST_MAXIMUM:
        raise ValueError(f"there must be two stains, got concentrations of {maxima.round(3)} at most")
    return MacenkoStatistics((_vector(haematoxylin), _vector(eosin)), (float(maxima[0]), float(maxima[1])))


def apply_macenko(rgb: np.ndarray, source: MacenkoStatistics, target: MacenkoStatistics = MACENKO_TARGET) -> np.ndarray:
    """Exchange the stain vectors, and scale the concentrations from the source's maxima to the target's.

    Unlike the authors' program, this keeps what no mixture of the two stains explains (the component of optical density
    normal to their plane: pigment, ink, a lamp's colour) as it is, so that the source for target changes nothing. All
    of it is one 3 x 3 matrix on optical density: white stays white.

    A network that is to see normalised images should be trained on tissue that was normalised to the same target.
    Normalising at prediction only is no sure gain: trials with networks that were not have come out worse as well as
    slightly better.

    Args:
        rgb: uint8, shape (..., 3), with the tissue that ``source`` was measured on.
        source: of all tissue of the slide, not of a tile.
        target: what it becomes.

    Returns:
        uint8, of the same shape.
    """
    factors = [*np.divide(target.maxima, source.maxima), 1.0]
    matrix = (target.basis() @ np.diag(factors) @ np.linalg.inv(source.basis())).astype(np.float32)
    return map_colors(rgb, lambda part: od_to_rgb(cv2.transform(rgb_to_od(part), matrix)))


def _extreme_directions(od: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors at the percentiles alpha and 100 - alpha of the angle in the plane that fits od, shape (N, 3)."""
    # Singular vectors of od are the eigenvectors of a matrix of 3 x 3, in ascending order.
    exact = od.astype(np.float64)
    moments = exact.T @ exact
    second, first = np.linalg.eigh(moments)[1][:, 1:].T
    first = first * np.sign(first.sum())  # Into the octant of the data, so that no angle lies near the jump at 180°.
    plane = np.stack([first, second])
    along, across = plane.astype(np.float32) @ od.T
    low, high = np.deg2rad(np.percentile(np.rad2deg(np.arctan2(across, along)), [alpha, 100 - alpha]))
    return np.array([np.cos(low), np.sin(low)]) @ plane, np.array([np.cos(high), np.sin(high)]) @ plane


def _vector(values: np.ndarray) -> Vector:
    return float(values[0]), float(values[1]), float(values[2])
