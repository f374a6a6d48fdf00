"""Variation of staining: each stain's concentration a little more or less than in the source tile."""

from __future__ import annotations

import cv2
import numpy as np
from skimage.color import hed_from_rgb, rgb_from_hed

from .deconvolution import rgb_to_od

__all__ = ["scale_stains"]


def scale_stains(rgb: np.ndarray, factors: tuple[float, float, float], brightness: float = 1.0) -> np.ndarray:
    """Multiply the concentrations of the stains and the brightness of the lamp.

    Args:
        rgb: uint8, shape (H, W, 3).
        factors: one factor each for haematoxylin, eosin and the residual (DAB) direction; all 1 with a brightness of 1
            returns the image unchanged.
        brightness: factor on the transmitted light.

    Returns:
        uint8, shape (H, W, 3).
    """
    if brightness <= 0:
        raise ValueError(f"brightness must be positive, got {brightness}")
    if tuple(factors) == (1.0, 1.0, 1.0) and brightness == 1.0:
        return rgb
    # Unmixing, scaling and mixing are linear in optical density: one matrix does all three, and turns the sign.
    matrix = -(hed_from_rgb @ np.diag(factors) @ rgb_from_hed)
    transmitted = cv2.exp(cv2.transform(rgb_to_od(rgb), matrix.T.astype(np.float32)))
    return cv2.convertScaleAbs(transmitted, alpha=255.0 * brightness)
