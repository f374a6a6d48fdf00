"""Nuclear texture, chromatin clearing, blurred boundaries, and the mix of foreground and background (section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

__all__ = [
    "BlurSpot",
    "blur_boundary",
    "clear_chromatin",
    "draw_spots",
    "eosin_texture",
    "extend_labels",
    "lost_noise",
    "mix",
    "nuclear_od",
    "rim_profile",
]


@dataclass(frozen=True)
class BlurSpot:
    """A place of a patch that is blurred once more, as tissue that bends out of the focal plane.

    Attributes:
        centre: x and y, in pixels.
        radius: in pixels.
        sigma: standard deviation of the blur, in pixels.
    """

    centre: tuple[float, float]
    radius: float
    sigma: float


def draw_spots(size: tuple[int, int], most: int, mpp: float, rng: np.random.RandomState) -> tuple[BlurSpot, ...]:
    """Draw places that are blurred a second time.

    Args:
        size: height and width of the patch, in pixels.
        most: largest number of places.
        mpp: µm per pixel.
        rng: source of randomness.
    """
    spots = []
    for _ in range(rng.randint(most + 1)):
        x, y = (rng.uniform(size=2) * size[::-1]).tolist()
        spots.append(BlurSpot((x, y), rng.uniform(0.1, 0.25) * min(size), rng.uniform(0.25, 0.75) / mpp))
    return tuple(spots)


def eosin_texture(eosin: np.ndarray, tissue: np.ndarray, mpp: float) -> np.ndarray:
    """Fine texture of a tile's eosin channel, which lends nuclei theirs.

    Args:
        eosin: float32, shape (H, W), concentration.
        tissue: bool, shape (H, W), where there is tissue.
        mpp: µm per pixel.

    Returns:
        float32, shape (H, W), of about mean 0 and standard deviation 1 over the tissue, within -3 to 3; structures
        wider than about 3 µm are taken out. All 0 where there is no tissue or no texture.
    """
    detail = eosin - cv2.GaussianBlur(eosin, (0, 0), 1.5 / mpp)
    spread = float(detail[tissue].std()) if tissue.any() else 0.0
    if spread < 1e-6:
        return np.zeros_like(eosin)
    return np.clip(detail / spread, -3, 3)


def extend_labels(label: np.ndarray, reach: int) -> np.ndarray:
    """Grow every nucleus outwards, for its colour to be there where its boundary is blurred over.

    Args:
        label: uint16, shape (H, W), instance ids.
        reach: in pixels; 0 returns the label unchanged.

    Returns:
        uint16, shape (H, W); no nucleus loses a pixel, and where two reach for one, the higher id gets it.
    """
    if reach == 0:
        return label
    side = 2 * reach + 1
    return np.where(label > 0, label, cv2.dilate(label, np.ones((side, side), np.uint8)))


def nuclear_od(label: np.ndarray, colours: np.ndarray, contrast: np.ndarray, texture: np.ndarray) -> np.ndarray:
    """Paint nuclei: each in one colour, with the texture of another tile.

    Args:
        label: integers of any shape (...), instance ids 0 to N.
        colours: float32, shape (N + 1, 3), mean optical density of each nucleus; row 0 is for
            distractors, which lie outside every nucleus.
        contrast: float32, shape (N + 1,), relative standard deviation of its texture; 0 paints it flat.
        texture: float32, shape (...), of mean 0 and standard deviation 1.

    Returns:
        float32, shape (..., 3), optical density.
    """
    relief = 1 + np.take(contrast.astype(np.float32), label) * texture
    return np.take(colours.astype(np.float32), label, axis=0) * np.maximum(relief, 0.1)[..., None]


def rim_profile(label: np.ndarray, width: float) -> np.ndarray:
    """How far inside its nucleus a pixel lies: 0 outside and on the rim, rising to 1 within ``width``.

    Args:
        label: uint16, shape (H, W), instance ids; touching nuclei each have their rim.
        width: distance from the boundary over which the profile rises, in pixels.

    Returns:
        float32, shape (H, W), from 0 to 1.
    """
    # A pixel lies on the boundary where the 3x3 neighbourhood holds another value than its own.
    kernel = np.ones((3, 3), np.uint8)
    inside = ((cv2.erode(label, kernel) == label) & (cv2.dilate(label, kernel) == label) & (label > 0)).astype(np.uint8)
    return np.minimum(cv2.distanceTransform(inside, cv2.DIST_L2, 3) / max(width, 1e-6), 1.0)


def clear_chromatin(
    label: np.ndarray, texture: np.ndarray, threshold: np.ndarray, strength: np.ndarray, interior: np.ndarray
) -> np.ndarray:
    """Share of the chromatin that is left when parts of the interior of nuclei are cleared; the rim stays.

    It is meant as a factor on the nuclear optical density: light passes through where chromatin is cleared. (The
    authors let the background show there, which leaves no nucleus paler than its cytoplasm, as vesicular ones are.)

    Args:
        label: integers of any shape (...), instance ids 0 to N.
        texture: float32, shape (...), of mean 0 and standard deviation 1; where it lies under a nucleus'
            threshold, chromatin is cleared.
        threshold: float32, shape (N + 1,); minus infinity clears nothing.
        strength: float32, shape (N + 1,), share of the chromatin that goes where it is cleared, 0 to 1.
        interior: float32, shape (...), 0 on the rim to 1 inside, from :func:`rim_profile`.

    Returns:
        float32, shape (...), 0 to 1; 1 outside nuclei.
    """
    # The edge between cleared and uncleared chromatin is as soft as the texture itself: one standard deviation.
    cleared = np.clip(np.take(threshold.astype(np.float32), label) - texture + np.float32(0.5), 0, 1)
    return 1 - np.take(strength.astype(np.float32), label) * cleared * interior


def blur_boundary(mask: np.ndarray, sigma: float, spots: Sequence[BlurSpot] = ()) -> np.ndarray:
    """Blur the boundary between nuclei and background, here and there a second time.

    Args:
        mask: float32, shape (H, W) or (H, W, C).
        sigma: standard deviation, in pixels; 0 blurs nothing.
        spots: places that are blurred once more.

    Returns:
        float32, of the input's shape, within its range.
    """
    if sigma < 0:
        raise ValueError(f"sigma must not be negative, got {sigma}")
    blurred = cv2.GaussianBlur(mask, (0, 0), sigma) if sigma > 0 else mask.copy()
    height, width = mask.shape[:2]
    for spot in spots:
        (x, y), reach = spot.centre, int(np.ceil(spot.radius))
        rows = slice(max(int(y) - reach, 0), min(int(y) + reach, height))
        columns = slice(max(int(x) - reach, 0), min(int(x) + reach, width))
        window = blurred[rows, columns]
        if not window.size:
            continue
        ys, xs = np.ogrid[rows, columns]
        distance = np.sqrt((ys - y) ** 2 + (xs - x) ** 2).astype(np.float32)
        weight = np.clip(2 * (1 - distance / np.float32(spot.radius)), 0, 1)
        weight = weight if mask.ndim == 2 else weight[..., None]
        blurred[rows, columns] = weight * cv2.GaussianBlur(window, (0, 0), spot.sigma) + (1 - weight) * window
    return blurred


def mix(foreground: np.ndarray, background: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """I = A M + B (1 - M), the paper's combination of nuclear texture A and background B by the mask M.

    Args:
        foreground: float32, shape (..., 3).
        background: float32, shape (..., 3).
        mask: float32, shape (...), 0 to 1.

    Returns:
        float32, shape (..., 3).
    """
    return background + mask[..., None] * (foreground - background)


def lost_noise(foreground: np.ndarray, background: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What a mix takes away of the noise of both its parts, to be added to it.

    Mixed by m, noises that know nothing of each other keep the share m² + (1 - m)² of their variance, half of it in the
    middle of a boundary; around every nucleus there would be a line that is smoother than either side.

    Args:
        foreground: float32, shape (..., 3), noise of the nuclear texture, of mean 0.
        background: float32, shape (..., 3), noise of the background, of mean 0.
        mask: float32, shape (...), 0 to 1, by which they are mixed.

    Returns:
        float32, shape (..., 3); 0 where the mask is 0 or 1.
    """
    kept = np.sqrt(mask**2 + (1 - mask) ** 2)
    return (1 / kept - 1)[..., None] * mix(foreground, background, mask)
