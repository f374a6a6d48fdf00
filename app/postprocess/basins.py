"""A map divided among its prominent peaks: a watershed on the graph of its basins, not on its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

__all__ = ["divide_among_peaks"]

_STEPS = 4  # Levels that a prominence is divided into.
# Of neighbours across, and of those one above the other: places in the list of pixels of a mask, twice shape (K,).
_Pairs = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class _Graph:
    """Basins and the passes between them.

    Attributes:
        top: float32, shape (N,), height of the peak of each basin.
        first, second: int32, shape (E,), basins that meet.
        height: float32, shape (E,), of the highest pass between them.
    """

    top: np.ndarray
    first: np.ndarray
    second: np.ndarray
    height: np.ndarray

    def joined(self, passes: np.ndarray) -> np.ndarray:
        """A number for each basin, shape (N,), the same for those that some passes, bool, shape (E,), join."""
        edges = (self.first[passes], self.second[passes])
        graph = coo_array((np.ones(len(edges[0]), np.int8), edges), shape=(len(self.top),) * 2)
        return connected_components(graph, directed=False)[1]


def divide_among_peaks(height: np.ndarray, mask: np.ndarray, prominence: float) -> np.ndarray:
    """Divide the pieces of a mask among those peaks of a map that rise far enough above what lies between them.

    From every pixel one climbs to the highest of its four neighbours, and so to the peak whose basin it lies in. Peaks
    count as `_prominent` says. Basins of other peaks go where the highest passes lead: a minimum spanning forest
    rooted in the peaks that count, which is a watershed (Cousty et al., IEEE TPAMI 31:1362, 2009): no way to another
    peak stays as high as the one to a pixel's own. (scikit-image's floods pixel by pixel, which takes longer.)

    Args:
        height: float32, shape (H, W), not negative.
        mask: bool, shape (H, W); there is no way outside, nor around a corner.
        prominence: least descent between two peaks that count, positive.

    Returns:
        int32, shape (H, W): parts of the mask, 1 to N; 0 outside. A piece of the mask with no peak that counts is one.

    Raises:
        ValueError: ``prominence`` is not positive.
    """
    if not prominence > 0:
        raise ValueError(f"prominence must be positive, got {prominence}")
    part = np.zeros(mask.shape, np.int32)
    inside = np.flatnonzero(mask)
    if len(inside):
        heights = height.ravel()[inside].astype(np.float32)
        pairs = _neighbours(mask, inside)
        basin, tops = _basins(heights, pairs)
        graph = _graph(heights, pairs, basin, tops)
        part.ravel()[inside] = (_forest(graph, _prominent(graph, prominence)) + 1)[basin]
    return part


def _neighbours(mask: np.ndarray, inside: np.ndarray) -> _Pairs:
    """Pixels of the mask, given by flat indices, that are neighbours."""
    width = mask.shape[1]
    left = np.flatnonzero((np.diff(inside) == 1) & (inside[1:] % width != 0))
    # From 1, so that 0 is outside; below the last row all is.
    number = np.zeros(mask.size + width, np.int32)
    number[inside] = np.arange(1, len(inside) + 1, dtype=np.int32)
    below = number[inside + width]
    upper = np.flatnonzero(below)
    return (left, left + 1), (upper, below[upper] - 1)


def _basins(heights: np.ndarray, pairs: _Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Basin of each pixel, and the pixel that is the peak of each basin."""
    # Positive numbers are in the order of their bits; of equal neighbours the later one is taken, so that no two point
    # at each other.
    rank = (heights.view(np.int32).astype(np.int64) << 32) | np.arange(len(heights))
    highest = rank.copy()
    for one, other in pairs:
        # In each direction a pixel has one neighbour at most.
        highest[one] = np.maximum(highest[one], rank[other])
        highest[other] = np.maximum(highest[other], rank[one])
    towards = (highest & 0xFFFFFFFF).astype(np.int32)
    _cross_level_ground(heights, pairs, towards)
    while True:
        further = towards[towards]
        if np.array_equal(further, towards):
            break
        towards = further
    peaks = np.flatnonzero(towards == np.arange(len(towards)))
    number = np.zeros(len(towards), np.int32)
    number[peaks] = np.arange(len(peaks), dtype=np.int32)
    return number[towards], peaks


def _cross_level_ground(heights: np.ndarray, pairs: _Pairs, towards: np.ndarray) -> None:
    """Where no neighbour is higher, but some are as high, go to the nearest from which there is a way up; in place."""
    starts, ends = [], []
    for one, other in pairs:
        level = heights[one] == heights[other]
        starts += [one[level], other[level]]
        ends += [other[level], one[level]]
    start, end = np.concatenate(starts), np.concatenate(ends)
    lost = heights[towards] == heights
    while True:
        # From its edge inwards, a pixel further each time.
        led = lost[start] & ~lost[end]
        if not led.any():
            break
        towards[start[led]] = end[led]
        lost[start[led]] = False


def _graph(heights: np.ndarray, pairs: _Pairs, basin: np.ndarray, peaks: np.ndarray) -> _Graph:
    """Which basins meet, and where it is highest."""
    borders = []
    for one, other in pairs:
        border = basin[one] != basin[other]
        one, other = one[border], other[border]
        borders.append((basin[one], basin[other], np.minimum(heights[one], heights[other])))
    one, other, height = (np.concatenate(each) for each in zip(*borders, strict=True))
    first, second = np.minimum(one, other), np.maximum(one, other)
    order = np.lexsort((-height, second, first))
    first, second, height = first[order], second[order], height[order]
    highest = np.ones(len(first), bool)
    highest[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return _Graph(heights[peaks], first[highest], second[highest], height[highest])


def _prominent(graph: _Graph, prominence: float) -> np.ndarray:
    """Peaks from which there is no way to a higher one without a descent of ``prominence``, the highest first.

    These are the h-maxima of mathematical morphology (Soille, Morphological Image Analysis, 2nd ed., section 6.3),
    found on levels a quarter of the prominence apart, to which heights are rounded down. Of peaks of equal height with
    no descent between them, one is found.
    """
    tops, passes = ((each * (_STEPS / prominence)).astype(np.int32) for each in (graph.top, graph.height))
    by_height = np.argsort(-graph.top, kind="stable")
    peaks = by_height[:0]
    # The water falls: at each level islands have joined, and others have come up.
    for level in range(int(tops.max()), 0, -1):
        island = graph.joined(passes >= level)
        peaks = np.concatenate([peaks, by_height[tops[by_height] == level]])
        stays = tops[peaks] - level >= _STEPS
        stays[np.unique(island[peaks], return_index=True)[1]] = True  # the first on an island is its highest
        peaks = peaks[stays]
    return peaks[tops[peaks] >= _STEPS]


def _forest(graph: _Graph, peaks: np.ndarray) -> np.ndarray:
    """The part that each basin belongs to, shape (N,), from 0."""
    count = len(graph.top)
    # All peaks hang on one more node, by edges that are the first to be taken: cut off, each keeps what it gathered.
    height = graph.height.astype(np.float64)
    depth = np.concatenate([1 + height.max(initial=0) - height, np.full(len(peaks), 0.5)])
    first = np.concatenate([graph.first, np.full(len(peaks), count)])
    second = np.concatenate([graph.second, peaks])
    tree = minimum_spanning_tree(coo_array((depth, (first, second)), shape=(count + 1,) * 2).tocsr()).tocoo()
    kept = (tree.row < count) & (tree.col < count)
    forest = coo_array((tree.data[kept], (tree.row[kept], tree.col[kept])), shape=(count, count))
    return connected_components(forest, directed=False)[1]
