"""Texture of chromatin: what real nuclei of a tile look like inside, camera noise and compression included."""

from __future__ import annotations

import cv2
import numpy as np

from .transfer import local_mean, noise_of, transfer_without_seams

__all__ = ["chromatin_texture"]

# Structures coarser than this, as the standard deviation of a Gaussian in µm, are a nucleus' tone.
_TONE_UM = 1.5
# Shifts by which texture comes where no nuclei are, in µm: first about a nucleus' width, then ever further.
_SHIFTS_UM = 3.0 * np.repeat([1.0, 2.0, 3.0, 5.0, 8.0, 12.0], 6)


def chromatin_texture(
    rgb: np.ndarray,
    nuclei: np.ndarray,
    background: np.ndarray,
    mpp: float,
    rng: np.random.RandomState,
    sigma: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Take the texture of real nuclei, and spread it, so that a nucleus can be painted anywhere in the tile.

    (The paper takes the texture of another tile's eosin channel. Much of that is camera noise, which is then as strong
    as chromatin, and alike in red, green and blue; a network tells such nuclei at once. Noise and compression of the
    slide itself are as they should be.)

    Args:
        rgb: uint8, shape (H, W, 3), a tile.
        nuclei: bool, shape (H, W), the inside of its nuclei.
        background: uint8, shape (H, W, 3), the tile without nuclei, whose noise fills what is left.
        mpp: µm per pixel.
        rng: source of randomness, for the places that texture comes from.
        sigma: blur of boundaries in the tile, in pixels. So far a nucleus gets paler towards its boundary, which is no
            chromatin, and so softly one piece of texture fades into the next.

    Returns:
        Texture, int8, shape (H, W, 3), in steps of an 8-bit colour, of about mean 0; and the tone of the tile's nuclei,
        uint8, shape (H, W, 3), which holds inside of ``nuclei`` only.
    """
    image = rgb.astype(np.float32)
    tone, _ = local_mean(image, nuclei, _TONE_UM / mpp)
    noise = noise_of(image, nuclei)
    flat = cv2.distanceTransform(nuclei.astype(np.uint8), cv2.DIST_L2, 3) > sigma
    detail, moved, empty = transfer_without_seams(image - tone - noise, noise, ~flat, _SHIFTS_UM / mpp, sigma, rng)
    if empty.any():
        moved[empty] = noise_of(background.astype(np.float32), np.ones(nuclei.shape, bool))[empty]
    texture = np.clip(np.rint(detail + moved), -127, 127).astype(np.int8)
    return texture, np.clip(np.rint(tone), 0, 255).astype(np.uint8)
