"""Pieces of nuclear material: the nuclei of a tile as Otsu's threshold finds them, or a trained network."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from skimage.feature import peak_local_max
from skimage.segmentation import watershed

from ..masks import NucleusPrior
from ..stain import NuclearMaterial, fill_small_holes, segment_nuclear_material

__all__ = ["FoundNuclei", "NuclearPieces", "find_pieces", "split_nuclei"]

# Areas between which a connected piece of nuclear material is taken for one nucleus, in µm².
_NUCLEUS_AREA = (10.0, 250.0)
# Otsu's threshold merges touching nuclei and takes some of the cytoplasm with them. Of painted nuclei that are analysed
# again, a share is lost that grows with the share of the tile they cover, and they seem larger than they were painted;
# real ones are assumed to fare likewise. Both numbers were found by comparing unlabelled tiles with synthetic patches
# through another nucleus finder, whose own settings were chosen on expert labels (benchmarks/realism.py).
_MERGED_PER_COVERAGE, _AREA_BIAS = 1.4, 1.18
_MOST_MERGED = 0.4
# Of what a network finds: share of the nuclei that it misses; probability from which a pixel is surely inside of one,
# and from which it may belong to one; and the width added to that, in µm.
_MISSED, _SURE, _DOUBTFUL, _RIM_UM = 0.15, 0.7, 0.4, 0.75


@dataclass(frozen=True)
class FoundNuclei:
    """What a trained network finds in a tile.

    Attributes:
        label: int32, shape (H, W), ids 1 to K; 0 is background.
        probability: float32, shape (H, W), in [0, 1], of being in a nucleus.
    """

    label: np.ndarray
    probability: np.ndarray


@dataclass(frozen=True)
class NuclearPieces:
    """The nuclear material of a tile in K pieces, most of them nuclei.

    Attributes:
        material: where it is, in three strictnesses.
        label: int32, shape (H, W), ids 1 to K; 0 is background.
        nucleus: bool, shape (K,), whether a piece could be a nucleus by its size: pigment and folds are larger, debris
            is smaller.
        prior: density, sizes and elongation of the nuclei.
    """

    material: NuclearMaterial
    label: np.ndarray
    nucleus: np.ndarray
    prior: NucleusPrior


def find_pieces(rgb: np.ndarray, mpp: float, found: FoundNuclei | None = None) -> NuclearPieces:
    """Divide the nuclear material of a tile into pieces.

    Args:
        rgb: uint8, shape (H, W, 3).
        mpp: µm per pixel.
        found: the tile's nuclei, where a network has looked for them; None takes what Otsu's threshold finds.

    Raises:
        ValueError: what was found is of another shape than the tile.
    """
    material = segment_nuclear_material(rgb, mpp)
    if found is None:
        label = split_nuclei(material.otsu, mpp)
    else:
        if not found.label.shape == found.probability.shape == rgb.shape[:2]:
            raise ValueError(
                f"nuclei must have the tile's shape {rgb.shape[:2]}, got {found.label.shape}, {found.probability.shape}"
            )
        label, material = found.label, _with_found(material, found, mpp)
    area, ratio, border = _piece_moments(label, int(label.max()))
    area_um2 = area * mpp**2
    prior = _estimate_prior(area_um2, ratio, border, label.size * mpp**2 / 1e6)
    if found is None:
        coverage = float((label > 0).mean())
        missed, larger = min(_MERGED_PER_COVERAGE * coverage, _MOST_MERGED), _AREA_BIAS
    else:
        missed, larger = _MISSED, 1.0
    return NuclearPieces(
        material=material,
        label=label,
        nucleus=_can_be_nuclei(area_um2),
        prior=replace(prior, density=prior.density / (1 - missed), area=prior.area / larger),
    )


def _with_found(material: NuclearMaterial, found: FoundNuclei, mpp: float) -> NuclearMaterial:
    """Nuclear material by a network's nuclei. What Otsu's threshold takes for it as well stays out of the background.

    Much of that is no nucleus, but what the network misses is among it, and would be left there without a label.
    """
    size = 2 * round(_RIM_UM / mpp) + 1
    doubtful = (found.probability > _DOUBTFUL).astype(np.uint8)
    rim = cv2.dilate(doubtful, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))) > 0
    nuclei = found.label > 0
    return replace(
        material,
        sub=nuclei & (found.probability > _SURE),
        otsu=material.otsu | nuclei,
        super=material.super | nuclei | rim,
    )


def _can_be_nuclei(area_um2: np.ndarray) -> np.ndarray:
    return (area_um2 >= _NUCLEUS_AREA[0]) & (area_um2 <= _NUCLEUS_AREA[1])


def split_nuclei(mask: np.ndarray, mpp: float) -> np.ndarray:
    """Split touching nuclei by a watershed on the distance to the background.

    Args:
        mask: bool, shape (H, W), nuclear material.
        mpp: µm per pixel.

    Returns:
        int32, shape (H, W), ids of pieces; 0 is background.
    """
    size = 2 * round(0.25 / mpp) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    solid = cv2.morphologyEx(fill_small_holes(mask, 30 / mpp**2).astype(np.uint8), cv2.MORPH_OPEN, kernel)
    if not solid.any():
        return np.zeros(mask.shape, np.int32)
    distance = cv2.GaussianBlur(cv2.distanceTransform(solid, cv2.DIST_L2, 5), (0, 0), 0.5 / mpp)
    peaks = peak_local_max(
        distance, min_distance=max(round(1.75 / mpp), 1), threshold_abs=0.75 / mpp, exclude_border=False, labels=solid
    )
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-distance, markers, mask=solid > 0).astype(np.int32)


def _piece_moments(pieces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Area in pixels, ratio of the axes, and whether the piece touches the border, for pieces 1 to count."""
    ys, xs = np.nonzero(pieces)
    ids = pieces[ys, xs]
    area = np.maximum(np.bincount(ids, minlength=count + 1), 1)
    mean_x = np.bincount(ids, xs, count + 1) / area
    mean_y = np.bincount(ids, ys, count + 1) / area
    dx, dy = xs - mean_x[ids], ys - mean_y[ids]
    # Each pixel is a square of variance 1/12, without which a line one pixel wide would have no width.
    xx = np.bincount(ids, dx * dx, count + 1) / area + 1 / 12
    yy = np.bincount(ids, dy * dy, count + 1) / area + 1 / 12
    xy = np.bincount(ids, dx * dy, count + 1) / area
    spread = np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    ratio = np.sqrt(((xx + yy) / 2 + spread) / np.maximum((xx + yy) / 2 - spread, 1e-6))
    border = np.zeros(count + 1, bool)
    border[np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])] = True
    return area[1:], ratio[1:], border[1:]


