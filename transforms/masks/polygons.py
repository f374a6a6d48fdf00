"""Random polygons as outlines of nuclei (paper, section 4.1: points on a circle, moved towards and from its centre)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .priors import NucleusClass, NucleusPrior, NucleusShape, check_shares

__all__ = ["NucleusDraw", "draw_nuclei", "draw_outlines", "polygon_area", "round_corners"]

# Rounds of corner cutting: after two, ten corners are forty and look smooth at 40x.
_ROUNDS = 2
# Widest gap between two corners, as a share of the full turn; half a turn would leave the centre out.
_WIDEST = 0.45


@dataclass(frozen=True)
class NucleusDraw:
    """Sizes and shapes drawn for a number of nuclei, before they have a place.

    Attributes:
        area: float64, shape (N,), in px².
        elongation: float64, shape (N,), ratio of the long to the short axis, at least 1.
        category: int64, shape (N,); 0 follows the prior, k the k-th :class:`NucleusClass`.
    """

    area: np.ndarray
    elongation: np.ndarray
    category: np.ndarray


def polygon_area(vertices: np.ndarray) -> np.ndarray:
    """Signed area of polygons by the shoelace formula; positive when they run counter-clockwise in (x, y).

    Args:
        vertices: float, shape (..., V, 2), as (x, y).

    Returns:
        float, shape (...).
    """
    x, y = vertices[..., 0], vertices[..., 1]
    return 0.5 * (x * np.roll(y, -1, axis=-1) - np.roll(x, -1, axis=-1) * y).sum(axis=-1)


def round_corners(vertices: np.ndarray, rounds: int = _ROUNDS) -> np.ndarray:
    """Cut the corners of closed polygons at a quarter and three quarters of each edge (Chaikin 1974).

    Args:
        vertices: float, shape (..., V, 2).
        rounds: number of times; 0 returns the polygons unchanged.

    Returns:
        float, shape (..., V * 2**rounds, 2), inside the convex hull of the input.
    """
    for _ in range(rounds):
        following = np.roll(vertices, -1, axis=-2)
        pairs = np.stack([0.75 * vertices + 0.25 * following, 0.25 * vertices + 0.75 * following], axis=-2)
        vertices = pairs.reshape(*vertices.shape[:-2], -1, 2)
    return vertices


def draw_nuclei(
    count: int,
    prior: NucleusPrior,
    mpp: float,
    rng: np.random.RandomState,
    size_field: np.ndarray | None = None,
    classes: tuple[NucleusClass, ...] = (),
) -> NucleusDraw:
    """Draw sizes, elongations and classes.

    Args:
        count: number of nuclei.
        prior: what nuclei of no class follow.
        mpp: µm per pixel.
        rng: source of randomness.
        size_field: float, shape (N,), standard normal values that neighbours share, so that size comes in clusters;
            half of the variance of the logarithm of the area is theirs. None: sizes are independent.
        classes: rules for some of the nuclei; their shares must not add up to more than 1.
    """
    noise = rng.standard_normal(count)
    if size_field is not None:
        noise = (noise + size_field) / np.sqrt(2)
    area = prior.area * np.exp(prior.area_spread * noise)
    elongation = np.maximum(prior.elongation * np.exp(prior.elongation_spread * rng.standard_normal(count)), 1.0)
    check_shares(classes)
    bounds = np.cumsum([rule.share for rule in classes])
    category = (np.searchsorted(bounds, rng.uniform(size=count), side="right") + 1) % (len(classes) + 1)
    for number, rule in enumerate(classes, 1):
        chosen = category == number
        area[chosen] = np.pi / 4 * rng.uniform(*rule.diameter_um, size=chosen.sum()) ** 2
        elongation[chosen] = 1 / rng.uniform(*rule.roundness, size=chosen.sum())
    return NucleusDraw(area / mpp**2, elongation, category)


def _angular_gaps(weights: np.ndarray) -> np.ndarray:
    """Angles between corners, in proportion to the weights, shape (N, V), but none so wide that the centre is left out.

    A polygon that does not hold its centre may cross itself, and its area may come near to 0.
    """
    share = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    widest, even = share.max(axis=1, keepdims=True), 1 / weights.shape[1]
    evening = np.clip((widest - _WIDEST) / np.maximum(widest - even, 1e-9), 0, 1)
    return 2 * np.pi * (share + evening * (even - share))


def draw_outlines(
    nuclei: NucleusDraw, angle: np.ndarray, shape: NucleusShape, rng: np.random.RandomState
) -> list[np.ndarray]:
    """Draw a polygon around the origin for each nucleus, of exactly its area.

    Args:
        nuclei: areas and elongations.
        angle: float, shape (N,), direction of the long axis from the x axis, in radians.
        shape: how the outlines depart from ellipses.
        rng: source of randomness.

    Returns:
        N arrays, float64, shape (V, 2), as (x, y) in pixels; V differs from nucleus to nucleus.
    """
    count = len(nuclei.area)
    corners = rng.randint(shape.vertices[0], shape.vertices[1] + 1, size=count)
    irregularity = rng.uniform(*shape.irregularity, size=count)
    spikiness = rng.uniform(*shape.spikiness, size=count)
    smooth = rng.uniform(size=count) < shape.smooth
    gaps = rng.uniform(-1, 1, size=(count, shape.vertices[1]))
    radii = rng.standard_normal((count, shape.vertices[1]))
    outlines: list[np.ndarray] = [np.empty(0)] * count
    # Nuclei of equal vertex count and smoothness are one array operation.
    for vertices in np.unique(corners):
        for rounded in (True, False):
            group = np.flatnonzero((corners == vertices) & (smooth == rounded))
            if not len(group):
                continue
            theta = np.cumsum(_angular_gaps(1 + irregularity[group, None] * gaps[group, :vertices]), axis=1)
            radius = np.clip(1 + spikiness[group, None] * radii[group, :vertices], 0.2, 2.0)
            stretch = np.sqrt(nuclei.elongation[group, None])
            points = np.stack([radius * np.cos(theta) * stretch, radius * np.sin(theta) / stretch], axis=-1)
            if rounded:
                points = round_corners(points)
            # A wide gap between two corners cuts a piece off: scaling afterwards keeps the area what was asked for.
            points *= np.sqrt(nuclei.area[group] / np.abs(polygon_area(points)))[:, None, None]
            cos, sin = np.cos(angle[group, None]), np.sin(angle[group, None])
            x, y = points[..., 0] * cos - points[..., 1] * sin, points[..., 0] * sin + points[..., 1] * cos
            for index, outline in zip(group, np.stack([x, y], axis=-1), strict=True):
                outlines[index] = outline
    return outlines
