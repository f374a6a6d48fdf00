"""Optical density and colour deconvolution (Ruifrok and Johnston 2001), the stain space of the paper's section 4.1.

The functions of this package take channel-last images, as OpenCV does; the transforms are channel-first, as MONAI's.
"""

from __future__ import annotations

import cv2
import numpy as np
from skimage.color import hed_from_rgb, rgb_from_hed

__all__ = ["hed_to_rgb", "od_to_rgb", "rgb_to_hed", "rgb_to_od"]

# One logarithm per possible value: a look-up is many times cheaper than a logarithm per pixel. 0 counts as 1.
_OD_OF_VALUE = -np.log(np.maximum(np.arange(256), 1) / 255.0).astype(np.float32)


def rgb_to_od(rgb: np.ndarray) -> np.ndarray:
    """Optical density, -ln(I / 255), by the Beer-Lambert law.

    Args:
        rgb: uint8, shape (H, W, 3).

    Returns:
        float32, shape (H, W, 3), from 0 (white) to 5.54 (black, which counts as the value 1).
    """
    if rgb.dtype != np.uint8:
        raise TypeError(f"rgb must be uint8, got {rgb.dtype}")
    return cv2.LUT(rgb, _OD_OF_VALUE)


def od_to_rgb(od: np.ndarray) -> np.ndarray:
    """Invert :func:`rgb_to_od`.

    Args:
        od: float32, shape (H, W, 3); negative values become white.

    Returns:
        uint8, shape (H, W, 3).
    """
    # convertScaleAbs rounds and saturates; the exponential is never negative, so its absolute value changes nothing.
    return cv2.convertScaleAbs(cv2.exp(-np.ascontiguousarray(od, dtype=np.float32)), alpha=255.0)


def rgb_to_hed(rgb: np.ndarray) -> np.ndarray:
    """Concentrations of haematoxylin, eosin and DAB.

    Args:
        rgb: uint8, shape (H, W, 3).

    Returns:
        float32, shape (H, W, 3), in units of natural optical density along each stain's unit vector. Colours outside
        the stains' span come out negative in some channel and are kept, so that :func:`hed_to_rgb` inverts this.
    """
    return cv2.transform(rgb_to_od(rgb), hed_from_rgb.T.astype(np.float32))


def hed_to_rgb(hed: np.ndarray) -> np.ndarray:
    """Invert :func:`rgb_to_hed`.

    Args:
        hed: float32, shape (H, W, 3), concentrations of haematoxylin, eosin and DAB.

    Returns:
        uint8, shape (H, W, 3).
    """
    return od_to_rgb(cv2.transform(np.ascontiguousarray(hed, dtype=np.float32), rgb_from_hed.T.astype(np.float32)))