def _robust_log(values: np.ndarray, median: float, spread: float) -> tuple[float, float]:
    """Median, and spread of the logarithm from the quartiles; the defaults where there are too few values."""
    if len(values) < 5:
        return median, spread
    low, middle, high = np.quantile(np.log(values), [0.25, 0.5, 0.75])
    return float(np.exp(middle)), float((high - low) / 1.349)


def _estimate_prior(area_um2: np.ndarray, ratio: np.ndarray, border: np.ndarray, tile_mm2: float) -> NucleusPrior:
    """Density, sizes and elongation from the pieces that can be nuclei, as they are."""
    default = NucleusPrior()
    whole = ~border & _can_be_nuclei(area_um2)
    # A piece on the border counts half, as it is counted in the neighbouring tile too.
    count = whole.sum() + 0.5 * (border & (area_um2 >= _NUCLEUS_AREA[0] / 2)).sum()
    area, area_spread = _robust_log(area_um2[whole], default.area, default.area_spread)
    elongation, elongation_spread = _robust_log(ratio[whole], default.elongation, default.elongation_spread)
    return NucleusPrior(
        density=float(count / tile_mm2),
        density_spread=default.density_spread,
        area=area,
        area_spread=float(np.clip(area_spread, 0.15, 0.7)),
        elongation=max(elongation, 1.0),
        elongation_spread=float(np.clip(elongation_spread, 0.05, 0.4)),
    )
