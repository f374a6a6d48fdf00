"""Stain normalisation by mean and spread of each channel of CIE LAB (Reinhard et al., "Color Transfer between Images",
IEEE Computer Graphics and Applications 2001)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from .pixelwise import check_colors, map_colors

__all__ = ["REINHARD_TARGET", "ReinhardStatistics", "apply_reinhard", "fit_reinhard"]

# Less spread, in units of CIE LAB, is that of a single colour: there is nothing to scale.
_LEAST_STD = 0.05


@dataclass(frozen=True)
class ReinhardStatistics:
    """Colours of tissue, in CIE LAB (L from 0 to 100) under the illuminant D65.

    Args:
        mean: of L, a and b.
        std: standard deviations of L, a and b.

    Raises:
        ValueError: there are not three of each, one is not finite, or a standard deviation is not positive.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        # Configurations and records hold lists.
        for name in ("mean", "std"):
            values = tuple(float(value) for value in getattr(self, name))
            if len(values) != 3 or not all(math.isfinite(value) for value in values):
                raise ValueError(f"{name} must be three finite values, of L, a and b, got {values}")
            object.__setattr__(self, name, values)
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")


REINHARD_TARGET = ReinhardStatistics(mean=(148.60 / 2.55, 169.30 - 128, 105.97 - 128), std=(41.56 / 2.55, 9.01, 6.67))
"""The reference in common use, found in many public programs that normalise H&E by this method. They have it in
OpenCV's 8-bit LAB: means 148.60, 169.30, 105.97 and standard deviations 41.56, 9.01, 6.67."""


def fit_reinhard(pixels: np.ndarray) -> ReinhardStatistics:
    """Measure the colours of tissue.

    Args:
        pixels: uint8, shape (N, 3), RGB, of tissue only.

    Raises:
        ValueError: there are no pixels, or a channel of CIE LAB hardly varies, as in a single colour or in grey.
    """
    check_colors(pixels)
    if not len(pixels):
        raise ValueError("there are no pixels of tissue to measure the stain by")
    lab = map_colors(pixels, _rgb_to_lab)
    mean, std = lab.mean(axis=0, dtype=np.float64), lab.std(axis=0, dtype=np.float64)
    if std.min() < _LEAST_STD:
        raise ValueError(f"tissue must vary in L, a and b to be scaled, got standard deviations {std.round(3)}")
    return ReinhardStatistics(tuple(mean), tuple(std))


def apply_reinhard(
    rgb: np.ndarray, source: ReinhardStatistics, target: ReinhardStatistics = REINHARD_TARGET
) -> np.ndarray:
    """Give tissue the mean and the spread of other tissue: LAB' = (LAB - mean) / std * std' + mean'.

    Glass is shifted like all else, and comes out tinted. A network that is to see normalised images should be trained
    on tissue that was normalised to the same target. Normalising at prediction only is no sure gain: trials with
    networks that were not have come out worse as well as slightly better.

    Args:
        rgb: uint8, shape (..., 3), with the tissue that ``source`` was measured on.
        source: of all tissue of the slide, not of a tile.
        target: what it becomes.

    Returns:
        uint8, of the same shape. Colours that RGB does not hold are clipped. With the source for target, values stay
        within 1 of what they were (OpenCV interpolates in a table of CIE LAB).
    """
    scale = np.divide(target.std, source.std)
    shift = np.subtract(target.mean, scale * source.mean)
    matrix = np.column_stack([np.diag(scale), shift]).astype(np.float32)
    return map_colors(rgb, lambda part: _lab_to_rgb(cv2.transform(_rgb_to_lab(part), matrix)))


def _rgb_to_lab(rgb: np.ndarray) -> np.ndarray:
    """uint8 to CIE LAB, float32: 8-bit LAB would have but some 30 steps in a channel of tissue."""
    return cv2.cvtColor(rgb.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)


def _lab_to_rgb(lab: np.ndarray) -> np.ndarray:
    light = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    return np.rint(light.clip(0, 1) * np.float32(255)).astype(np.uint8)
