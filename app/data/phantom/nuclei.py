"""One nucleus at a time: an implicit outline, and chromatin that follows the distance to it.

The outline is the zero level of a superellipse that harmonics dent and a parabola bends. The same signed distance
draws the soft edge, the membrane and the pale halo, so they always fit the outline, whatever the scale of the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from .field import Field, Grid, bell, smoothstep
from .ground import Dyes
from .population import Kind, Seedling

__all__ = ["draw_nuclei", "nucleus_distance"]

_MARGIN = 2.5  # µm around a nucleus that its halo and soft edge may reach
_HIDDEN = 0.35  # share of a nucleus that others may hide; one that is hidden more is left out


def draw_nuclei(
    rng: np.random.Generator, grid: Grid, seedlings: Sequence[Seedling], dyes: Dyes
) -> npt.NDArray[np.int32]:
    """Draw nuclei into ``dyes``, in place, each in a window of its own size.

    Where two overlap, their haematoxylin adds up as it does in a thick section, and the earlier one keeps the label.

    Returns:
        Label image: int32, shape (H, W), 0 background, 1 to N without a gap, every nucleus in one piece.
    """
    labels = np.zeros(grid.shape, np.int32)
    count = 0
    for seedling in seedlings:
        reach = 1.35 * seedling.radius * np.sqrt(seedling.aspect) + _MARGIN
        window = grid.window(seedling.centre, reach)
        if labels[window].size == 0:
            continue
        distance = nucleus_distance(rng, grid, seedling, window)
        visible = _visible_part(distance > 0, labels[window])
        if visible is None:
            continue
        count += 1
        labels[window][visible] = count
        _stain(rng, grid.mpp, seedling.kind, seedling.radius, distance, window, dyes)
    return labels


def nucleus_distance(rng: np.random.Generator, grid: Grid, seedling: Seedling, window: tuple[slice, slice]) -> Field:
    """Signed distance in µm to the outline of a nucleus, positive inside, to first order.

    Args:
        rng: draws the irregularities of the outline.
        grid: of the image.
        seedling: place, size and direction.
        window: where to compute it.
    """
    rows, columns = grid.axes()
    down, right = rows[window[0]] - seedling.centre[0], columns[:, window[1]] - seedling.centre[1]
    sine, cosine = np.sin(seedling.angle), np.cos(seedling.angle)
    # A harmonic or a high exponent changes the area by a few per cent at most, so radius and aspect set the axes.
    long, short = seedling.radius * seedling.aspect**0.5, seedling.radius * seedling.aspect**-0.5
    x = (cosine * right + sine * down) / long
    bend = rng.normal(0, seedling.kind.bend) * 2 * long
    y = (cosine * down - sine * right + bend * (x * x - 0.3)) / short
    exponent = rng.uniform(1.8, 2.5)
    level = (np.abs(x) ** exponent + np.abs(y) ** exponent) ** (1 / exponent)
    angle = np.arctan2(y, x)
    contour = np.ones_like(angle)
    for order in range(2, 7):
        strength = seedling.kind.dent * rng.normal() * 1.6 / order**0.7
        contour += strength * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    level = level / np.clip(contour, 0.6, 1.5)
    slope_down, slope_right = np.gradient(level, grid.mpp) if min(level.shape) > 1 else (np.ones_like(level),) * 2
    # The slope vanishes only at the centre, where any large distance will do.
    slope = np.maximum(np.hypot(slope_down, slope_right), 0.5 / long)
    return ((1 - level) / slope).astype(np.float32)


def _visible_part(inside: npt.NDArray[np.bool_], labels: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_] | None:
    """The largest connected part that no earlier nucleus covers; None if too little is left."""
    free = inside & (labels == 0)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(free.astype(np.uint8), connectivity=4)
    if count < 2:
        return None
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    if stats[largest, cv2.CC_STAT_AREA] < (1 - _HIDDEN) * inside.sum():
        return None
    visible: npt.NDArray[np.bool_] = parts == largest
    return visible


def _stain(
    rng: np.random.Generator,
    mpp: float,
    kind: Kind,
    radius: float,
    distance: Field,
    window: tuple[slice, slice],
    dyes: Dyes,
) -> None:
    """Add a nucleus to the dyes: haematoxylin in it, less eosin in it and in its halo."""
    softness = 0.28 if rng.random() < 0.85 else rng.uniform(0.5, 0.9)  # some lie below the plane of focus
    cover = smoothstep(distance, -softness, softness)
    chromatin = _chromatin(rng, mpp, kind, radius, distance) * cover
    broken = smoothstep(Grid(distance.shape[0], distance.shape[1], mpp).noise(rng, 5.0), -1.2, 0.8)
    halo = rng.uniform(0.3, 0.95) * (rng.random() < 0.25) * broken * bell(distance, -rng.uniform(0.6, 1.4), 0.6)
    dyes.haematoxylin[window] = dyes.haematoxylin[window] * (1 - 0.6 * np.maximum(halo, cover)) + chromatin
    dyes.eosin[window] *= 1 - np.maximum(halo, 0.55 * cover)
    dyes.pigment[window] *= 1 - 0.8 * cover


def _chromatin(rng: np.random.Generator, mpp: float, kind: Kind, radius: float, distance: Field) -> Field:
    """Haematoxylin of a nucleus: nucleoplasm, clumps, membrane with chromatin on it, nucleoli; not negative."""
    patch = Grid(distance.shape[0], distance.shape[1], mpp)
    clumps = patch.noise(rng, kind.clump_period * rng.uniform(0.8, 1.3), 2)
    body = rng.uniform(*kind.body)
    amount = body * (1 + 0.10 * patch.noise(rng, 2.5) + 0.07 * patch.noise(rng, 0.5))
    amount += kind.clump * (smoothstep(clumps, 0.2, 1.4) - 0.35 * smoothstep(-clumps, 0.2, 1.4))
    membrane = bell(distance, 0.3, 0.3)
    amount += kind.rim * membrane * (1 + 0.5 * clumps)
    deep = np.argwhere(distance > 0.35 * radius)
    for _ in range(int(rng.integers(0, kind.nucleoli + 1)) if len(deep) else 0):
        row, column = deep[rng.integers(len(deep))]
        rows, columns = np.indices(distance.shape, dtype=np.float32)
        reach = np.hypot(rows - row, columns - column) * np.float32(mpp)
        size = rng.uniform(0.45, 0.95)
        amount += rng.uniform(0.7, 1.2) * smoothstep(-reach, -size - 0.25, -size + 0.25)
    return np.maximum(amount, 0.1)
