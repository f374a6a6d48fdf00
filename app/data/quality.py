"""Is a tile worth learning from? Measures of tissue, focus, folds and pen marks, on pixels alone.

All is measured on optical density, OD = -ln((I + 1) / 256), per channel. A dim lamp or a grey glass adds the same OD to
each channel, so differences between channels do not see it; most measures here are such differences.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .limits import QualityLimits

__all__ = [
    "TileQuality",
    "blur_score",
    "fold_share",
    "measure",
    "pen_share",
    "refusal",
    "tissue_mask",
    "tissue_share",
]

# Tissue: chroma, the largest difference of OD between channels. Glass of real slides lies below 0.04 (pale violet or
# grey stroma begins at 0.06); between the two, Otsu's threshold decides.
_CHROMA_RANGE = (0.05, 0.07)
_CHROMA_GAP = 0.1  # Two classes nearer than this are one: all glass, or all tissue.
_TISSUE_BLUR_UM = 3.0
_SPECK_UM2 = 2000.0

_COARSE_MPP = 2.0  # Tissue, folds and pen marks are large; a tile is reduced to this scale first.

# Focus: three Gaussians, in µm, of which the differences are the fine and the middle band.
_FOCUS_UM = (0.25, 0.5, 1.0)
_FOCUS_PERCENTILE = 98.0

_FOLD_BLUR_UM = 5.0
_FOLD_FACTOR = 1.5

# Ink, as differences of OD: no stained tissue of the samples has red more than 0.1 above green (haematoxylin comes
# nearest), while blue and green ink have 0.4 and more.
_COOL_INK = 0.2
_RED_INK = 1.2  # Blue above red: eosin and blood absorb green far more than blue, red ink both.
_RED_INK_RATIO = 0.7
_RED_INK_TEXTURE = 0.04  # A pool of blood has the same colour, but is grainy.
_BLACK_INK = 1.8
_BLACK_INK_CHROMA = 0.3


@dataclass(frozen=True)
class TileQuality:
    """The measures of a tile; each is explained at the function of its name."""

    tissue_share: float
    blur_score: float
    fold_share: float
    pen_share: float


def tissue_mask(thumbnail: np.ndarray, mpp: float) -> np.ndarray:
    """Tell tissue from glass.

    The threshold on chroma is Otsu's, kept within a range: where there is only glass or only tissue, Otsu would split
    it in two. Specks and holes below 2000 µm² (or a tenth of the picture, if that is less) are removed.

    Args:
        thumbnail: uint8, shape (H, W, 3), RGB.
        mpp: its scale, µm per pixel; 1 to 16 is sensible.

    Returns:
        bool, shape (H, W).
    """
    density = _density(thumbnail)
    chroma = _blur(density.max(axis=2) - density.min(axis=2), _TISSUE_BLUR_UM / mpp)
    mask = chroma > _chroma_threshold(chroma)
    smallest = min(_SPECK_UM2 / mpp**2, 0.1 * mask.size)
    return ~_without_specks(~_without_specks(mask, smallest), smallest)


def tissue_share(tile: np.ndarray, mpp: float) -> float:
    """Share of a tile that is tissue, 0 to 1; arguments as for :func:`blur_score`."""
    return float(tissue_mask(*_coarse(tile, mpp)).mean())


def blur_score(tile: np.ndarray, mpp: float) -> float:
    """Sharpness: how strong the finest details of tissue are, relative to those of twice the size.

    It is the ratio of the 98th percentiles of \\|G(0.25) - G(0.5)\\| and \\|G(0.5) - G(1)\\|, with G(s) the luminance's
    OD smoothed by s µm: without unit, larger is sharper, and neither the strength of the stain nor the amount of tissue
    matters. Tissue in focus has 0.5 to 0.8 at 40x; blurring by 0.75 µm more leaves 0.34 to 0.43. Of glass it says
    nothing.

    Args:
        tile: uint8, shape (H, W, 3), RGB.
        mpp: its scale, µm per pixel, at most 1.
    """
    density = _density(cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY))
    fine, middle, coarse = (_blur(density, sigma / mpp) for sigma in _FOCUS_UM)
    strengths = [float(np.percentile(np.abs(band), _FOCUS_PERCENTILE)) for band in (fine - middle, middle - coarse)]
    return strengths[0] / strengths[1] if strengths[1] > 1e-4 else 0.0


def fold_share(tile: np.ndarray, mpp: float) -> float:
    """Share of a tile where tissue lies double: both stains about twice the tile's median, over 5 µm and more.

    A tile that is folded all over looks like a strongly stained one, and passes.

    Args:
        tile: uint8, shape (H, W, 3), RGB.
        mpp: its scale, µm per pixel.
    """
    coarse, coarse_mpp = _coarse(tile, mpp)
    mask = tissue_mask(coarse, coarse_mpp)
    if not mask.any():
        return 0.0
    density = _density(coarse)
    doubled = mask
    for stain in (density[..., 0], density[..., 1] - density[..., 0]):  # Haematoxylin mostly; eosin.
        local = _blur(stain, _FOLD_BLUR_UM / coarse_mpp)
        doubled = doubled & (local > _FOLD_FACTOR * max(float(np.median(local[mask])), 0.1))
    return float(doubled.mean())


def pen_share(tile: np.ndarray, mpp: float) -> float:
    """Share of a tile under blue, green, red or black ink; arguments as for :func:`fold_share`."""
    coarse, coarse_mpp = _coarse(tile, mpp)
    red, green, blue = (_blur(channel, 2.0 / coarse_mpp) for channel in np.moveaxis(_density(coarse), 2, 0))
    lowest, highest = np.minimum(np.minimum(red, green), blue), np.maximum(np.maximum(red, green), blue)
    cool_ink = red - green > _COOL_INK
    smooth = _blur(np.abs(green - _blur(green, 4.0 / coarse_mpp)), 8.0 / coarse_mpp) < _RED_INK_TEXTURE
    red_ink = (blue - red > _RED_INK) & (blue - red > _RED_INK_RATIO * (green - red)) & smooth
    black_ink = (lowest > _BLACK_INK) & (highest - lowest < _BLACK_INK_CHROMA * lowest)
    return float((cool_ink | red_ink | black_ink).mean())


def measure(tile: np.ndarray, mpp: float) -> TileQuality:
    """All measures of a tile: uint8, shape (H, W, 3), RGB, at ``mpp`` µm per pixel."""
    return TileQuality(tissue_share(tile, mpp), blur_score(tile, mpp), fold_share(tile, mpp), pen_share(tile, mpp))


def refusal(quality: TileQuality, limits: QualityLimits) -> str | None:
    """Why a tile is refused, in a word or two for the user, or ``None`` if it is kept."""
    if quality.tissue_share < limits.min_tissue:
        return "too little tissue"
    if quality.pen_share > limits.max_pen:
        return "pen marks"
    if quality.blur_score < limits.min_blur_score:
        return "blurred"
    if quality.fold_share > limits.max_fold:
        return "folded"
    return None


def _density(pixels: np.ndarray) -> np.ndarray:
    """Optical density of uint8 pixels, float32, of the same shape; 0 is white."""
    table = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)
    return table[pixels]


def _blur(values: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(values, (0, 0), sigma) if sigma > 0.2 else values


def _coarse(tile: np.ndarray, mpp: float) -> tuple[np.ndarray, float]:
    """Reduce a tile to about 2 µm per pixel, and say to what exactly."""
    factor = max(1, round(_COARSE_MPP / mpp))
    height, width = (max(1, side // factor) for side in tile.shape[:2])
    return cv2.resize(tile, (width, height), interpolation=cv2.INTER_AREA), mpp * factor


def _chroma_threshold(chroma: np.ndarray) -> float:
    low, high = _CHROMA_RANGE
    levels = np.clip(chroma * 255, 0, 255).astype(np.uint8)  # Chroma 1 is strong stain; above it nothing changes.
    otsu = cv2.threshold(levels, 0, 255, cv2.THRESH_OTSU)[0] / 255
    above = chroma > otsu
    if not 0 < above.mean() < 1 or chroma[above].mean() - chroma[~above].mean() < _CHROMA_GAP:
        return low
    return float(np.clip(otsu, low, high))


def _without_specks(mask: np.ndarray, smallest: float) -> np.ndarray:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= smallest
    keep[0] = False
    return keep[labels]
