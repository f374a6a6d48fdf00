"""Placing outlines in a patch with bounded overlap, each nucleus keeping its own instance id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

__all__ = ["PlacedNuclei", "place_nuclei"]

# Sub-pixel bits of OpenCV's polygon filling.
_SHIFT = 4


@dataclass(frozen=True)
class PlacedNuclei:
    """A patch of nuclei.

    Attributes:
        label: uint16, shape (H, W); 0 is background, 1 to N the nuclei.
        index: int64, shape (N,); which of the outlines that were given became nucleus 1, 2, ...
    """

    label: np.ndarray
    index: np.ndarray


def _fill(label: np.ndarray, outline: np.ndarray, number: int, max_overlap: float, min_area: float) -> bool:
    """Write one nucleus under those already there; False, and nothing written, where it does not fit."""
    height, width = label.shape
    left, top = np.floor(outline.min(axis=0)).astype(int) - 1
    right, bottom = np.ceil(outline.max(axis=0)).astype(int) + 2
    window = np.zeros((bottom - top, right - left), np.uint8)
    cv2.fillPoly(window, [np.round((outline - (left, top)) * (1 << _SHIFT)).astype(np.int32)], 1, shift=_SHIFT)
    area = cv2.countNonZero(window)
    window = window[max(-top, 0) : height - top, max(-left, 0) : width - left]
    there = label[max(top, 0) : bottom, max(left, 0) : right]
    if area < min_area or not window.any():
        return False
    seen = window.copy()
    seen[there > 0] = 0
    covered = cv2.countNonZero(window) - cv2.countNonZero(seen)
    # An instance is one piece: a nucleus that another would cut in two has no place here.
    if covered and (covered > max_overlap * area or cv2.connectedComponents(seen, connectivity=4)[0] != 2):
        return False
    there[seen > 0] = number
    return True


def place_nuclei(
    outlines: Sequence[np.ndarray],
    propose: Callable[[np.ndarray], Sequence[np.ndarray]],
    size: tuple[int, int],
    max_overlap: float,
    min_area: float,
    tries: int,
) -> PlacedNuclei:
    """Place outlines one after the other, a nucleus that does not fit being proposed another place.

    A later nucleus lies under the earlier ones, so each shows at least ``1 - max_overlap`` of its own area.

    Args:
        outlines: polygons around the origin, float, shape (V, 2) each, as (x, y) in pixels.
        propose: given the indices of outlines without a place, returns each of them at a new place in the patch.
        size: height and width of the patch, in pixels.
        max_overlap: largest share of a nucleus that may lie under others, in [0, 1].
        min_area: smallest nucleus, in pixels.
        tries: number of places that each nucleus is proposed.
    """
    if not 0 <= max_overlap <= 1:
        raise ValueError(f"max_overlap must lie in [0, 1], got {max_overlap}")
    if len(outlines) >= 2**16:
        raise ValueError(f"a patch holds at most 65535 nuclei, got {len(outlines)}")
    label = np.zeros(size, np.uint16)
    waiting = np.arange(len(outlines))
    placed: list[int] = []
    for _ in range(tries):
        if not len(waiting):
            break
        left_over = []
        for index, outline in zip(waiting, propose(waiting), strict=True):
            if (outline.max(axis=0) < 0).any() or (outline.min(axis=0) > size[::-1]).any():
                continue  # beyond the border: a nucleus of the neighbouring patch
            if _fill(label, outline, len(placed) + 1, max_overlap, min_area):
                placed.append(int(index))
            else:
                left_over.append(index)
        waiting = np.array(left_over, dtype=np.int64)
    return PlacedNuclei(label, np.array(placed, dtype=np.int64))
