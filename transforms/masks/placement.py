"""Placing outlines in a patch with bounded overlap, each nucleus keeping its own instance id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

__all__ = ["PlacedNuclei", "place_nuclei"]

# Sub-pixel bits of OpenCV's polygon filling.
_SHIFT = 4
# A place near the horizon of a perspective view that makes an outline longer than this many times is refused; what lies
# further away than this many pixels lies at infinity.
_STRETCH, _FAR = 4.0, 1e6


@dataclass(frozen=True)
class PlacedNuclei:
    """A patch of nuclei.

    Attributes:
        label: uint16, shape (H, W); 0 is background, 1 to N the nuclei.
        index: int64, shape (N,); which of the outlines that were given became nucleus 1, 2, ...
    """

    label: np.ndarray
    index: np.ndarray


def _fill(
    label: np.ndarray, points: np.ndarray, box: tuple[int, int, int, int], number: int, bounds: tuple[float, float]
) -> bool:
    """Write one nucleus under those already there; False, and nothing written, where it does not fit.

    Args:
        label: uint16, shape (H, W), written to.
        points: int32, shape (V, 2), vertices as (x, y) in 1/16 pixel.
        box: left, top, right and bottom of a window that holds the polygon, in pixels.
        number: its id.
        bounds: the largest share of it that may be covered, and its smallest area in pixels.
    """
    (height, width), (left, top, right, bottom) = label.shape, box
    window = np.zeros((bottom - top, right - left), np.uint8)
    cv2.fillPoly(window, [points - np.array([left << _SHIFT, top << _SHIFT], np.int32)], 1, shift=_SHIFT)
    area = cv2.countNonZero(window)
    window = window[max(-top, 0) : height - top, max(-left, 0) : width - left]
    there = label[max(top, 0) : bottom, max(left, 0) : right]
    max_overlap, min_area = bounds
    inside = cv2.countNonZero(window)
    if area < min_area or not inside:
        return False
    seen = (window > 0) & (there == 0)
    covered = inside - np.count_nonzero(seen)
    # An instance is one piece: a nucleus that another, or the border, would cut in two has no place here.
    if covered > max_overlap * area or cv2.connectedComponents(seen.view(np.uint8), connectivity=4)[0] != 2:
        return False
    there[seen] = number
    return True


def _bounds(outlines: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All vertices one after the other, where each outline starts among them, and its lowest and highest (x, y)."""
    points = np.clip(np.concatenate(outlines), -_FAR, _FAR)
    starts = np.cumsum([0, *(len(outline) for outline in outlines[:-1])])
    return points, starts, np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)


def _half_pixel_in(points: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Move the vertices half a pixel towards their polygon's middle.

    OpenCV paints every pixel that a boundary touches, half a pixel too far on average: nuclei would be a tenth too
    large.
    """
    counts = np.diff([*starts, len(points)])
    offset = points - np.repeat(np.add.reduceat(points, starts) / counts[:, None], counts, axis=0)
    radius = np.maximum(np.hypot(offset[:, 0], offset[:, 1]), 1e-6)
    return points - offset * np.minimum(0.5 / radius, 1)[:, None]


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
        propose: given the indices of outlines without a place, returns each of them at a new place in the patch,
            perhaps distorted, but not to more than four times its size.
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
    if not len(waiting):
        return PlacedNuclei(label, waiting)
    _, _, low, high = _bounds(outlines)
    extent = (high - low).max(axis=1)
    placed: list[int] = []
    for _ in range(tries):
        if not len(waiting):
            break
        points, starts, low, high = _bounds(propose(waiting))
        points = _half_pixel_in(points, starts)
        pieces = np.split(np.round(points * (1 << _SHIFT)).astype(np.int32), starts[1:])
        # Beyond the border it is a nucleus of the neighbouring patch.
        outside = (high < -0.5).any(axis=1) | (low > np.array(size[::-1]) - 0.5).any(axis=1)
        stretched = (high - low).max(axis=1) > _STRETCH * extent[waiting]
        boxes = np.concatenate([np.floor(low) - 1, np.ceil(high) + 2], axis=1).astype(int).tolist()
        left_over = []
        for place in np.flatnonzero(~outside):
            if not stretched[place] and _fill(
                label, pieces[place], boxes[place], len(placed) + 1, (max_overlap, min_area)
            ):
                placed.append(int(waiting[place]))
            else:
                left_over.append(waiting[place])
        waiting = np.array(left_over, dtype=np.int64)
    return PlacedNuclei(label, np.array(placed, dtype=np.int64))
