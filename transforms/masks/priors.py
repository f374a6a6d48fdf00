"""What is known of the nuclei before any is drawn: how many, how large, of what shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["NucleusClass", "NucleusPrior", "NucleusShape", "check_shares"]


@dataclass(frozen=True)
class NucleusPrior:
    """Density and size of the nuclei of a tissue; fixed by hand, or estimated from a tile.

    Attributes:
        density: mean number of nuclei per mm².
        density_spread: standard deviation of the logarithm of the density, from patch to patch.
        area: median area of a nucleus, in µm².
        area_spread: standard deviation of the logarithm of the area.
        elongation: median ratio of the long to the short axis, at least 1.
        elongation_spread: standard deviation of the logarithm of the elongation.
    """

    density: float = 2500.0
    density_spread: float = 0.12
    area: float = 38.0
    area_spread: float = 0.4
    elongation: float = 1.35
    elongation_spread: float = 0.2

    def __post_init__(self) -> None:
        for name in ("density", "density_spread", "area_spread", "elongation_spread"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must not be negative or infinite, got {getattr(self, name)}")
        if not 0 < self.area < math.inf:
            raise ValueError(f"area must be positive, got {self.area}")
        if not 1 <= self.elongation < math.inf:
            raise ValueError(f"elongation must be at least 1, got {self.elongation}")


@dataclass(frozen=True)
class NucleusShape:
    """How the outline of a nucleus departs from an ellipse (paper: "a random irregularity value").

    Attributes:
        vertices: smallest and largest number of corners of the polygon.
        irregularity: range of the unevenness of the angles between corners; 0 spaces them evenly, 1 anyhow.
        spikiness: range of the standard deviation of the corners' distance from the centre, as a share of the radius;
            0 leaves them on the ellipse.
        smooth: share of the nuclei whose corners are rounded off; the rest stays angular.
    """

    vertices: tuple[int, int] = (10, 17)
    irregularity: tuple[float, float] = (0.3, 1.0)
    spikiness: tuple[float, float] = (0.03, 0.13)
    smooth: float = 0.85

    def __post_init__(self) -> None:
        if not 3 <= self.vertices[0] <= self.vertices[1]:
            raise ValueError(f"vertices must be a range that starts at 3 or above, got {self.vertices}")
        if not 0 <= self.irregularity[0] <= self.irregularity[1] <= 1:
            raise ValueError(f"irregularity must be a range within [0, 1], got {self.irregularity}")
        if not 0 <= self.spikiness[0] <= self.spikiness[1]:
            raise ValueError(f"spikiness must be a range of non-negative values, got {self.spikiness}")
        if not 0 <= self.smooth <= 1:
            raise ValueError(f"smooth must lie in [0, 1], got {self.smooth}")


@dataclass(frozen=True)
class NucleusClass:
    """A kind of nucleus given by rules instead of examples, as the paper's lymphocytes (section 5.4).

    Attributes:
        name: what to call it.
        share: its share of all nuclei, in (0, 1].
        diameter_um: range of the diameter of the circle of equal area, in µm.
        roundness: range of the ratio of the short to the long axis; 1 is a circle.
        darkness: range of quantiles among the colours of the tile's own nuclei, from 0, its palest, to 1, its darkest.

    Example:
        >>> NucleusClass("lymphocyte", share=0.3, diameter_um=(6, 8), roundness=(0.85, 1), darkness=(0.7, 1))
    """

    name: str
    share: float
    diameter_um: tuple[float, float]
    roundness: tuple[float, float] = (0.5, 1.0)
    darkness: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must lie in (0, 1], got {self.share}")
        if not 0 < self.diameter_um[0] <= self.diameter_um[1]:
            raise ValueError(f"diameter_um must be a range of positive values, got {self.diameter_um}")
        if not 0 < self.roundness[0] <= self.roundness[1] <= 1:
            raise ValueError(f"roundness must be a range within (0, 1], got {self.roundness}")
        if not 0 <= self.darkness[0] <= self.darkness[1] <= 1:
            raise ValueError(f"darkness must be a range within [0, 1], got {self.darkness}")


def check_shares(classes: Sequence[NucleusClass]) -> None:
    """Refuse classes that add up to more than all nuclei."""
    total = sum(rule.share for rule in classes)
    if total > 1 + 1e-9:
        raise ValueError(f"the shares of the nucleus classes must not add up to more than 1, got {total:g}")
