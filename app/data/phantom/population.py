"""Where nuclei lie, of which kind and how they are turned: region by region, as dense as the region asks for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .field import Field
from .layout import Layout

__all__ = ["KINDS", "Kind", "Seedling", "populate"]

_PEAK_DENSITY = 20_000.0  # candidates per mm²; what is too close is dropped, so no region reaches it


@dataclass(frozen=True)
class Kind:
    """A kind of nucleus. Pairs are ranges of uniform draws; amounts of stain are in units of optical density.

    Attributes:
        radius: radius of the disc of the same area, in µm.
        aspect: long axis over short axis.
        dent: strength of the irregularities of the outline, as a share of the radius.
        bend: how far a long nucleus is bent, as a share of its length.
        body: haematoxylin of the nucleoplasm.
        rim: haematoxylin that the membrane adds.
        clump: haematoxylin that the chromatin clumps add.
        clump_period: distance of the clumps in µm.
        nucleoli: largest number of nucleoli.
    """

    radius: tuple[float, float]
    aspect: tuple[float, float]
    dent: float
    bend: float
    body: tuple[float, float]
    rim: float
    clump: float
    clump_period: float
    nucleoli: int


KINDS = {
    "epithelial": Kind((3.3, 5.0), (1.05, 1.6), 0.05, 0.02, (0.6, 1.25), 0.4, 0.5, 1.1, 2),
    "vesicular": Kind((4.0, 6.0), (1.0, 1.45), 0.06, 0.02, (0.22, 0.5), 0.5, 0.35, 1.4, 2),
    "hyperchromatic": Kind((2.8, 4.8), (1.1, 2.2), 0.06, 0.06, (1.5, 2.3), 0.15, 0.3, 1.6, 0),
    "fibroblast": Kind((2.5, 3.7), (2.2, 4.8), 0.05, 0.07, (0.6, 1.6), 0.3, 0.45, 0.9, 1),
    "lymphocyte": Kind((2.6, 3.4), (1.0, 1.25), 0.04, 0.0, (1.2, 1.9), 0.25, 0.55, 1.3, 0),
    "stromal": Kind((2.8, 4.2), (1.2, 2.1), 0.08, 0.05, (0.5, 1.4), 0.35, 0.5, 1.0, 1),
}

_MIXTURES = {
    "epithelium": {"epithelial": 0.64, "vesicular": 0.24, "hyperchromatic": 0.09, "lymphocyte": 0.03},
    "lymphoid": {"lymphocyte": 0.86, "vesicular": 0.05, "stromal": 0.06, "fibroblast": 0.03},
    "stroma": {"fibroblast": 0.51, "stromal": 0.20, "vesicular": 0.04, "lymphocyte": 0.18, "hyperchromatic": 0.07},
    "wall": {"fibroblast": 0.85, "hyperchromatic": 0.15},
}


@dataclass(frozen=True)
class Seedling:
    """A nucleus that has its place but no outline yet.

    Attributes:
        centre: (row, column) in µm.
        kind: what it is.
        radius: radius of the disc of the same area, in µm.
        aspect: long axis over short axis.
        angle: of the long axis in radians, from the columns' axis towards growing rows.
    """

    centre: tuple[float, float]
    kind: Kind
    radius: float
    aspect: float
    angle: float


def populate(rng: np.random.Generator, layout: Layout) -> list[Seedling]:
    """Place the nuclei of a plan.

    Candidates are thrown evenly and kept with the chance that the local density asks for; one that comes too close to
    an earlier one is dropped. "Too close" is drawn per nucleus and begins below the sum of the radii, so that some
    nuclei touch and some overlap.
    """
    height, width = layout.grid.extent
    count = rng.poisson(_PEAK_DENSITY * height * width / 1e6)
    points = rng.uniform((0, 0), (height, width), size=(count, 2))
    regions, density = _regions(rng, layout, points)
    wanted = rng.random(count) * _PEAK_DENSITY < density
    points, regions = points[wanted], regions[wanted]
    angles = _angles(layout, points, regions)
    grade = rng.uniform(0.92, 1.12)  # one tumour has larger nuclei than another
    crowd = _Crowd(cell=14.0)
    seedlings = []
    for point, region, angle in zip(points, regions, angles, strict=True):
        mixture = _MIXTURES[region]
        kind = KINDS[list(mixture)[rng.choice(len(mixture), p=list(mixture.values()))]]
        radius = rng.uniform(*kind.radius) * (grade if region == "epithelium" else 1.0)
        aspect = rng.uniform(*kind.aspect)
        turn = rng.normal(0, 0.25) if aspect > 1.5 else rng.uniform(0, np.pi)
        if crowd.admits(point, radius * aspect**0.25, rng.uniform(0.66, 1.1)):
            centre = (float(point[0]), float(point[1]))
            seedlings.append(Seedling(centre, kind, float(radius), float(aspect), float(angle + turn)))
    return seedlings


def _regions(
    rng: np.random.Generator, layout: Layout, points: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.str_], Field]:
    """Name of the region and density in nuclei per mm² at each point."""
    grid = layout.grid
    gland, space, vessel = (grid.at(values, points) for values in (layout.gland, layout.space, layout.vessel))
    lymphoid = grid.at(layout.lymphoid, points)
    names = ["epithelium", "wall", "lymphoid"]
    where = [gland > 2.5, (vessel > -4.5) | ((space > -3.5) & (gland < -2)), lymphoid > 0]
    # Nuclei of glands crowd at the basement membrane.
    basal = 0.4 + np.exp(-0.5 * ((gland - 7) / 4.5) ** 2)
    densities = [
        rng.uniform(8000, 18_000) * basal,
        1500 + 3000 * (vessel > -4.5),
        20_000 * np.clip(lymphoid * 4, 0.25, 1),
    ]
    patchiness: Field = np.exp(0.5 * grid.noise(rng, 60))
    stroma = rng.uniform(1400, 3600) * grid.at(patchiness, points)
    regions, density = np.select(where, names, "stroma"), np.select(where, densities, stroma)
    # The cytoplasm keeps nuclei off the lumen; walls of vessels and fat are thin, so nuclei come close to them.
    clearance = np.where(regions == "wall", -1.2, np.where(regions == "epithelium", -4.0, -2.5))
    allowed = (grid.at(layout.tissue, points) > 2.5) & (space < clearance)
    return regions, np.where(allowed, density, 0).astype(np.float32)


def _angles(layout: Layout, points: npt.NDArray[np.float64], regions: npt.NDArray[np.str_]) -> npt.NDArray[np.float64]:
    """Direction of the long axis: across the basement membrane, around spaces, elsewhere along the fibres."""

    def normal(values: Field) -> npt.NDArray[np.float64]:
        down: Field = np.gradient(values, axis=0)
        right: Field = np.gradient(values, axis=1)
        return np.arctan2(layout.grid.at(down, points), layout.grid.at(right, points))

    fibres = normal(layout.across) + np.pi / 2
    return np.select(
        [regions == "epithelium", regions == "wall"], [normal(layout.gland), normal(layout.space) + np.pi / 2], fibres
    )


class _Crowd:
    """Nuclei placed so far, in cells for a quick search of neighbours.

    Args:
        cell: side of a cell in µm; at least the largest distance that can be too close.
    """

    def __init__(self, cell: float) -> None:
        self._cell = cell
        self._members: dict[tuple[int, int], list[tuple[float, float, float]]] = {}

    def admits(self, point: npt.NDArray[np.float64], radius: float, closeness: float) -> bool:
        """Add a nucleus unless one is nearer than ``closeness`` times the sum of radii; say whether it was added."""
        row, column = float(point[0]), float(point[1])
        home = (int(row // self._cell), int(column // self._cell))
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                for other in self._members.get((home[0] + down, home[1] + right), ()):
                    limit = closeness * (radius + other[2])
                    if (row - other[0]) ** 2 + (column - other[1]) ** 2 < limit * limit:
                        return False
        self._members.setdefault(home, []).append((row, column, radius))
        return True
