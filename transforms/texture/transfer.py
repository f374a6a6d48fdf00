"""Filling parts of an image with what other parts of it hold."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

__all__ = ["GRAIN_UM", "local_mean", "transfer_detail", "transfer_without_seams"]

GRAIN_UM = 0.5
"""Structures finer than this, as the standard deviation of a Gaussian in µm, are grain."""


def local_mean(image: np.ndarray, where: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Local mean of some pixels: a Gaussian blur in which the others have no part.

    Args:
        image: float32, shape (H, W, C).
        where: bool, shape (H, W), the pixels that count.
        sigma: standard deviation of the Gaussian, in pixels.

    Returns:
        The mean, float32, shape (H, W, C), next to 0 where no such pixel is near, and the share of the Gaussian that
        those pixels have, float32, shape (H, W).
    """
    weight = where.astype(np.float32)
    reach = cv2.GaussianBlur(weight, (0, 0), sigma)
    mean = cv2.GaussianBlur(image * weight[..., None], (0, 0), sigma) / np.maximum(reach, 1e-3)[..., None]
    return mean, reach


def transfer_detail(
    detail: np.ndarray, mask: np.ndarray, distances: Iterable[float], rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Fill masked pixels with unmasked ones, moved in by one random shift after the other.

    Args:
        detail: float32, shape (H, W, C).
        mask: bool, shape (H, W), what is filled.
        distances: length of each shift, in pixels; its direction is drawn.
        rng: source of randomness.

    Returns:
        The filled detail, and uint8, shape (H, W): 0 for what was not masked, k for what came by the k-th shift, 255
        for what none has filled, which is as it was.
    """
    filled, missing = detail.copy(), mask.copy()
    piece = np.where(mask, np.uint8(255), np.uint8(0))
    height, width = mask.shape
    for number, distance in enumerate(distances, 1):
        if not missing.any():
            break
        angle = rng.uniform(0, 2 * np.pi)
        dy, dx = round(distance * np.sin(angle)), round(distance * np.cos(angle))
        y0, y1, x0, x1 = max(dy, 0), min(height + dy, height), max(dx, 0), min(width + dx, width)
        if y0 >= y1 or x0 >= x1:
            continue
        source = (slice(y0 - dy, y1 - dy), slice(x0 - dx, x1 - dx))
        there = missing[y0:y1, x0:x1] & ~mask[source]
        filled[y0:y1, x0:x1][there] = detail[source][there]
        missing[y0:y1, x0:x1][there] = False
        piece[y0:y1, x0:x1][there] = number
    return filled, piece


def transfer_without_seams(
    detail: np.ndarray,
    grain: np.ndarray,
    mask: np.ndarray,
    distances: Iterable[float],
    seam_sigma: float,
    rng: np.random.RandomState,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fill masked pixels as :func:`transfer_detail` does, and smooth the seams.

    Where two pieces meet there is an edge that the tissue does not have: it is blurred to the tile's own sharpness.
    Grain is as rough on both sides of a seam, and stays so; a blurred line through it would be seen.

    Args:
        detail: float32, shape (H, W, C), structures coarser than grain.
        grain: float32, shape (H, W, C), moved along with them.
        mask: bool, shape (H, W), what is filled.
        distances: length of each shift, in pixels; its direction is drawn.
        seam_sigma: standard deviation of the blur along seams, in pixels.
        rng: source of randomness.

    Returns:
        The filled detail and grain, 0 where no shift has filled them, and where that is, bool, shape (H, W).
    """
    both, piece = transfer_detail(np.concatenate([detail, grain], axis=2), mask, distances, rng)
    empty = piece == 255
    both[empty] = 0
    detail, grain = np.split(both, 2, axis=2)
    seam = cv2.morphologyEx(piece, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    weight = np.clip(2 * cv2.GaussianBlur(seam.astype(np.float32), (0, 0), seam_sigma), 0, 1)[..., None]
    return weight * cv2.GaussianBlur(detail, (0, 0), seam_sigma) + (1 - weight) * detail, grain, empty
