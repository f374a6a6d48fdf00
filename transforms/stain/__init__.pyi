from .array import ColorDeconvolution, NormalizeStain, RandStainJitter, SegmentNuclearMaterial
from .deconvolution import hed_to_rgb, od_to_rgb, rgb_to_hed, rgb_to_od
from .dictionary import ColorDeconvolutiond, NormalizeStaind, RandStainJitterd, SegmentNuclearMateriald
from .jitter import scale_stains
from .macenko import MACENKO_TARGET, MacenkoStatistics, apply_macenko, fit_macenko
from .normalisation import STAIN_TARGETS, StainStatistics, fit_stain, normalize_stain
from .regions import fill_small_holes, remove_small_objects
from .reinhard import REINHARD_TARGET, ReinhardStatistics, apply_reinhard, fit_reinhard
from .segmentation import NuclearMaterial, haematoxylin_relief, segment_nuclear_material

__all__ = [
    "MACENKO_TARGET",
    "REINHARD_TARGET",
    "STAIN_TARGETS",
    "ColorDeconvolution",
    "ColorDeconvolutiond",
    "MacenkoStatistics",
    "NormalizeStain",
    "NormalizeStaind",
    "NuclearMaterial",
    "RandStainJitter",
    "RandStainJitterd",
    "ReinhardStatistics",
    "SegmentNuclearMaterial",
    "SegmentNuclearMateriald",
    "StainStatistics",
    "apply_macenko",
    "apply_reinhard",
    "fill_small_holes",
    "fit_macenko",
    "fit_reinhard",
    "fit_stain",
    "haematoxylin_relief",
    "hed_to_rgb",
    "normalize_stain",
    "od_to_rgb",
    "remove_small_objects",
    "rgb_to_hed",
    "rgb_to_od",
    "scale_stains",
    "segment_nuclear_material",
]
