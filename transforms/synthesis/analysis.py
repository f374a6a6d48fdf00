"""What a tile lends to synthetic patches, worked out once: background, nuclear colours, texture, priors."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..masks import NucleusPrior
from ..stain import NuclearMaterial, fill_small_holes, rgb_to_hed, rgb_to_od
from ..texture import chromatin_texture, eosin_texture, extend_labels, inpaint_background
from .pieces import FoundNuclei, NuclearPieces, find_pieces

__all__ = ["NuclearColours", "TileAnalysis", "analyze_tile"]

# Share of the deviation of hue inside a nucleus that is structure, not noise, and the largest there is, in optical
# density; more is several nuclei taken for one.
_HUE_SHARE, _HUE_LIMIT = 0.8, 0.08
# Blur against noise, in µm, before the slope of boundaries is measured. Then the variance, in µm², by which sharp
# boundaries measure blurrier than they were painted, since nuclei lie in cytoplasm and on each other; and the share of
# any further variance that is measured, since the least blurred nuclei are found best. Both are from painted patches.
_EDGE_BLUR_UM, _EDGE_EXCESS_UM2, _EDGE_SHARE = 0.5, 0.056, 0.65
# Largest hole in nuclear material that is taken for part of the nucleus' texture, in µm².
_VACUOLE_UM2 = 10.0
# Share of a tile that is its palest places, and the blur against noise before they are looked for, in µm.
_PALEST, _PALE_BLUR_UM = 0.005, 0.5
# Cells of the density map, and the distance over which density is averaged, in µm.
_CELL_UM, _DENSITY_UM = 4.0, 10.0


@dataclass(frozen=True)
class NuclearColours:
    """Appearance of the K nuclei of a tile that its sub-segmentation holds; sorted from the palest to the darkest.

    Attributes:
        od: float32, shape (K, 3), mean optical density.
        contrast: float32, shape (K,), standard deviation of the optical density inside, without its texture, relative
            to its mean.
        hue: float32, shape (3,), optical density by which parts of one nucleus deviate in hue, not in depth, along
            the direction in which they deviate most; a little less than one standard deviation, since part is noise.
    """

    od: np.ndarray
    contrast: np.ndarray
    hue: np.ndarray


@dataclass(frozen=True)
class TileAnalysis:
    """A tile, taken apart.

    Attributes:
        image: uint8, shape (H, W, 3), the tile itself.
        background: uint8, shape (H, W, 3), the tile without its nuclei.
        texture: float32, shape (H, W), fine eosin texture, mean 0 and standard deviation 1.
        chromatin: int8, shape (H, W, 3), texture of its nuclei, everywhere, in steps of an 8-bit colour.
        density_map: float32, shape (h, w), local density as a multiple of the prior's; one cell a few µm.
        colours: appearance of its nuclei; K may be 0.
        prior: density, sizes and elongation of its nuclei; density 0 where it has none.
        edge_sigma: standard deviation of the blur that its nuclear boundaries show, in pixels.
        shade: float32, shape (3,), by how much more optical density the surroundings of its nuclei have than its
            background: cytoplasm, or a pale halo where negative.
        lamp: float32, shape (3,), optical density of its palest places, below which nothing in it is: of glass under a
            dim lamp, or of the palest tissue where there is no glass.
        mpp: µm per pixel.
    """

    image: np.ndarray
    background: np.ndarray
    texture: np.ndarray
    chromatin: np.ndarray
    density_map: np.ndarray
    colours: NuclearColours
    prior: NucleusPrior
    edge_sigma: float
    shade: np.ndarray
    lamp: np.ndarray
    mpp: float


def _inside(pieces: np.ndarray, mpp: float) -> np.ndarray:
    """Pieces but for their outermost 0.5 µm, bool, shape (H, W)."""
    return cv2.distanceTransform((pieces > 0).astype(np.uint8), cv2.DIST_L2, 3) >= 0.5 / mpp


def _piece_means(ids: np.ndarray, values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the values, and number of them, in pieces 1 to count; ids and values of shape (K,)."""
    pixels = np.bincount(ids, minlength=count + 1)[1:]
    return np.bincount(ids, values, count + 1)[1:] / np.maximum(pixels, 1), pixels


