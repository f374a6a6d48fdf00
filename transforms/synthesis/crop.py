"""Random crops in one of the eight orientations of the square; tissue has no up and no left."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

__all__ = ["Crop", "draw_crop", "take_crop"]

# Quarter turns counter-clockwise.
_TURNS = {1: cv2.ROTATE_90_COUNTERCLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_CLOCKWISE}


@dataclass(frozen=True)
class Crop:
    """A square of a tile, turned and mirrored.

    Attributes:
        y: upper edge, in pixels of the tile.
        x: left edge, in pixels of the tile.
        size: side, in pixels.
        turns: number of quarter turns, 0 to 3.
        mirrored: whether it is mirrored after being turned.
    """

    y: int
    x: int
    size: int
    turns: int = 0
    mirrored: bool = False


def draw_crop(shape: tuple[int, ...], size: int, rng: np.random.RandomState) -> Crop:
    """Draw a crop of a tile.

    Args:
        shape: height and width of the tile, in pixels, perhaps followed by more.
        size: side of the crop.
        rng: source of randomness.

    Raises:
        ValueError: the tile is smaller than the crop.
    """
    if min(shape[:2]) < size:
        raise ValueError(f"a tile of {shape[1]}x{shape[0]} px is smaller than the patch of {size} px")
    y, x = rng.randint(shape[0] - size + 1), rng.randint(shape[1] - size + 1)
    return Crop(int(y), int(x), size, int(rng.randint(4)), bool(rng.randint(2)))


def take_crop(image: np.ndarray, crop: Crop, cell: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    """Cut a crop out of a tile, or out of a map of it.

    Args:
        image: shape (H, W) or (H, W, C).
        crop: in pixels of the tile.
        cell: height and width, in pixels of the tile, of what one element of ``image`` stands for.

    Returns:
        contiguous, a copy; of a map, all elements that the crop touches.
    """
    rows = slice(int(crop.y / cell[0]), int(np.ceil((crop.y + crop.size) / cell[0])))
    columns = slice(int(crop.x / cell[1]), int(np.ceil((crop.x + crop.size) / cell[1])))
    part = image[rows, columns].copy()
    # OpenCV turns many times faster than numpy copies a turned view.
    if crop.turns:
        part = cv2.rotate(part, _TURNS[crop.turns])
    if crop.mirrored:
        part = cv2.flip(part, 1)
    return part
