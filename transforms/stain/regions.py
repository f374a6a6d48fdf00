"""Holes and pieces of a mask, by their area."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["fill_small_holes", "remove_small_objects"]


def fill_small_holes(mask: np.ndarray, max_area: float) -> np.ndarray:
    """Fill the holes of a mask that are at most ``max_area`` pixels large.

    Args:
        mask: bool, shape (H, W).
        max_area: largest hole that is filled, in pixels.

    Returns:
        bool, shape (H, W).
    """
    count, components, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    if count == 1:
        return mask
    height, width = mask.shape
    left, top, w, h, area = stats.T
    inside = (left > 0) & (top > 0) & (left + w < width) & (top + h < height)
    hole = inside & (area <= max_area)
    hole[0] = False  # component 0 is the mask itself
    return mask | hole[components]


def remove_small_objects(mask: np.ndarray, min_area: float) -> np.ndarray:
    """Remove the pieces of a mask that are smaller than ``min_area`` pixels.

    Args:
        mask: bool, shape (H, W).
        min_area: smallest piece that stays, in pixels.

    Returns:
        bool, shape (H, W).
    """
    _, components, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    large = stats[:, cv2.CC_STAT_AREA] >= min_area
    large[0] = False  # component 0 is what lies outside the mask
    return large[components]
