"""Filling parts of an image with what other parts of it hold."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

__all__ = ["local_mean", "noise_of", "transfer_detail", "transfer_without_seams"]

# Noise is finer than this, the standard deviation of a Gaussian in px, whatever the scale of the tissue. It is measured
# over this distance, in px, where a tile is most even, which is this share of it, and bounded by so many deviations.
_FINEST, _OVER, _EVEN, _BOUND = 2.0, 3.0, 0.05, 2.5
# Differences of so many bounds are of the tissue, and not averaged over.
_SIMILAR = 1.5
# What smoothing takes of the contrast at seams is given back up to this factor.
_LARGEST_GAIN = 2.5
# Side of JPEG's blocks, in px. Each block has its own rounding, so that slides show a fine grid.
_BLOCK = 8


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


def noise_of(image: np.ndarray, where: np.ndarray) -> np.ndarray:
    """What of an image is noise of its camera and compression: fine, and no larger than where the image is most even.

    It is what a bilateral filter takes away (Tomasi and Manduchi 1998), since a mean over all neighbours would take
    slopes along with it: the blurred boundary of a nucleus, moved elsewhere as noise, is a line.

    Args:
        image: float32, shape (H, W, C).
        where: bool, shape (H, W), the pixels that are looked at.

    Returns:
        float32, shape (H, W, C), within two and a half standard deviations of the noise; what it holds elsewhere means
        nothing.
    """
    if not where.any():
        return np.zeros_like(image)
    finest = image - local_mean(image, where, _FINEST)[0]
    power = local_mean(finest * finest, where, _OVER)[0][where]
    bound = _BOUND * np.sqrt(np.quantile(power, _EVEN, axis=0)).astype(np.float32)
    if not bound.any():
        return np.zeros_like(image)
    # OpenCV adds up the differences of all channels.
    smooth = cv2.bilateralFilter(image, 2 * round(2 * _FINEST) + 1, _SIMILAR * float(bound.sum()), _FINEST)
    return np.clip(image - smooth, -bound, bound)


def transfer_detail(
    detail: np.ndarray, mask: np.ndarray, distances: Iterable[float], rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Fill masked pixels with unmasked ones, moved in by one random shift after the other.

    Shifts are whole blocks of JPEG, 8 px: the grid that compression leaves goes on through what is filled. Where it
    breaks off, a network sees at once that a place is not real.

    Args:
        detail: float32, shape (H, W, C).
        mask: bool, shape (H, W), what is filled.
        distances: length of each shift, in pixels, before it is rounded to blocks; its direction is drawn.
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
        dy, dx = (_BLOCK * round(distance * along / _BLOCK) for along in (np.sin(angle), np.cos(angle)))
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
    noise: np.ndarray,
    mask: np.ndarray,
    distances: Iterable[float],
    seam_sigma: float,
    rng: np.random.RandomState,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fill masked pixels as :func:`transfer_detail` does, and smooth the seams.

    Where two pieces meet there is an edge that the tissue does not have: it is blurred to the tile's own sharpness.
    Noise is as rough on both sides of a seam, and stays so; a line without it gives the seam away to any network.

    Args:
        detail: float32, shape (H, W, C), without noise.
        noise: float32, shape (H, W, C), moved along with it.
        mask: bool, shape (H, W), what is filled.
        distances: length of each shift, in pixels; its direction is drawn.
        seam_sigma: standard deviation of the blur along seams, in pixels.
        rng: source of randomness.

    Returns:
        The filled detail and noise, 0 where no shift has filled them, and where that is, bool, shape (H, W).
    """
    both, piece = transfer_detail(np.concatenate([detail, noise], axis=2), mask, distances, rng)
    empty = piece == 255
    both[empty] = 0
    detail, noise = np.split(both, 2, axis=2)
    seam = cv2.morphologyEx(piece, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    # Two pixels wide and blurred, a line is 0.8 / sigma high. So much makes it 1: of no seam a part is left.
    full = max(1.25 * seam_sigma, 2.0)
    weight = np.clip(full * cv2.GaussianBlur(seam.astype(np.float32), (0, 0), seam_sigma), 0, 1)[..., None]
    smooth = _at_contrast(cv2.GaussianBlur(detail, (0, 0), seam_sigma), detail, weight)
    return weight * smooth + (1 - weight) * detail, noise, empty


def _at_contrast(smooth: np.ndarray, sharp: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """A smoothed image with the contrast of the sharp one where the weight lies: where seams lie close, it is seen."""
    total = max(float(weight.sum()), 1e-6)
    means = [(each * weight).sum(axis=(0, 1)) / total for each in (smooth, sharp)]
    spreads = [
        np.sqrt(((each - mean) ** 2 * weight).sum(axis=(0, 1)) / total)
        for each, mean in zip((smooth, sharp), means, strict=True)
    ]
    gain = np.clip(spreads[1] / np.maximum(spreads[0], 1e-3), 1, _LARGEST_GAIN).astype(np.float32)
    return means[0] + gain * (smooth - means[0])
