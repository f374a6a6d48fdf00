"""Masks: random nuclei with instance ids, and the quadrilateral transform."""

from .array import RandNucleusMask, RandQuadrilateral
from .dictionary import RandNucleusMaskd, RandQuadrilaterald
from .mask import MaskSettings, NucleusMask, draw_mask
from .placement import PlacedNuclei, place_nuclei
from .polygons import NucleusDraw, draw_nuclei, draw_outlines, polygon_area, round_corners
from .priors import NucleusClass, NucleusPrior, NucleusShape
from .quadrilateral import draw_corners, quadrilateral_homography, warp_image, warp_points

__all__ = [
    "MaskSettings",
    "NucleusClass",
    "NucleusDraw",
    "NucleusMask",
    "NucleusPrior",
    "NucleusShape",
    "PlacedNuclei",
    "RandNucleusMask",
    "RandNucleusMaskd",
    "RandQuadrilateral",
    "RandQuadrilaterald",
    "draw_corners",
    "draw_mask",
    "draw_nuclei",
    "draw_outlines",
    "place_nuclei",
    "polygon_area",
    "quadrilateral_homography",
    "round_corners",
    "warp_image",
    "warp_points",
]
