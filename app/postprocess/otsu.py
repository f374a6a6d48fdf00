"""The baseline that needs no network: Otsu's threshold on haematoxylin, and a watershed of distances."""

from __future__ import annotations

import cv2
import numpy as np
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from nucleosynth.transforms.stain import fill_small_holes, remove_small_objects, rgb_to_hed

__all__ = ["otsu_nuclei"]

_SMOOTHING_UM, _APART_UM, _LEAST_UM2 = 0.25, 1.75, 6.0


def otsu_nuclei(image: np.ndarray, mpp: float) -> np.ndarray:
    """Segment nuclei as one would without any model: what users have to do better than.

    Args:
        image: uint8, shape (H, W, 3), RGB.
        mpp: µm per pixel.

    Returns:
        int32, shape (H, W), instance ids; 0 is background.
    """
    haematoxylin = cv2.GaussianBlur(rgb_to_hed(image)[..., 0], (0, 0), _SMOOTHING_UM / mpp)
    if np.ptp(haematoxylin) == 0:
        return np.zeros(image.shape[:2], np.int32)
    mask = haematoxylin > threshold_otsu(haematoxylin)
    mask = fill_small_holes(remove_small_objects(mask, _LEAST_UM2 / mpp**2), 30 / mpp**2)
    distance = cv2.GaussianBlur(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5), (0, 0), 0.5 / mpp)
    peaks = peak_local_max(distance, min_distance=max(1, round(_APART_UM / mpp)), labels=mask, exclude_border=False)
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-distance, markers, mask=mask).astype(np.int32)
