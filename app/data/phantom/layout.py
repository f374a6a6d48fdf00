"""The plan of the tissue: what lies where, as signed distances on a coarse grid.

The plan is drawn at 1 µm per pixel, or at the image's scale if that is coarser, which keeps it cheap on large images;
signed distances stay sharp when they are interpolated. All are in µm and positive inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .field import FAR, Field, Grid, exceeding

__all__ = ["Layout", "draw_layout"]

_PLAN_MPP = 1.0


@dataclass(frozen=True)
class Layout:
    """The plan on its grid; each field is float32 of the grid's shape.

    Attributes:
        grid: of all fields below.
        tissue: signed distance to the edge of the piece of tissue.
        gland: signed distance to the basement membrane of the nearest epithelial cluster.
        space: signed distance to the nearest empty space: the lumen of a gland or vessel, or a fat vacuole.
        vessel: signed distance to the lumen of the nearest vessel, which holds blood.
        lymphoid: above 0 where lymphocytes gather; about 1 in the middle.
        pigment: signed distance to the nearest cell loaded with brown pigment.
        across: coordinate that counts across the collagen fibres, in µm.
        along: coordinate that counts along them, in µm.
        defocus: 0 in focus, up to 1 in the area that is not.
        thickness: of the section, about 1; all stain is multiplied by it.
    """

    grid: Grid
    tissue: Field
    gland: Field
    space: Field
    vessel: Field
    lymphoid: Field
    pigment: Field
    across: Field
    along: Field
    defocus: Field
    thickness: Field


def draw_layout(rng: np.random.Generator, image_grid: Grid, tissue_share: float) -> Layout:
    """Plan a piece of tissue.

    Args:
        rng: where the draws come from.
        image_grid: of the image the plan is for.
        tissue_share: share of the image that is tissue, above 0 and at most 1.
    """
    grid = image_grid.coarser(max(_PLAN_MPP, image_grid.mpp))
    tissue = _outline(rng, grid, tissue_share)
    inside = tissue > 0
    fat = np.minimum(exceeding(grid.noise(rng, 130), rng.uniform(0.05, 0.16), inside), tissue)
    lymphoid = exceeding(grid.noise(rng, 90, 2), rng.uniform(0.08, 0.18), inside & (fat < 0))
    across, along = _fibre_coordinates(rng, grid)
    gland, space = _glands(rng, grid, inside & (fat < -0.2) & (lymphoid < 0.1))
    space = np.maximum(space, _discs(rng, grid, fat > 0, (11.0, 27.0), gap=1.6, per_mm2=9000))
    free = inside & (gland < -8) & (space < -8)
    vessel = _discs(rng, grid, free & (lymphoid < 0), (4.0, 13.0), gap=30.0, per_mm2=400)
    pigment = _discs(rng, grid, free & _spot(rng, grid, inside, 0.12), (4.0, 9.0), gap=4.0, per_mm2=1500)
    space = np.maximum(space, vessel)
    blurred = exceeding(grid.noise(rng, 0.45 * min(grid.extent)), 0.1, inside)
    defocus = np.clip(blurred / 0.35, 0, 1)
    thickness = np.clip(1 + 0.13 * grid.noise(rng, 170, 2), 0.6, 1.5)
    return Layout(grid, tissue, gland, space, vessel, lymphoid, pigment, across, along, defocus, thickness)


def _outline(rng: np.random.Generator, grid: Grid, share: float) -> Field:
    """Signed distance to the edge of the tissue: a dented superellipse, set to the wanted area."""
    if share == 1:
        return np.full(grid.shape, FAR, np.float32)
    rows, columns = grid.axes()
    height, width = grid.extent
    centre = rng.uniform(0.46, 0.54, size=2)
    radius = ((rows / height - centre[0]) ** 4 + (columns / width - centre[1]) ** 4) ** 0.25
    side = min(height, width)
    distance = -side * radius + 0.045 * side * grid.noise(rng, side / 3.5, 3) + 1.3 * grid.noise(rng, 14, 3)
    return exceeding(distance.astype(np.float32), share, np.ones(grid.shape, bool))


def _fibre_coordinates(rng: np.random.Generator, grid: Grid) -> tuple[Field, Field]:
    """Bent coordinates of the collagen: bundles swing over about 100 µm and crimp over about 15 µm."""
    rows, columns = grid.axes()
    angle = rng.uniform(0, np.pi)
    swing, crimp = rng.uniform(18, 34), rng.uniform(0.8, 1.8)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    along = rows * np.sin(angle) + columns * np.cos(angle)
    across = across + swing * grid.noise(rng, 110) + crimp * grid.noise(rng, 15)
    along = along + swing * grid.noise(rng, 110)
    return across.astype(np.float32), along.astype(np.float32)


def _spot(rng: np.random.Generator, grid: Grid, inside: npt.NDArray[np.bool_], share: float) -> npt.NDArray[np.bool_]:
    return exceeding(grid.noise(rng, 80), share, inside) > 0


def _glands(rng: np.random.Generator, grid: Grid, allowed: npt.NDArray[np.bool_]) -> tuple[Field, Field]:
    """Signed distances to epithelial clusters and to the lumina in them.

    A cluster is a star-shaped Fourier contour. A third of them are solid nests, the others glands around a lumen.
    """
    gland = np.full(grid.shape, -FAR, np.float32)
    lumen = np.full(grid.shape, -FAR, np.float32)
    zone = exceeding(grid.noise(rng, 120), 0.62, allowed) > 0
    solid_share = rng.uniform(0.15, 0.6)
    for centre, radius in _scatter(rng, grid, allowed & zone, (17.0, 48.0), gap=2.5, per_mm2=4000):
        window = grid.window(centre, 1.5 * radius)
        rows, columns = grid.axes()
        down, right = rows[window[0]] - centre[0], columns[:, window[1]] - centre[1]
        angle, reach = np.arctan2(down, right), np.hypot(down, right)
        contour = _contour(rng, angle, 0.13)
        # Where two clusters meet, the nearer one counts, and a thin septum is left between them.
        np.maximum(gland[window], radius * contour - reach, out=gland[window])
        if rng.random() >= solid_share and radius > 20:
            open_radius = min(rng.uniform(0.25, 0.6) * radius, radius - 14)
            edge = open_radius * (contour + 0.5 * (_contour(rng, angle, 0.16) - 1))
            np.maximum(lumen[window], edge - reach, out=lumen[window])
    return gland, lumen


def _contour(rng: np.random.Generator, angle: Field, strength: float) -> Field:
    """Relative radius at each angle: 1 and harmonics 2 to 6 that get weaker."""
    radius = np.ones_like(angle)
    for order in range(2, 7):
        radius += strength * rng.normal() / order**0.8 * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    return np.clip(radius, 0.6, 1.4)


def _discs(
    rng: np.random.Generator,
    grid: Grid,
    allowed: npt.NDArray[np.bool_],
    radii: tuple[float, float],
    gap: float,
    per_mm2: float,
) -> Field:
    """Signed distance to slightly oval discs that keep ``gap`` µm from each other."""
    distance = np.full(grid.shape, -FAR, np.float32)
    rows, columns = grid.axes()
    for centre, radius in _scatter(rng, grid, allowed, radii, gap, per_mm2):
        window = grid.window(centre, 1.3 * radius + 12)
        down, right = rows[window[0]] - centre[0], columns[:, window[1]] - centre[1]
        contour = _contour(rng, np.arctan2(down, right), 0.07)
        np.maximum(distance[window], radius * contour - np.hypot(down, right), out=distance[window])
    return distance


def _scatter(
    rng: np.random.Generator,
    grid: Grid,
    allowed: npt.NDArray[np.bool_],
    radii: tuple[float, float],
    gap: float,
    per_mm2: float,
) -> list[tuple[tuple[float, float], float]]:
    """Centres (µm) and radii of discs thrown at random, largest first, that do not come closer than ``gap`` µm."""
    height, width = grid.extent
    count = int(per_mm2 * height * width / 1e6) + 1
    points = rng.uniform((0, 0), (height, width), size=(count, 2))
    sizes = np.sort(rng.uniform(*radii, size=count))[::-1]
    kept = np.empty((0, 2))
    kept_sizes = np.empty(0)
    for point, size in zip(points, sizes, strict=True):
        row, column = (min(int(value / grid.mpp), limit - 1) for value, limit in zip(point, grid.shape, strict=True))
        if not allowed[row, column] or (np.hypot(*(kept - point).T) < kept_sizes + size + gap).any():
            continue
        kept, kept_sizes = np.vstack([kept, point]), np.append(kept_sizes, size)
    return [((float(row), float(column)), float(size)) for (row, column), size in zip(kept, kept_sizes, strict=True)]
