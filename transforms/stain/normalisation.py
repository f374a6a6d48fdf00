"""The two methods of stain normalisation under one name: measure the stain of a slide, then make it that of another."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from .macenko import MACENKO_TARGET, MacenkoStatistics, apply_macenko, fit_macenko
from .reinhard import REINHARD_TARGET, ReinhardStatistics, apply_reinhard, fit_reinhard

__all__ = ["STAIN_TARGETS", "StainStatistics", "fit_stain", "normalize_stain"]

StainStatistics: TypeAlias = ReinhardStatistics | MacenkoStatistics

STAIN_TARGETS: dict[str, StainStatistics] = {"reinhard": REINHARD_TARGET, "macenko": MACENKO_TARGET}
"""Methods, and the published reference that each normalises to if no other is given."""


def fit_stain(pixels: np.ndarray, method: str) -> StainStatistics:
    """Measure the stain of tissue.

    Args:
        pixels: uint8, shape (N, 3), RGB, of tissue only.
        method: one of ``STAIN_TARGETS``.

    Raises:
        ValueError: there is no such method, or too little stain in the pixels to measure.
    """
    if method not in STAIN_TARGETS:
        raise ValueError(f"method must be one of {', '.join(STAIN_TARGETS)}, got {method!r}")
    return fit_reinhard(pixels) if method == "reinhard" else fit_macenko(pixels)


def normalize_stain(rgb: np.ndarray, source: StainStatistics, target: StainStatistics) -> np.ndarray:
    """Make the stain of an image that of another; see :func:`apply_reinhard` and :func:`apply_macenko`.

    Args:
        rgb: uint8, shape (..., 3).
        source: of the tissue that the image belongs to.
        target: what it becomes, by the same method.

    Returns:
        uint8, of the same shape.

    Raises:
        ValueError: ``source`` and ``target`` are of two methods.
    """
    if isinstance(source, ReinhardStatistics) and isinstance(target, ReinhardStatistics):
        return apply_reinhard(rgb, source, target)
    if isinstance(source, MacenkoStatistics) and isinstance(target, MacenkoStatistics):
        return apply_macenko(rgb, source, target)
    names = type(source).__name__, type(target).__name__
    raise ValueError(f"source and target must be of one method, got {names[0]} and {names[1]}")
