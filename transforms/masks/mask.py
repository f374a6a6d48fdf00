"""A patch of random nuclei: counts, sizes, outlines, places and the quadrilateral transform put together."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import map_coordinates

from ..base import check_mpp
from .placement import place_nuclei
from .polygons import draw_nuclei, draw_outlines
from .priors import NucleusClass, NucleusPrior, NucleusShape, check_shares
from .quadrilateral import draw_corners, quadrilateral_homography, warp_points

__all__ = ["MaskSettings", "NucleusMask", "draw_mask"]

# Width of the strip around a patch in which nuclei are centred that reach into it, in µm.
_MARGIN_UM = 8.0
# Distance over which the sizes and directions of neighbouring nuclei are alike, in µm.
_CLUSTER_UM = 25.0


@dataclass(frozen=True)
class MaskSettings:
    """How random nucleus masks are drawn, whatever the tissue.

    Attributes:
        shape: how outlines depart from ellipses.
        classes: kinds of nuclei that follow rules of their own.
        jitter: largest movement of the corners of the quadrilateral transform, as a share of the patch's side.
        max_overlap: largest share of a nucleus that may lie under others, in [0, 1].
        min_area_um2: smallest nucleus, in µm².
        tries: number of places that a nucleus is proposed before it is left out.
        empty: share of the patches without any nucleus, in [0, 1].
        mpp: µm per pixel.
    """

    shape: NucleusShape = field(default_factory=NucleusShape)
    classes: tuple[NucleusClass, ...] = ()
    jitter: float = 0.12
    max_overlap: float = 0.15
    min_area_um2: float = 3.0
    tries: int = 12
    empty: float = 0.02
    mpp: float = 0.25

    def __post_init__(self) -> None:
        if not 0 <= self.jitter < 0.25:
            raise ValueError(f"jitter must lie in [0, 0.25), got {self.jitter}")
        if not 0 <= self.max_overlap <= 1:
            raise ValueError(f"max_overlap must lie in [0, 1], got {self.max_overlap}")
        if self.min_area_um2 < 0:
            raise ValueError(f"min_area_um2 must not be negative, got {self.min_area_um2}")
        if self.tries < 1:
            raise ValueError(f"tries must be at least 1, got {self.tries}")
        if not 0 <= self.empty <= 1:
            raise ValueError(f"empty must lie in [0, 1], got {self.empty}")
        check_mpp(self.mpp)
        check_shares(self.classes)
        object.__setattr__(self, "classes", tuple(self.classes))


@dataclass(frozen=True)
class NucleusMask:
    """A drawn patch of nuclei.

    Attributes:
        label: uint16, shape (H, W); 0 is background, 1 to N the nuclei, each in one piece.
        category: int64, shape (N,); 0 is a nucleus of the prior, k one of the k-th class.
        corners: float64, shape (4, 2); the quadrilateral, as shares of the patch's sides.
        expected: number of nuclei that were to be placed, before the border and the overlap bound took their share.
    """

    label: np.ndarray
    category: np.ndarray
    corners: np.ndarray
    expected: int


def _smooth_field(points: np.ndarray, size: tuple[int, int], mpp: float, rng: np.random.RandomState) -> np.ndarray:
    """Standard normal values at points (x, y), alike where the points are within a cluster's distance."""
    margin, cell = _MARGIN_UM / mpp, _CLUSTER_UM / mpp
    shape = [int(np.ceil((side + 2 * margin) / cell)) + 2 for side in size]
    grid = rng.standard_normal(shape)
    where = (points + margin) / cell
    values = map_coordinates(grid, where.T[::-1], order=1)
    # Bilinear interpolation averages: rescale to unit variance by the weights' squares.
    part = where - np.floor(where)
    variance = ((1 - part) ** 2 + part**2).prod(axis=1)
    return values / np.sqrt(variance)


@dataclass(frozen=True)
class _Ground:
    """Rectangles of the patch and its margin, and how dense centres are in each.

    Attributes:
        x: float, shape (w + 1,), edges of the columns, in pixels of the patch.
        y: float, shape (h + 1,), edges of the rows.
        weight: float, shape (h, w), area times density.
    """

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray

    def draw_centres(self, count: int, rng: np.random.RandomState) -> np.ndarray:
        """Centres (x, y), float64, shape (count, 2)."""
        cumulative = np.cumsum(self.weight.ravel())
        cell = np.searchsorted(cumulative, rng.uniform(size=count) * cumulative[-1], side="right")
        row, column = np.divmod(np.minimum(cell, self.weight.size - 1), self.weight.shape[1])
        part = rng.uniform(size=(count, 2))
        x = self.x[column] + part[:, 0] * (self.x[column + 1] - self.x[column])
        y = self.y[row] + part[:, 1] * (self.y[row + 1] - self.y[row])
        return np.stack([x, y], axis=1)


