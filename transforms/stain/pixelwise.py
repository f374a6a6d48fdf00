"""Maps from colour to colour, applied to images of any size in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["check_colors", "map_colors"]

# OpenCV computes the last few pixels of a row otherwise than the rest, and differs in the last bit. Rows of this width
# have no such rest, so that a colour becomes the same colour wherever in an image it lies.
_WIDTH = 1024
_ROWS = 128  # Intermediate values, float32, of so many rows fit into a core's cache.


def check_colors(rgb: np.ndarray) -> None:
    """Refuse what is not uint8 of shape (..., 3)."""
    if rgb.dtype != np.uint8 or rgb.ndim < 2 or rgb.shape[-1] != 3:
        raise ValueError(f"colours must be uint8 with shape (..., 3), got {rgb.dtype} {rgb.shape}")


def map_colors(rgb: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply a function of single colours, some 100 000 pixels at a time.

    Args:
        rgb: uint8, shape (..., 3).
        function: from uint8, shape (h, w, 3), to values of any type of the same shape; each pixel by itself.

    Returns:
        Of the function's type, shape (..., 3). A pixel's value does not depend on the others, nor on its place.

    Raises:
        ValueError: ``rgb`` is something else.
    """
    check_colors(rgb)
    pixels = np.ascontiguousarray(rgb).reshape(-1, 3)
    result = np.empty(pixels.shape, function(np.zeros((1, _WIDTH, 3), np.uint8)).dtype)
    for begin in range(0, len(pixels), _WIDTH * _ROWS):
        part = pixels[begin : begin + _WIDTH * _ROWS]
        lacking = -len(part) % _WIDTH
        whole = np.pad(part, ((0, lacking), (0, 0))) if lacking else part
        result[begin : begin + len(part)] = function(whole.reshape(-1, _WIDTH, 3)).reshape(-1, 3)[: len(part)]
    return result.reshape(rgb.shape)
