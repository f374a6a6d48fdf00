"""Stains: optical density, colour deconvolution, nuclear material, and variation of staining."""

from .array import ColorDeconvolution, RandStainJitter, SegmentNuclearMaterial
from .deconvolution import hed_to_rgb, od_to_rgb, rgb_to_hed, rgb_to_od
from .dictionary import ColorDeconvolutiond, RandStainJitterd, SegmentNuclearMateriald
from .jitter import scale_stains
from .segmentation import (
    NuclearMaterial,
    fill_small_holes,
    haematoxylin_relief,
    remove_small_objects,
    segment_nuclear_material,
)

__all__ = [
    "ColorDeconvolution",
    "ColorDeconvolutiond",
    "NuclearMaterial",
    "RandStainJitter",
    "RandStainJitterd",
    "SegmentNuclearMaterial",
    "SegmentNuclearMateriald",
    "fill_small_holes",
    "haematoxylin_relief",
    "hed_to_rgb",
    "od_to_rgb",
    "remove_small_objects",
    "rgb_to_hed",
    "rgb_to_od",
    "scale_stains",
    "segment_nuclear_material",
]
