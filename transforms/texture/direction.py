"""Direction of a tissue's fibres, along which its nuclei lie."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["fibre_direction"]

# Structures are measured at this scale; finer ones are grain.
_CELL_UM = 1.0


def fibre_direction(rgb: np.ndarray, mpp: float) -> np.ndarray:
    """Dominant direction by the structure tensor (Bigün and Granlund 1987).

    Args:
        rgb: uint8, shape (H, W, 3).
        mpp: µm per pixel.

    Returns:
        float32, shape (h, w, 2), about one element per µm: coherence times the cosine and the sine of twice the angle
        between the fibres and the x axis, y pointing down. Length 0 without a direction, near 1 along fibres.
    """
    size = (max(round(rgb.shape[1] * mpp / _CELL_UM), 2), max(round(rgb.shape[0] * mpp / _CELL_UM), 2))
    grey = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    gx, gy = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    # The gradient lies across the fibres, which in double angles is the opposite sign.
    tensor = np.dstack([gy * gy - gx * gx, -2 * gx * gy, gx * gx + gy * gy])
    tensor = cv2.GaussianBlur(tensor, (0, 0), 8 / _CELL_UM)
    return tensor[..., :2] / np.maximum(tensor[..., 2:], 1e-6)
