"""From stain to picture: Beer-Lambert's law, the blur of the lens, the noise of the camera."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from .field import Field, Grid
from .ground import Dyes

__all__ = ["Scanner", "draw_scanner", "take_picture"]

_BAND = 512  # rows that are turned into light at a time


@dataclass(frozen=True)
class Scanner:
    """How one laboratory stains and scans.

    Attributes:
        stains: optical density (natural logarithm) per unit of dye in red, green and blue; shape (4, 3), in the order
            haematoxylin, eosin, blood, pigment.
        glass: light through clear glass in red, green and blue, 0 to 1.
        blur: standard deviation of the lens's blur in focus, in µm.
        defocus: the same where the tissue is out of focus.
        noise: standard deviation of the camera's noise at full light, as a share of it.
    """

    stains: Field
    glass: Field
    blur: float
    defocus: float
    noise: float


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """Draw a laboratory: hues and strengths of its stains, the white of its lamp, the sharpness of its lens."""
    haematoxylin = np.array([rng.uniform(0.48, 0.74), 0.72, rng.uniform(0.28, 0.46)])
    eosin = np.array([rng.uniform(0.10, 0.26), 0.86, rng.uniform(0.32, 0.52)])
    blood = np.array([rng.uniform(0.12, 0.25), 0.80, rng.uniform(0.60, 0.80)])
    pigment = np.array([0.44, 0.68, 0.82])
    strengths = (rng.uniform(0.8, 1.35), rng.uniform(0.7, 1.4), rng.uniform(0.8, 1.1), 1.0)
    rows = [k * v / np.linalg.norm(v) for k, v in zip(strengths, (haematoxylin, eosin, blood, pigment), strict=True)]
    glass = rng.uniform(0.90, 0.965) + rng.normal(0, 0.008, size=3)
    return Scanner(
        stains=np.array(rows, np.float32),
        glass=np.clip(glass, 0, 1).astype(np.float32),
        blur=rng.uniform(0.18, 0.34),
        defocus=rng.uniform(0.8, 1.3),
        noise=rng.uniform(0.005, 0.012),
    )


def take_picture(
    rng: np.random.Generator, grid: Grid, dyes: Dyes, scanner: Scanner, defocus: Field
) -> npt.NDArray[np.uint8]:
    """Scan the dyed section.

    Args:
        rng: draws the noise.
        grid: of the image.
        dyes: amounts of dye on that grid.
        scanner: stains and optics.
        defocus: 0 in focus to 1 out of focus, shape (H, W).

    Returns:
        uint8, shape (H, W, 3), RGB.
    """
    picture = np.empty((*grid.shape, 3), np.uint8)
    margin = int(np.ceil(4 * scanner.defocus / grid.mpp)) + 1
    for start in range(0, grid.height, _BAND):
        stop = min(start + _BAND, grid.height)
        above, below = max(start - margin, 0), min(stop + margin, grid.height)
        light = _transmitted(dyes, scanner, slice(above, below))
        light = _blurred(light, scanner, grid.mpp, defocus[above:below])[start - above : stop - above]
        picture[start:stop] = _digitised(rng, light, scanner)
    return picture


def _transmitted(dyes: Dyes, scanner: Scanner, rows: slice) -> Field:
    """Light behind the section, 0 to 1, shape (rows, W, 3): the lamp's, weakened by every dye (Beer-Lambert)."""
    amounts = np.stack([dyes.haematoxylin[rows], dyes.eosin[rows], dyes.blood[rows], dyes.pigment[rows]], axis=-1)
    light: Field = scanner.glass * np.exp(-(amounts @ scanner.stains))
    return light


def _blurred(light: Field, scanner: Scanner, mpp: float, defocus: Field) -> Field:
    sharp = cv2.GaussianBlur(light, (0, 0), max(scanner.blur / mpp, 0.3))
    if not defocus.any():
        return sharp
    soft = cv2.GaussianBlur(light, (0, 0), scanner.defocus / mpp)
    return sharp + defocus[..., None] * (soft - sharp)


def _digitised(rng: np.random.Generator, light: Field, scanner: Scanner) -> npt.NDArray[np.uint8]:
    """Photon noise grows with the root of the light; demosaicking smears it over neighbouring pixels."""
    noise = cv2.GaussianBlur(rng.standard_normal(light.shape, dtype=np.float32), (3, 3), 0.6)
    noisy = light + 2 * scanner.noise * np.sqrt(light) * noise
    return np.clip(np.rint(255 * noisy), 0, 255).astype(np.uint8)
