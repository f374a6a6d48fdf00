"""Super- and sub-segmentation of nuclear material by Otsu's threshold (paper, section 4.1)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.stats import kurtosis
from skimage.filters import threshold_otsu

from ..base import check_mpp
from .deconvolution import rgb_to_od
from .regions import fill_small_holes, remove_small_objects

__all__ = ["NuclearMaterial", "haematoxylin_relief", "segment_nuclear_material"]

# Difference of optical density between an image's channels above which there is stain, hence tissue: a dim lamp darkens
# all channels alike. What is very dark is tissue too, whatever its colour.
_STAINED_CHROMA, _DARK_OD = 0.06, 0.6
# There are no nuclei to separate where Otsu's two classes hardly differ, in optical density.
_LEAST_CONTRAST = 0.05
# Of a single class with a tail, few nuclei in even tissue, Otsu makes two halves. Among real tiles of which it took
# more than this fraction, excess kurtosis was -0.6 to 0.6 where nuclei did lie so densely, 1 to 13 where they were few.
_HALF_FRACTION, _TAILED_KURTOSIS = 0.42, 0.8
# Distance over which the level is taken out before the threshold, in µm: far wider than nuclei.
_LEVEL_UM = 10.0
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
        contrast: difference of the means of Otsu's two classes, in optical density of red light.
    """

    sub: np.ndarray
    otsu: np.ndarray
    super: np.ndarray
    tissue: np.ndarray
    contrast: float


def _above_fraction(values: np.ndarray, tissue: np.ndarray, fraction: float) -> np.ndarray:
    """The given fraction of the tissue's pixels: those of the highest values."""
    return tissue & (values > np.quantile(values[tissue], 1 - min(fraction, 1.0)))


def _find_tissue(od: np.ndarray, mpp: float) -> np.ndarray:
    """Where there is tissue, not glass or lumen; smooth over about a µm, since single pixels are noisy."""
    red, green, blue = cv2.split(cv2.GaussianBlur(od, (0, 0), 1.0 / mpp))
    chroma = cv2.max(cv2.max(red, green), blue) - cv2.min(cv2.min(red, green), blue)
    return (chroma > _STAINED_CHROMA) | ((red + green + blue) / 3 > _DARK_OD)


def haematoxylin_relief(od: np.ndarray, tissue: np.ndarray, mpp: float) -> np.ndarray:
    """How much more haematoxylin there is than around, by the one channel in which eosin absorbs next to nothing.

    Unmixing with fixed stain vectors takes part of a strong eosin, or of a dim lamp's grey, for haematoxylin: in pink
    tissue Otsu's threshold then divides eosin instead of finding nuclei. Red light sees haematoxylin alone, and taking
    out the level of the surroundings removes the lamp.

    Args:
        od: float32, shape (H, W, 3), optical density.
        tissue: bool, shape (H, W).
        mpp: µm per pixel.

    Returns:
        float32, shape (H, W), optical density in red light less its mean over the tissue within some 10 µm.
    """
    red = np.ascontiguousarray(od[..., 0])
    weight = tissue.astype(np.float32)
    # So wide a mean needs no full resolution.
    step = max(round(_LEVEL_UM / mpp / 8), 1)
    size = (-(-red.shape[1] // step), -(-red.shape[0] // step))
    total, share = (cv2.resize(values, size, interpolation=cv2.INTER_AREA) for values in (red * weight, weight))
    sigma = _LEVEL_UM / mpp / step
    level = cv2.GaussianBlur(total, (0, 0), sigma) / np.maximum(cv2.GaussianBlur(share, (0, 0), sigma), 1e-3)
    smooth = cv2.GaussianBlur(red, (0, 0), 0.375 / mpp)
    return smooth - cv2.resize(level, red.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _nuclear_threshold(values: np.ndarray) -> float:
    """Otsu's threshold; where it merely halves a single class, Otsu's threshold of the upper half."""
    threshold = float(threshold_otsu(values))
    upper = values[values > threshold]
    if len(upper) > _HALF_FRACTION * len(values) and kurtosis(values) > _TAILED_KURTOSIS:
        return float(threshold_otsu(upper))
    return threshold


def _split_by_otsu(stain: np.ndarray, tissue: np.ndarray) -> tuple[np.ndarray, float]:
    """Pixels above the threshold, and the contrast of the two classes; 0 where there is nothing to divide."""
    values = stain[tissue]
    # In an even colour rounding errors alone are left, which no threshold divides.
    if not len(values) or np.ptp(values) < 1e-3:
        return np.zeros_like(tissue), 0.0
    above = tissue & (stain > _nuclear_threshold(values))
    return above, float(stain[above].mean() - stain[tissue & ~above].mean())


def segment_nuclear_material(
    rgb: np.ndarray, mpp: float = 0.25, sub_factor: float = 0.92, super_factor: float = 1.08, rim_um: float = 0.75
) -> NuclearMaterial:
    """Find nuclear material by Otsu's threshold on the relief of haematoxylin, over the tissue alone.

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
    if rim_um < 0:
        raise ValueError(f"rim_um must not be negative, got {rim_um}")
    check_mpp(mpp)
    od = rgb_to_od(rgb)
    tissue = _find_tissue(od, mpp)
    stain = haematoxylin_relief(od, tissue, mpp)
    otsu, contrast = _split_by_otsu(stain, tissue)
    if contrast < _LEAST_CONTRAST:
        empty = np.zeros_like(tissue)
        return NuclearMaterial(empty, empty, empty, tissue, contrast)
    fraction = otsu.sum() / tissue.sum()
    generous = remove_small_objects(_above_fraction(stain, tissue, super_factor * fraction), _SPECK_UM2 / mpp**2)
    generous = fill_small_holes(generous, 60 / mpp**2)
    size = 2 * round(rim_um / mpp) + 1
    rim = cv2.dilate(generous.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))) > 0
    return NuclearMaterial(
        _above_fraction(stain, tissue, sub_factor * fraction) & rim, otsu & rim, rim, tissue, contrast
    )
