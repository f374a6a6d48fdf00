"""Outlines of nuclei: one polygon for each of a label image, all at once."""

from __future__ import annotations

import cv2
import numpy as np
import shapely

__all__ = ["outline_nuclei"]

_POLYGON = shapely.GeometryType.POLYGON.value
# Eight directions, clockwise as seen on the screen: x, y of one step to the east, south-east, south, ...
_STEPS = np.array([(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)], np.float64)
_NUMBER = np.full((3, 3), -1)
for _number, (_x, _y) in enumerate(_STEPS.astype(int)):
    _NUMBER[_y + 1, _x + 1] = _number


def outline_nuclei(label: np.ndarray, tolerance: float = 0.25, reach: float = 0.5) -> np.ndarray:
    """Draw the outline of every nucleus of a label image.

    An outline runs halfway between the centres of a nucleus' pixels and those of its 4-neighbours outside, as marching
    squares would draw it, so that nuclei that touch share their edge and diagonals have no stairs. A pixel is the unit
    square around its centre, and the top left corner of the image is (0, 0), so the first pixel's centre is
    (0.5, 0.5). Holes are not drawn.

    Args:
        label: integers, shape (H, W), instance ids 1 to N without gaps, each one 8-connected piece; 0 is background.
        tolerance: how far a simplified outline may lie from the exact one, in pixels; 0 keeps every vertex.
        reach: how far beyond the centres of a nucleus' pixels the outline runs, in pixels, above 0, at most 0.5. With a
            little less than 0.5 touching nuclei are a little apart; but a program that fills polygons up to and with
            every pixel that an edge comes upon, as OpenCV does, then fills just the nucleus' pixels, not half a pixel
            more all around.

    Returns:
        Shapely polygons, shape (N,), valid, in pixels; polygon i is of nucleus i + 1.

    Raises:
        ValueError: the label is not two-dimensional, its ids have gaps, or a nucleus is in pieces.
    """
    if label.ndim != 2:
        raise ValueError(f"label must have shape (H, W), got {label.shape}")
    if tolerance < 0:
        raise ValueError(f"tolerance must not be negative, got {tolerance}")
    if not 0 < reach <= 0.5:
        raise ValueError(f"reach must lie in (0, 0.5], got {reach}")
    label = np.ascontiguousarray(label, np.int32)
    count = int(label.max(initial=0))
    if count == 0:
        return np.empty(0, object)
    chains, ids = _chains(label, count)
    coordinates, offsets = _vertices(*chains, reach)
    rings = np.arange(count + 1)
    polygons = shapely.from_ragged_array(shapely.GeometryType.POLYGON, coordinates + 0.5, (offsets, rings))
    if tolerance > 0:
        polygons = _simplified(polygons, tolerance)
    return polygons[np.argsort(ids)]


def _simplified(polygons: np.ndarray, tolerance: float) -> np.ndarray:
    """Leave out vertices. To watch over the polygon as well takes ten times as long, so it is done where needed."""
    simple = shapely.simplify(polygons, tolerance, preserve_topology=False)
    # GEOS drops the first vertex last, measured against what is left of its neighbours: there the tolerance may add up
    # to twice itself.
    dropped = (_first_vertices(simple) != _first_vertices(polygons)).any(axis=1)
    simple[dropped] = shapely.simplify(polygons[dropped], tolerance / 2, preserve_topology=False)
    spoilt = shapely.is_empty(simple) | ~shapely.is_valid(simple) | (shapely.get_type_id(simple) != _POLYGON)
    simple[spoilt] = shapely.simplify(polygons[spoilt], tolerance / 2)
    return simple


def _first_vertices(polygons: np.ndarray) -> np.ndarray:
    """Shape (N, 2); not a number where there is no ring."""
    points = shapely.get_point(shapely.get_exterior_ring(polygons), 0)
    return np.stack([shapely.get_x(points), shapely.get_y(points)], axis=1)


def _chains(label: np.ndarray, count: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Outer boundary pixels of all nuclei, one chain after the other.

    Returns:
        Pixels, shape (P, 2), as x and y; the chains' offsets, shape (N + 1,); and their ids, shape (N,).
    """
    # On a label image OpenCV follows every connected piece of one value, that of the background too, and every hole.
    contours, _ = cv2.findContours(label, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    length = np.array([len(contour) for contour in contours])
    pixels = np.concatenate(contours)[:, 0]
    ends = np.cumsum(length)
    values = label[pixels[ends - length, 1], pixels[ends - length, 0]]
    # Around a hole a chain runs clockwise.
    after = np.arange(1, len(pixels) + 1)
    after[ends - 1] = ends - length
    x, y = pixels.T.astype(np.int64)
    turn = np.add.reduceat(x * y[after] - x[after] * y, ends - length)
    outer = (values > 0) & (turn <= 0)
    ids = values[outer]
    found = np.bincount(ids, minlength=count + 1)[1:]
    if (found != 1).any():
        nucleus = int(np.flatnonzero(found != 1)[0]) + 1
        raise ValueError(f"ids must be 1 to N, each in one piece: nucleus {nucleus} is in {found[nucleus - 1]}")
    offsets = np.concatenate([[0], np.cumsum(length[outer])])
    return (pixels[np.repeat(outer, length)], offsets), ids


def _vertices(pixels: np.ndarray, offsets: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices between boundary pixels and their neighbours outside, as closed rings.

    A chain leaves the outside on its right. Around each of its pixels, the neighbours from the one it came from to the
    one it goes to, counter-clockwise, are outside.

    Returns:
        Coordinates, shape (V, 2), from the pixels' centres; and the rings' offsets, shape (N + 1,).
    """
    first, last = offsets[:-1], offsets[1:] - 1
    after = np.arange(1, len(pixels) + 1)
    after[last] = first
    step = pixels[after] - pixels
    onward = _NUMBER[step[:, 1] + 1, step[:, 0] + 1]
    before = np.empty_like(onward)
    before[after] = onward
    backward = np.where(before < 0, 0, before + 4)
    # A pixel alone is surrounded; so is the end of a line but for where it came from.
    sweep = np.where(onward < 0, 9, (backward - onward - 1) % 8 + 1)
    turn = np.arange(1, 9)
    direction = (backward[:, None] - turn) % 8
    outside = (turn < sweep[:, None]) & (direction % 2 == 0)
    vertices = (pixels[:, None] + reach * _STEPS[direction])[outside]
    size = np.add.reduceat(outside.sum(1), first)
    ends = np.cumsum(size)
    # Each ring ends where it began.
    closed = np.insert(vertices, ends, vertices[ends - size], axis=0)
    return closed, np.concatenate([[0], np.cumsum(size + 1)])
