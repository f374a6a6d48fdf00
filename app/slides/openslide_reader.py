"""Slides through OpenSlide: the reader that opens every format and reports every damage."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import openslide

from ..errors import InputError
from .backend import plausible_mpp
from .dicom import is_mislabelled_ycbcr

__all__ = ["OpenSlideBackend"]


class OpenSlideBackend:
    """A slide opened with OpenSlide.

    Pixel (0, 0) is the corner of the slide's bounds, where the format knows them (MRXS and others, whose canvas is
    mostly empty). Levels whose downsample is not a whole number are read by OpenSlide with its own interpolation.

    Raises:
        InputError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideError as error:
            raise InputError(f"{path}: damaged, or not a slide that OpenSlide can read ({error})") from error
        properties = self._slide.properties
        self.mpp = plausible_mpp(
            _number(properties.get(openslide.PROPERTY_NAME_MPP_X)),
            _number(properties.get(openslide.PROPERTY_NAME_MPP_Y)),
        )
        self._is_ycbcr = is_mislabelled_ycbcr(
            path, properties.get("dicom.PhotometricInterpretation", ""), properties.get("dicom.TransferSyntaxUID", "")
        )
        self._x = int(properties.get(openslide.PROPERTY_NAME_BOUNDS_X, 0))
        self._y = int(properties.get(openslide.PROPERTY_NAME_BOUNDS_Y, 0))
        width, height = self._slide.dimensions
        width = int(properties.get(openslide.PROPERTY_NAME_BOUNDS_WIDTH, width - self._x))
        height = int(properties.get(openslide.PROPERTY_NAME_BOUNDS_HEIGHT, height - self._y))
        self.level_dimensions = [(width, height)] + [
            (max(1, int(width / downsample)), max(1, int(height / downsample)))
            for downsample in self._slide.level_downsamples[1:]
        ]
        if (width, height) == self._slide.dimensions:
            self.level_dimensions = list(self._slide.level_dimensions)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """See :meth:`nucleosynth.slides.backend.SlideBackend.read`."""
        downsample = self._slide.level_downsamples[level]
        location = (self._x + round(x * downsample), self._y + round(y * downsample))
        try:
            region = np.asarray(self._slide.read_region(location, level, (width, height)))
        except openslide.OpenSlideError as error:
            # After an error OpenSlide refuses all that follows, though other parts of the slide may be whole.
            self._slide.close()
            self._slide = openslide.OpenSlide(self._path)
            raise InputError(f"{self._path}: damaged slide, reading failed ({error}); copy it again") from error
        if self._is_ycbcr:
            region = _from_ycbcr(region)
        return _on_white(region)

    def close(self) -> None:
        self._slide.close()


def _on_white(region: np.ndarray) -> np.ndarray:
    """Put RGBA pixels, shape (H, W, 4), on white; what was never scanned is transparent."""
    colour, opacity = region[..., :3], region[..., 3:]
    if opacity.min() == 255:
        return np.ascontiguousarray(colour)
    share = opacity.astype(np.float32) / 255
    return np.rint(colour * share + 255 * (1 - share)).astype(np.uint8)


def _from_ycbcr(region: np.ndarray) -> np.ndarray:
    """Colours of a region, shape (H, W, 4), whose first three channels are Y, Cb, Cr."""
    colour = cv2.cvtColor(np.ascontiguousarray(region[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)
    return np.concatenate([colour, region[..., 3:]], axis=2)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
