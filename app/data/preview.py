"""A contact sheet of a synthetic data set: real patches beside synthetic ones, and these with their outlines."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from .images import read_image, read_label, write_png

__all__ = ["contact_sheet", "draw_outlines", "write_preview"]

_ROWS, _COLUMNS, _CELL, _GAP, _HEADER = 4, 2, 240, 8, 28
_TITLES = ("real", "synthetic", "labels")
_OUTLINE = (0, 220, 90)


def draw_outlines(image: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Draw the outline of every instance, two pixels wide where two touch.

    Args:
        image: uint8, shape (H, W, 3), RGB.
        label: integers, shape (H, W), instance ids, 0 background.

    Returns:
        uint8, shape (H, W, 3).
    """
    ids = label.astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    edge = (label > 0) & ((cv2.erode(ids, kernel) != ids) | (cv2.dilate(ids, kernel) != ids))
    outlined = image.copy()
    outlined[edge] = _OUTLINE
    return outlined


def contact_sheet(patches: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
    """Lay patches out in columns of real, synthetic and outlined.

    Args:
        patches: reference (uint8 RGB), synthetic image (uint8 RGB) and label of each, all of one size.

    Returns:
        uint8 RGB.
    """
    columns = min(_COLUMNS, len(patches))
    rows = -(-len(patches) // columns)
    width, height = columns * (3 * _CELL + _GAP) - _GAP, _HEADER + rows * (_CELL + _GAP) - _GAP
    sheet = np.full((height, width, 3), 255, np.uint8)
    for column in range(columns):
        for place, title in enumerate(_TITLES):
            x = column * (3 * _CELL + _GAP) + place * _CELL
            cv2.putText(sheet, title, (x + 4, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (60, 60, 60), 1, cv2.LINE_AA)
    for number, (reference, image, label) in enumerate(patches):
        row, column = divmod(number, columns)
        y, left = _HEADER + row * (_CELL + _GAP), column * (3 * _CELL + _GAP)
        for place, picture in enumerate((reference, image, draw_outlines(image, label))):
            cell = cv2.resize(picture, (_CELL, _CELL), interpolation=cv2.INTER_AREA)
            sheet[y : y + _CELL, left + place * _CELL : left + (place + 1) * _CELL] = cell
    return sheet


def write_preview(folder: Path, count: int, path: Path) -> None:
    """Write the contact sheet of a data set, of patches spread evenly over it.

    Args:
        folder: of ``nucleosynth synthesize``.
        count: number of its patches.
        path: where the sheet goes.
    """
    chosen = np.unique(np.linspace(0, count - 1, _ROWS * _COLUMNS).round().astype(int))
    patches = []
    for number in chosen:
        name = f"{number:06d}.png"
        real, image = read_image(folder / "reference" / name), read_image(folder / "images" / name)
        patches.append((real, image, read_label(folder / "labels" / name)))
    write_png(path, contact_sheet(patches))
