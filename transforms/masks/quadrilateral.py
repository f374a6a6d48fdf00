"""The random quadrilateral transform, which correlates the shapes of neighbouring nuclei (paper, section 4.1)."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["draw_corners", "quadrilateral_homography", "warp_image", "warp_points"]


def draw_corners(jitter: float, rng: np.random.RandomState) -> np.ndarray:
    """Corners of the unit square, each moved by up to ``jitter`` in x and in y.

    Args:
        jitter: largest movement as a share of the side, in [0, 0.25); beyond, the corners might cross.
        rng: source of randomness.

    Returns:
        float64, shape (4, 2), as (x, y), clockwise from the upper left in image coordinates.
    """
    if not 0 <= jitter < 0.25:
        raise ValueError(f"jitter must lie in [0, 0.25), got {jitter}")
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    return square + rng.uniform(-jitter, jitter, size=(4, 2))


def quadrilateral_homography(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The projective map that sends a quadrilateral to an image, scaled to keep areas at the image's centre.

    Without that scale a quadrilateral smaller than the image would enlarge every nucleus, and the area prior would
    not be the areas' distribution any more.

    Args:
        corners: float, shape (4, 2), corners as a share of the image's sides.
        size: width and height of the image, in pixels.

    Returns:
        float64, shape (3, 3), for points (x, y, 1) in pixels; the identity for an undistorted square.
    """
    scale = np.array(size, dtype=np.float64)
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]) * scale
    forward = cv2.getPerspectiveTransform((corners * scale).astype(np.float32), square.astype(np.float32))
    centre = scale / 2
    source = warp_points(np.linalg.inv(forward), centre[None])[0]
    # Jacobian determinant of a homography h at a point: det(h) / (third homogeneous coordinate)^3.
    determinant = np.linalg.det(forward) / (forward[2] @ [*source, 1.0]) ** 3
    shrink = 1 / np.sqrt(determinant)
    about_centre = np.array([[shrink, 0, centre[0] * (1 - shrink)], [0, shrink, centre[1] * (1 - shrink)], [0, 0, 1]])
    return about_centre @ forward


def warp_points(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points by a homography.

    Args:
        homography: float, shape (3, 3).
        points: float, shape (N, 2), as (x, y).

    Returns:
        float64, shape (N, 2).
    """
    homogeneous = points @ homography[:, :2].T + homography[:, 2]
    return homogeneous[:, :2] / homogeneous[:, 2:]


def warp_image(image: np.ndarray, homography: np.ndarray, nearest: bool) -> np.ndarray:
    """Map an image by a homography; what lies outside of it comes in by reflection.

    Args:
        image: uint8 or float32, shape (H, W, C), or labels of any integer type up to int32, shape (H, W).
        homography: float, shape (3, 3), from input to output pixels.
        nearest: take the nearest pixel, as labels need, instead of interpolating.
    """
    labels = np.issubdtype(image.dtype, np.integer) and image.dtype != np.uint8
    # OpenCV warps no int32; float64 holds every int32 exactly.
    source = image.astype(np.float64) if labels else image
    flags = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    height, width = image.shape[:2]
    warped = cv2.warpPerspective(source, homography, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return warped.astype(image.dtype)
