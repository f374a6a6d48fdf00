"""Peaks of a map that rise far enough above what lies between them: one marker a nucleus."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["prominent_peaks"]

_STEPS = 4  # Levels that a prominence is divided into.


def prominent_peaks(height: np.ndarray, prominence: float) -> np.ndarray:
    """One pixel of every peak from which there is no way to a higher one without a descent of ``prominence``.

    These are the h-maxima of mathematical morphology (Soille, Morphological Image Analysis, 2nd ed., section 6.3),
    found on levels a quarter of the prominence apart, to which heights are rounded down. Of peaks of equal height on
    one plateau, one is found. Where the map is 0, there is no way.

    Args:
        height: float, shape (H, W), not negative.
        prominence: least descent, positive.

    Returns:
        intp, shape (N,): indices into the flattened map, the highest first.

    Raises:
        ValueError: ``prominence`` is not positive.
    """
    if not prominence > 0:
        raise ValueError(f"prominence must be positive, got {prominence}")
    levels = (height * (_STEPS / prominence)).astype(np.int32)
    highest = int(levels.max(initial=0))
    # Sorted by level once, so that none has to be looked for in the whole map.
    land = np.flatnonzero(levels > 0)
    land = land[np.argsort(levels.ravel()[land], kind="stable")]
    begin = np.searchsorted(levels.ravel()[land], np.arange(1, highest + 2))
    peaks, tops = np.zeros(0, np.intp), np.zeros(0, np.int32)
    above = np.zeros(levels.shape, np.uint8)
    # The water falls: at each level islands have joined, and others have come up.
    for level in range(highest, 0, -1):
        shore = land[begin[level - 1] : begin[level]]
        above.ravel()[shore] = 1
        count, islands = cv2.connectedComponents(above, connectivity=4, ltype=cv2.CV_32S)
        home = islands.ravel()[peaks]
        stays = tops - level >= _STEPS
        stays[np.unique(home, return_index=True)[1]] = True  # the first on an island is its highest
        peaks, tops, home = peaks[stays], tops[stays], home[stays]
        new = np.ones(count, bool)
        new[0], new[home] = False, False
        top = np.zeros(count, np.intp)
        top[islands.ravel()[shore]] = shore
        peaks = np.concatenate([peaks, top[new]])
        tops = np.concatenate([tops, np.full(len(peaks) - len(tops), level, np.int32)])
    return peaks[tops >= _STEPS]
