"""Textures: the nucleus-free background, the look of nuclei, their mix, and distractors."""

from .array import (
    InpaintBackground,
    MixNuclei,
    RandBlurBoundary,
    RandClearChromatin,
    RandDistractors,
    RandNuclearTexture,
)
from .background import inpaint_background
from .chromatin import chromatin_texture
from .dictionary import (
    InpaintBackgroundd,
    MixNucleid,
    RandBlurBoundaryd,
    RandClearChromatind,
    RandDistractorsd,
    RandNuclearTextured,
)
from .direction import fibre_direction
from .distractors import Distractors, DistractorSettings, draw_distractors, paint_distractors
from .nuclei import (
    BlurSpot,
    blur_boundary,
    clear_chromatin,
    draw_spots,
    eosin_texture,
    extend_labels,
    lost_noise,
    mix,
    nuclear_od,
    rim_profile,
)

__all__ = [
    "BlurSpot",
    "DistractorSettings",
    "Distractors",
    "InpaintBackground",
    "InpaintBackgroundd",
    "MixNuclei",
    "MixNucleid",
    "RandBlurBoundary",
    "RandBlurBoundaryd",
    "RandClearChromatin",
    "RandClearChromatind",
    "RandDistractors",
    "RandDistractorsd",
    "RandNuclearTexture",
    "RandNuclearTextured",
    "blur_boundary",
    "chromatin_texture",
    "clear_chromatin",
    "draw_distractors",
    "draw_spots",
    "eosin_texture",
    "extend_labels",
    "fibre_direction",
    "inpaint_background",
    "lost_noise",
    "mix",
    "nuclear_od",
    "paint_distractors",
    "rim_profile",
]
