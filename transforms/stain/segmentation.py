"""Super- and sub-segmentation of nuclear material by Otsu's threshold (paper, section 4.1)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from skimage.filters import threshold_otsu

from .deconvolution import rgb_to_hed, rgb_to_od

__all__ = ["NuclearMaterial", "fill_small_holes", "remove_small_objects", "segment_nuclear_material"]

# Mean optical density under which a pixel is glass or lumen: 8 % of the light absorbed.
_GLASS_OD = 0.08
# Contrast of Otsu's two classes of haematoxylin, in optical density, under which there are no nuclei to separate.
# Tiles without a nucleus (muscle, colloid, red cells) measured 0.1 to 0.25, the palest tiles with nuclei 0.3.
_LEAST_CONTRAST = 0.22
# Pieces under this area are grain, not nuclei, in µm²; taking them out would take the tissue's texture with them.
_SPECK_UM2 = 5.0


@dataclass(frozen=True)
class NuclearMaterial:
    """Where the nuclei of a tile are, in three strictnesses.

    Attributes:
        sub: bool, shape (H, W); inside nuclei only (sub-segmentation).
        otsu: bool, shape (H, W); Otsu's threshold itself.
        super: bool, shape (H, W); contains every nucleus with its rim (super-segmentation).
        tissue: bool, shape (H, W); not glass, not lumen.
        contrast: difference of the mean haematoxylin of Otsu's two classes, in optical density.
    """

    sub: np.ndarray
    otsu: np.ndarray
    super: np.ndarray
    tissue: np.ndarray
    contrast: float


def fill_small_holes(mask: np.ndarray, max_area: float) -> np.ndarray:
    """Fill the holes of a mask that are at most ``max_area`` pixels large.

    Args:
        mask: bool, shape (H, W).
        max_area: largest hole that is filled, in pixels.

    Returns:
        bool, shape (H, W).
    """
    count, components, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    if count == 1:
        return mask
    height, width = mask.shape
    left, top, w, h, area = stats.T
    inside = (left > 0) & (top > 0) & (left + w < width) & (top + h < height)
    hole = inside & (area <= max_area)
    hole[0] = False  # component 0 is the mask itself
    return mask | hole[components]


def remove_small_objects(mask: np.ndarray, min_area: float) -> np.ndarray:
    """Remove the pieces of a mask that are smaller than ``min_area`` pixels.

    Args:
        mask: bool, shape (H, W).
        min_area: smallest piece that stays, in pixels.

    Returns:
        bool, shape (H, W).
    """
    _, components, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    large = stats[:, cv2.CC_STAT_AREA] >= min_area
    large[0] = False  # component 0 is what lies outside the mask
    return large[components]


def _above_fraction(values: np.ndarray, tissue: np.ndarray, fraction: float) -> np.ndarray:
    """The given fraction of the tissue's pixels: those of the highest values."""
    if fraction <= 0:
        return np.zeros_like(tissue)
    return tissue & (values > np.quantile(values[tissue], 1 - min(fraction, 1.0)))


def segment_nuclear_material(
    rgb: np.ndarray, mpp: float = 0.25, sub_factor: float = 0.92, super_factor: float = 1.08, rim_um: float = 0.75
) -> NuclearMaterial:
    """Find nuclear material by Otsu's threshold on haematoxylin, over the tissue alone.

    The nuclear fraction f that Otsu finds is scaled: the ``sub_factor * f`` darkest pixels are the sub-segmentation,
    the ``super_factor * f`` darkest ones, with the holes of pale nuclei filled and the rim added, the
    super-segmentation. A tile whose two classes hardly differ has no nuclei: all three masks are empty.

    Args:
        rgb: uint8, shape (H, W, 3).
        mpp: µm per pixel.
        sub_factor: share of the nuclear fraction that is surely nucleus, in (0, 1].
        super_factor: multiple of the nuclear fraction that surely holds all nuclei, at least 1.
        rim_um: width that is added around the super-segmentation, in µm.
    """
    if not 0 < sub_factor <= 1 <= super_factor:
        raise ValueError(
            f"sub_factor must lie in (0, 1] and super_factor be at least 1, got {sub_factor}, {super_factor}"
        )
    tissue = rgb_to_od(rgb).mean(axis=2) > _GLASS_OD
    empty = np.zeros(tissue.shape, bool)
    if not tissue.any():
        return NuclearMaterial(empty, empty, empty, tissue, 0.0)
    haematoxylin = np.ascontiguousarray(rgb_to_hed(rgb)[..., 0])
    smooth = cv2.GaussianBlur(haematoxylin, (0, 0), 0.375 / mpp)
    values = smooth[tissue]
    if np.ptp(values) == 0:
        return NuclearMaterial(empty, empty, empty, tissue, 0.0)
    otsu = tissue & (smooth > threshold_otsu(values))
    contrast = float(haematoxylin[otsu].mean() - haematoxylin[tissue & ~otsu].mean())
    if contrast < _LEAST_CONTRAST:
        return NuclearMaterial(empty, empty, empty, tissue, contrast)
    fraction = otsu.sum() / tissue.sum()
    generous = remove_small_objects(_above_fraction(smooth, tissue, super_factor * fraction), _SPECK_UM2 / mpp**2)
    generous = fill_small_holes(generous, 60 / mpp**2)
    size = 2 * round(rim_um / mpp) + 1
    rim = cv2.dilate(generous.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))) > 0
    sub = otsu & _above_fraction(smooth, tissue, sub_factor * fraction)
    return NuclearMaterial(sub & rim, otsu & rim, rim, tissue, contrast)
