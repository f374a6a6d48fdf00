"""The nucleus-free background of a tile: nuclear material replaced by colour and texture of its surroundings."""

from __future__ import annotations

import math

import cv2
import numpy as np

from .transfer import local_mean, noise_of, transfer_without_seams

__all__ = ["inpaint_background"]

# Scale at which colour is inpainted: what Telea's method smears is then only what the texture is laid over.
_REDUCTION = 4
# What blur spreads of a masked object around it is gone at so many standard deviations.
_TAIL = 2.0


def _low_frequencies(rgb: np.ndarray, mask: np.ndarray, sigma: float) -> np.ndarray:
    """Local mean colour of the unmasked pixels, inpainted where the mask leaves none nearby."""
    mean, reach = local_mean(rgb, ~mask, sigma)
    size = (max(rgb.shape[1] // _REDUCTION, 1), max(rgb.shape[0] // _REDUCTION, 1))
    small = cv2.resize(np.clip(mean, 0, 255), size, interpolation=cv2.INTER_AREA)
    hole = cv2.resize((reach < 0.08).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    if hole.any() and not hole.all():
        filled = cv2.inpaint(small.round().astype(np.uint8), hole, 3, cv2.INPAINT_TELEA)
        small = np.where(hole[..., None] > 0, filled, small).astype(np.float32)
    smooth = cv2.resize(small, rgb.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    trust = np.clip(reach / 0.3, 0, 1)[..., None]
    return trust * mean + (1 - trust) * smooth


def inpaint_background(
    rgb: np.ndarray, mask: np.ndarray, mpp: float, rng: np.random.RandomState, sigma: float = 1.0
) -> np.ndarray:
    """Replace masked pixels by colour and texture like those around them (paper, section 4.1).

    Inpainting alone (Telea 2004, as the authors do) leaves flat smears where nuclei lie densely, by which a network
    tells synthetic patches at once. Here only the low frequencies are inpainted; the high ones are the tile's own,
    moved in from unmasked tissue nearby.

    Args:
        rgb: uint8, shape (H, W, 3).
        mask: bool, shape (H, W); what is replaced.
        mpp: µm per pixel.
        rng: source of randomness, for where the texture comes from.
        sigma: blur of boundaries in the tile, in pixels. So far what is masked reaches beyond the mask, and so softly
            the filled texture fades into the real one, and one piece of it into the next.

    Returns:
        uint8, shape (H, W, 3); the input where nothing is masked nearby.
    """
    if mask.shape != rgb.shape[:2]:
        raise ValueError(f"the mask must be as large as the image, got {mask.shape} and {rgb.shape[:2]}")
    if not mask.any():
        return rgb
    image = rgb.astype(np.float32)
    near, far = (_grow(mask, math.ceil(reach)) for reach in (sigma, _TAIL * sigma))
    low = _low_frequencies(image, near, 2.0 / mpp)
    # Of what is replaced nothing must come through, not even by way of its neighbours.
    noise = noise_of(np.where(near[..., None], low, image), ~near)
    shifts = 6.0 / mpp * np.repeat([1.0, 1.5, 2.5, 4.0], 6)
    detail, moved, _ = transfer_without_seams(image - low - noise, noise, near, shifts, sigma, rng)
    alpha = np.maximum(cv2.GaussianBlur(far.astype(np.float32), (0, 0), sigma), mask)[..., None]
    # Noise does not fade over: a mix of two would be less rough than either.
    return np.clip(np.rint(alpha * (low + detail) + (1 - alpha) * (image - noise) + moved), 0, 255).astype(np.uint8)


def _grow(mask: np.ndarray, reach: int) -> np.ndarray:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return cv2.dilate(mask.astype(np.uint8), kernel) > 0