def _lay_ground(size: tuple[int, int], margin: float, density_map: np.ndarray | None) -> _Ground:
    """The map stretched over the patch, its outermost cells going on in the margin."""
    density = np.pad(np.ones((1, 1)) if density_map is None else density_map.astype(np.float64), 1, mode="edge")
    rows, columns = density.shape
    y, x = (
        np.concatenate([[-margin], np.linspace(0, side, cells - 1), [side + margin]])
        for side, cells in zip(size, (rows, columns), strict=True)
    )
    return _Ground(x, y, density * np.diff(y)[:, None] * np.diff(x))


def _draw_angles(
    points: np.ndarray, size: tuple[int, int], mpp: float, direction_map: np.ndarray | None, rng: np.random.RandomState
) -> np.ndarray:
    """Angles of the long axes: along the tissue's direction, and alike among neighbours."""
    vector = 0.5 * np.stack([_smooth_field(points, size, mpp, rng), _smooth_field(points, size, mpp, rng)], axis=1)
    vector += 0.3 * rng.standard_normal(vector.shape)
    if direction_map is not None:
        scale = np.array(direction_map.shape[1::-1]) / size[::-1]
        column, row = np.clip((points * scale).astype(int), 0, np.array(direction_map.shape[1::-1]) - 1).T
        vector += 2.0 * direction_map[row, column]
    return np.arctan2(vector[:, 1], vector[:, 0]) / 2


def draw_mask(
    size: tuple[int, int],
    prior: NucleusPrior,
    settings: MaskSettings,
    rng: np.random.RandomState,
    density_map: np.ndarray | None = None,
    direction_map: np.ndarray | None = None,
) -> NucleusMask:
    """Draw a patch of nuclei.

    Args:
        size: height and width, in pixels.
        prior: density, sizes and elongation of the nuclei.
        settings: everything else.
        rng: source of randomness.
        density_map: float, any shape (h, w), at least 0, stretched over the patch; the local density as a multiple of
            the prior's, 0 where no nucleus may be. None: the same everywhere.
        direction_map: float, any shape (h, w, 2), stretched over the patch; coherence times cosine and sine of twice
            the angle along which nuclei tend to lie. None: directions are alike among neighbours only.
    """
    corners = draw_corners(settings.jitter, rng)
    margin = _MARGIN_UM / settings.mpp
    ground = _lay_ground(size, margin, density_map)
    area_mm2 = float(ground.weight.sum()) * settings.mpp**2 / 1e6
    factor = np.exp(prior.density_spread * rng.standard_normal() - prior.density_spread**2 / 2)
    empty = rng.uniform() < settings.empty
    # Rounded at random, not Poisson: nuclei keep their distance, so real counts vary less than those of random points.
    count = 0 if empty else min(int(prior.density * area_mm2 * factor + rng.uniform()), 2**16 - 1)
    if count == 0:
        return NucleusMask(np.zeros(size, np.uint16), np.zeros(0, np.int64), corners, 0)
    homography = quadrilateral_homography(corners, (size[1], size[0]))
    inverse = np.linalg.inv(homography)
    centres = ground.draw_centres(count, rng)
    nuclei = draw_nuclei(
        count, prior, settings.mpp, rng, _smooth_field(centres, size, settings.mpp, rng), settings.classes
    )
    angle = _draw_angles(centres, size, settings.mpp, direction_map, rng)
    outlines = draw_outlines(nuclei, angle, settings.shape, rng)

    def propose(waiting: np.ndarray) -> list[np.ndarray]:
        here = centres if len(waiting) == count else ground.draw_centres(len(waiting), rng)
        canvas = warp_points(inverse, here)
        lengths = [len(outlines[i]) for i in waiting]
        points = np.concatenate([outlines[i] for i in waiting]) + np.repeat(canvas, lengths, axis=0)
        return np.split(warp_points(homography, points), np.cumsum(lengths)[:-1])

    placed = place_nuclei(
        outlines, propose, size, settings.max_overlap, settings.min_area_um2 / settings.mpp**2, settings.tries
    )
    return NucleusMask(placed.label, nuclei.category[placed.index], corners, count)