def _gather_colours(
    od: np.ndarray, tone: np.ndarray, pieces: np.ndarray, inside: np.ndarray, chosen: np.ndarray
) -> NuclearColours:
    """Colour and contrast of some pieces from their inside; contrast from their tone."""
    count, grey = len(chosen), tone.mean(axis=2)
    ids = pieces[inside]

    def means(values: np.ndarray) -> np.ndarray:
        return _piece_means(ids, values[inside], count)[0]

    colour = np.stack([means(od[..., c]) for c in range(3)], axis=1)
    mean = means(grey)
    contrast = np.sqrt(np.maximum(means(grey**2) - mean**2, 0)) / np.maximum(mean, 1e-3)
    order = np.flatnonzero(chosen)[np.argsort(colour[chosen].mean(axis=1), kind="stable")]
    within = np.stack([means(tone[..., c]) for c in range(3)], axis=1)
    hue = _hue_deviation(tone[inside] - within[ids - 1], colour[order])
    return NuclearColours(colour[order].astype(np.float32), contrast[order].astype(np.float32), hue)


def _hue_deviation(residual: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Main direction, across the mean colour, in which pixels differ from their nucleus, times the deviation."""
    if not len(colour) or len(residual) < 10:
        return np.zeros(3, np.float32)
    depth = colour.mean(axis=0) / np.linalg.norm(colour.mean(axis=0))
    across = residual - np.outer(residual @ depth, depth)
    variance, directions = np.linalg.eigh(across.T @ across / len(across))
    return (np.clip(_HUE_SHARE * np.sqrt(max(variance[-1], 0)), 0, _HUE_LIMIT) * directions[:, -1]).astype(np.float32)


def _inward_slope(values: np.ndarray, mask: np.ndarray, sigma: float) -> np.ndarray:
    """By how much values rise per pixel across the boundary of a mask, both blurred by sigma.

    In this one direction noise goes up as often as down; the steepest slope in any would be steeper with noise.
    """

    def gradient(image: np.ndarray) -> np.ndarray:
        soft = cv2.GaussianBlur(image, (0, 0), sigma)
        return np.stack([cv2.Sobel(soft, cv2.CV_32F, *along, scale=1 / 8) for along in ((1, 0), (0, 1))])

    inward = gradient(mask.astype(np.float32))
    return (gradient(values) * inward).sum(axis=0) / np.maximum(np.hypot(*inward), 1e-6)


def _edge_sigma(od: np.ndarray, pieces: np.ndarray, inside: np.ndarray, nuclear: np.ndarray, mpp: float) -> float:
    """Blur of the boundaries, in pixels, as the median nucleus shows it.

    Blurred by sigma, a step of height h is at most h / (sigma sqrt(2 pi)) steep. Noise is steep, too: it is blurred
    away first, and the variance of that blur is taken off again.
    """
    red, count = np.ascontiguousarray(od[..., 0]), int(pieces.max())
    slope = _inward_slope(red, pieces > 0, _EDGE_BLUR_UM / mpp)
    label = pieces.astype(np.uint16)
    rim = (label > 0) & (cv2.erode(label, np.ones((3, 3), np.uint8)) == 0)
    # From 0.5 to 1.5 µm outside, where no other nucleus is.
    around = extend_labels(label, round(1.5 / mpp))
    around[extend_labels(nuclear.astype(np.uint8), round(0.5 / mpp)) > 0] = 0
    (dark, enough), (pale, beside), (steep, rims) = (
        _piece_means(ids[where], values[where], count)
        for ids, where, values in (
            (label, inside, red),
            (around, around > 0, red),
            (label, rim, cv2.dilate(slope, np.ones((3, 3), np.uint8))),
        )
    )
    chosen = (np.minimum(enough, beside) * mpp**2 > 1.25) & (rims * mpp > 2.5) & (dark - pale > 0.02)
    if not chosen.any():
        return 0.25 / mpp
    variance = ((dark - pale)[chosen] / (np.maximum(steep[chosen], 1e-6) * np.sqrt(2 * np.pi))) ** 2
    beyond = float(np.median(variance)) - (_EDGE_BLUR_UM**2 + _EDGE_EXCESS_UM2) / mpp**2
    return float(np.clip(np.sqrt(max(beyond, 0) / _EDGE_SHARE), 0.6, 1.25 / mpp))


def _shade(od: np.ndarray, background: np.ndarray, material: NuclearMaterial) -> np.ndarray:
    """Optical density that nuclei's surroundings have beyond the inpainted background there."""
    around = material.super & ~material.otsu
    if not around.any():
        return np.zeros(3, np.float32)
    difference = od[around].mean(axis=0) - rgb_to_od(background)[around].mean(axis=0)
    return np.clip(difference, -0.5, 0.5).astype(np.float32)


def _lamp(od: np.ndarray, mpp: float) -> np.ndarray:
    """Optical density of the palest places."""
    smooth = cv2.GaussianBlur(od, (0, 0), _PALE_BLUR_UM / mpp).reshape(-1, 3)
    return np.maximum(np.quantile(smooth, _PALEST, axis=0), 0).astype(np.float32)


def _density_map(pieces: NuclearPieces, mpp: float) -> np.ndarray:
    """Where nuclei are, and a little of where else there is tissue; of mean 1."""
    # Only what could be nuclei counts.
    where = np.concatenate([[False], pieces.nucleus])[pieces.label].astype(np.float32)
    cells = tuple(max(round(side * mpp / _CELL_UM), 1) for side in where.shape[::-1])
    nuclei_map = cv2.GaussianBlur(
        cv2.resize(where, cells, interpolation=cv2.INTER_AREA), (0, 0), _DENSITY_UM / _CELL_UM
    )
    tissue_map = cv2.resize(pieces.material.tissue.astype(np.float32), cells, interpolation=cv2.INTER_AREA)
    # Three in ten nuclei may lie anywhere in the tissue: Otsu misses nuclei, and other places should be seen too.
    wanted = tissue_map * (0.7 * nuclei_map / max(float(nuclei_map.mean()), 1e-6) + 0.3)
    return wanted / max(float(wanted.mean()), 1e-6)


def analyze_tile(rgb: np.ndarray, mpp: float = 0.25, seed: int = 0, found: FoundNuclei | None = None) -> TileAnalysis:
    """Take a tile apart into what synthesis needs of it.

    Args:
        rgb: uint8, shape (H, W, 3).
        mpp: µm per pixel.
        seed: of the places that the texture of the background comes from.
        found: its nuclei, where a trained network has looked for them: colours, chromatin and priors are theirs then,
            and not those of what Otsu's threshold finds, some of which is cytoplasm.

    Raises:
        ValueError: the tile is no such image, or what was found has another shape.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"a tile must be uint8 with shape (H, W, 3), got {rgb.dtype} {rgb.shape}")
    pieces = find_pieces(rgb, mpp, found)
    material, label = pieces.material, pieces.label
    hed, od = rgb_to_hed(rgb), rgb_to_od(rgb)
    inside = _inside(label, mpp)
    edge_sigma = _edge_sigma(od, label, inside, material.otsu, mpp)
    background = inpaint_background(rgb, material.super, mpp, np.random.RandomState(seed), edge_sigma)
    seen = np.bincount(label[inside & material.sub], minlength=len(pieces.nucleus) + 1)[1:] * mpp**2 >= 3
    # A gap between nuclei is no chromatin, a vacuole is.
    solid = fill_small_holes(material.otsu, _VACUOLE_UM2 / mpp**2) & (label > 0)
    chromatin, tone = chromatin_texture(
        rgb, _inside(solid, mpp), background, mpp, np.random.RandomState(seed), edge_sigma
    )
    return TileAnalysis(
        image=rgb,
        background=background,
        texture=eosin_texture(np.ascontiguousarray(hed[..., 1]), material.tissue, mpp),
        density_map=_density_map(pieces, mpp),
        chromatin=chromatin,
        colours=_gather_colours(od, rgb_to_od(tone), label, inside, pieces.nucleus & seen),
        prior=pieces.prior,
        edge_sigma=edge_sigma,
        shade=_shade(od, background, material),
        lamp=_lamp(od, mpp),
        mpp=mpp,
    )
