"""The initial, GAN-free synthesis: tile analysis once per tile, then patches at milliseconds each."""

from .analysis import NuclearColours, TileAnalysis, analyze_tile
from .array import AnalyzeTile, RandSynthesizeNuclei
from .crop import Crop, draw_crop, take_crop
from .dictionary import AnalyzeTiled, RandSynthesizeNucleid
from .patch import PatchDraw, SynthesisSettings, SyntheticPatch, draw_patch, paint_patch
from .pieces import FoundNuclei, split_nuclei

__all__ = [
    "AnalyzeTile",
    "AnalyzeTiled",
    "Crop",
    "FoundNuclei",
    "NuclearColours",
    "PatchDraw",
    "RandSynthesizeNuclei",
    "RandSynthesizeNucleid",
    "SynthesisSettings",
    "SyntheticPatch",
    "TileAnalysis",
    "analyze_tile",
    "draw_crop",
    "draw_patch",
    "paint_patch",
    "split_nuclei",
    "take_crop",
]
