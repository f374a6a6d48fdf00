"""Resampling of regions at exact sub-pixel positions, for any ratio of scales.

A region is the cubic interpolant (Keys, a = -1/2) of its pixels, averaged over the part of an output pixel that is
wider than a source pixel. So it is plain cubic interpolation when magnifying, nothing at all at equal scale, and in
essence area averaging when reducing. Linear ramps are reproduced exactly at every ratio, and the mean is kept.

Positions count pixel edges: pixel i covers [i, i + 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.sparse import csr_matrix

__all__ = ["AxisPlan", "plan_axis", "resample"]


@dataclass(frozen=True)
class AxisPlan:
    """How one axis is resampled.

    Attributes:
        first: first source pixel that is needed.
        last: one past the last source pixel that is needed.
        weights: float32, shape (count, last - first); each row sums to 1.
        inside: bool, shape (count,); whether the centre of an output pixel lies on the source.
    """

    first: int
    last: int
    weights: csr_matrix
    inside: np.ndarray


def plan_axis(start: float, step: float, count: int, extent: int) -> AxisPlan:
    """Weights of the source pixels in ``count`` output pixels; beyond its edge the source repeats its last pixel.

    Args:
        start: where the first output pixel begins, in source pixels.
        step: source pixels per output pixel; above 1 reduces, below 1 magnifies.
        count: number of output pixels.
        extent: number of source pixels.
    """
    if step <= 0 or count < 1 or extent < 1:
        raise ValueError(f"step, count and extent must be positive, got {step}, {count} and {extent}")
    centres = start + (np.arange(count) + 0.5) * step
    width = max(step - 1.0, 0.0)
    lowest = np.floor(centres - width / 2 - 0.5).astype(np.int64) - 1
    columns = lowest[:, None] + np.arange(int(np.ceil(width)) + 4)
    offsets = (centres - 0.5)[:, None] - columns
    if width < 1e-6:
        values = _cubic(offsets)
    else:
        values = (_cubic_integral(offsets + width / 2) - _cubic_integral(offsets - width / 2)) / width
    values /= values.sum(axis=1, keepdims=True)
    columns = np.clip(columns, 0, extent - 1)
    first, last = int(columns.min()), int(columns.max()) + 1
    rows = np.repeat(np.arange(count), columns.shape[1])
    entries = (values.astype(np.float32).ravel(), (rows, columns.ravel() - first))
    return AxisPlan(first, last, csr_matrix(entries, shape=(count, last - first)), (centres >= 0) & (centres < extent))


def resample(region: np.ndarray, rows: AxisPlan, columns: AxisPlan) -> np.ndarray:
    """Apply the plans of both axes.

    Args:
        region: uint8, shape (rows.last - rows.first, columns.last - columns.first, 3).

    Returns:
        uint8, shape (rows' count, columns' count, 3); white where the source has ended.
    """
    height, width = len(rows.inside), len(columns.inside)
    by_rows = rows.weights @ region.reshape(region.shape[0], -1).astype(np.float32)
    # OpenCV transposes pixels of three channels; NumPy, for which these are three axes, takes several times as long.
    by_rows = cv2.transpose(by_rows.reshape(height, -1, 3)).reshape(region.shape[1], -1)
    both = columns.weights @ by_rows
    np.clip(np.rint(both, out=both), 0, 255, out=both)
    result = cv2.transpose(both.astype(np.uint8).reshape(width, height, 3))
    result[~rows.inside] = 255
    result[:, ~columns.inside] = 255
    return result


def _cubic(x: np.ndarray) -> np.ndarray:
    """The cubic convolution kernel of Keys (1981) with a = -1/2."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _cubic_integral(x: np.ndarray) -> np.ndarray:
    """Integral of the kernel from 0 to ``x``."""
    size = np.minimum(np.abs(x), 2.0)
    near = ((0.375 * size - 5 / 6) * size * size + 1) * size
    far = (((-0.125 * size + 5 / 6) * size - 2) * size + 2) * size - 1 / 6
    return np.sign(x) * np.where(size < 1, near, far)
