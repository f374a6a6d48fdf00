"""Detection and segmentation maps of an instance label (paper, section 5.1: the network's two outputs)."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["nucleus_targets"]


def nucleus_targets(label: np.ndarray, core: float = 0.5) -> np.ndarray:
    """Work out what the task network should answer.

    Detection marks the core of each nucleus: the pixels further from its boundary than a share of the furthest one.
    Cores of touching nuclei stay apart, so they are the markers of the watershed; unlike a dot at the centre they grow
    with the nucleus, and an elongated nucleus has an elongated core.

    Args:
        label: integers, shape (H, W), instance ids, 0 background. Instance ids need not be consecutive.
        core: share of the largest distance to the boundary at which the core begins, in (0, 1].

    Returns:
        uint8, shape (2, H, W), 0 or 1: detection, and class-level segmentation.
    """
    if not 0 < core <= 1:
        raise ValueError(f"core must lie in (0, 1], got {core}")
    inside = label > 0
    targets = np.zeros((2, *label.shape), np.uint8)
    targets[1] = inside
    if not inside.any():
        return targets
    distance = _distance_to_boundary(label, inside)
    largest = np.zeros(int(label.max()) + 1, np.float32)
    np.maximum.at(largest, label[inside], distance[inside])
    targets[0] = inside & (distance >= core * largest[label])
    return targets


def _distance_to_boundary(label: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Distance of each pixel to the nearest one of another nucleus or of the background, float32, in pixels.

    The border of the patch is no boundary: a nucleus goes on beyond it.
    """
    # Where two nuclei touch, the pixels along the seam count as background, half a pixel off.
    seam = np.zeros_like(inside)
    for axis in (0, 1):
        before, after = np.moveaxis(label, axis, 0)[:-1], np.moveaxis(label, axis, 0)[1:]
        touching = (before != after) & (before > 0) & (after > 0)
        np.moveaxis(seam, axis, 0)[:-1] |= touching
        np.moveaxis(seam, axis, 0)[1:] |= touching
    free = cv2.copyMakeBorder((inside & ~seam).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    distance = cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
    # A nucleus that is all seam still has a core: itself.
    return np.minimum(distance, np.float32(max(label.shape)))
