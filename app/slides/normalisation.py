"""Stain normalisation of whole slides: measured once, over all tissue, so that no tile differs from the next."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from nucleosynth.transforms.stain import STAIN_TARGETS, StainStatistics, fit_stain, normalize_stain, rgb_to_od

from ..errors import InputError
from .reader import SlideReader
from .settings import NORMALIZATIONS
from .tissue import outline_tissue

__all__ = ["SlideStain", "measure_stain", "sample_tissue"]

# Tissue is read in squares of so many pixels of its mask, 32 µm on a slide, and about so many pixels in all: at
# 0.25 µm/px, 256 places. What is much smaller than a slide is read in full.
_SQUARE = 4
_MOST_PIXELS = 2**22
# Mean optical density of the channels below which there is no stain (Macenko's beta). The mask has no small holes:
# lumens, fat and cracks in it are white, and their share says nothing about the stain.
_LEAST_OD = 0.15


@dataclass(frozen=True)
class SlideStain:
    """How the colours of a slide are normalised for the network. What is measured on nuclei keeps those of the slide.

    Attributes:
        source: stain of the slide's tissue; None leaves images as they are.
        target: what it becomes.
        reason: why there is no source though one was asked for.
    """

    source: StainStatistics | None = None
    target: StainStatistics | None = None
    reason: str | None = None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Normalise an image of the slide, uint8, shape (H, W, 3), RGB: each pixel by itself."""
        if self.source is None or self.target is None:
            return image
        return normalize_stain(image, self.source, self.target)

    def record(self) -> dict[str, Any]:
        """For ``run.json``: statistics of source and target, or the reason for their absence; empty if none is due."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def measure_stain(slide: SlideReader, method: str, mpp: float) -> SlideStain:
    """Measure the stain of a slide, to normalise it to the method's published reference.

    A slide of too little stain to measure, such as a picture of glass, is left as it is: that is no reason to end a
    run over many.

    Args:
        slide: the slide or image.
        method: one of ``NORMALIZATIONS``.
        mpp: scale of the images that are to be normalised, µm per pixel. At a coarser one neighbours mix: colours vary
            less and the stains' vectors draw together, so that normalised images would have too much contrast.

    Raises:
        ValueError: there is no such method.
    """
    if method not in NORMALIZATIONS:
        raise ValueError(f"method must be one of {', '.join(NORMALIZATIONS)}, got {method!r}")
    if method == "none":
        return SlideStain()
    pixels = sample_tissue(slide, mpp)
    try:
        return SlideStain(fit_stain(pixels, method), STAIN_TARGETS[method])
    except ValueError as error:
        return SlideStain(reason=str(error))


def sample_tissue(slide: SlideReader, mpp: float) -> np.ndarray:
    """Stained pixels of all parts of a slide's tissue, of bounded number, always the same.

    Of the squares of a grid that hold tissue every n-th is read, row by row. Where no tissue is found all counts as
    tissue; what is white, or cannot be read, is left out.

    Args:
        slide: the slide or image.
        mpp: scale of the pixels, µm per pixel.

    Returns:
        uint8, shape (N, 3), RGB.
    """
    outline = outline_tissue(slide)
    mask = outline.mask if outline.mask.any() else np.ones_like(outline.mask)
    mask = mask & ~outline.unreadable
    rows, columns = (-(-side // _SQUARE) for side in mask.shape)
    padded = np.pad(mask, ((0, rows * _SQUARE - mask.shape[0]), (0, columns * _SQUARE - mask.shape[1])))
    corners = np.argwhere(padded.reshape(rows, _SQUARE, columns, _SQUARE).any(axis=(1, 3))) * _SQUARE
    most = max(1, round(_MOST_PIXELS / (_SQUARE * outline.mpp / mpp) ** 2))
    every = np.linspace(0, len(corners) - 1, min(len(corners), most)).round().astype(int)
    squares = [_read_square(slide, outline.mpp, mask, int(top), int(left), mpp) for top, left in corners[every]]
    return np.concatenate([np.zeros((0, 3), np.uint8), *squares])


def _read_square(slide: SlideReader, mask_mpp: float, mask: np.ndarray, top: int, left: int, mpp: float) -> np.ndarray:
    """Stained pixels in a square of the mask, uint8, shape (N, 3); none where the slide is damaged."""
    part = mask[top : top + _SQUARE, left : left + _SQUARE]
    # Whole pixels, as frames have them: between two pixels there is a mean of both, and the stain looks more even. The
    # mask's last pixels may reach beyond the slide, where all is white.
    slide_width, slide_height = slide.thumbnail_size(mpp)
    x0, x1 = (min(round(x * mask_mpp / mpp), slide_width) for x in (left, left + part.shape[1]))
    y0, y1 = (min(round(y * mask_mpp / mpp), slide_height) for y in (top, top + part.shape[0]))
    if x0 == x1 or y0 == y1:
        return np.zeros((0, 3), np.uint8)
    try:
        pixels = slide.read_at((x0 * mpp / slide.mpp, y0 * mpp / slide.mpp), (x1 - x0, y1 - y0), mpp)
    except InputError:
        return np.zeros((0, 3), np.uint8)
    tissue = cv2.resize(part.astype(np.uint8), (x1 - x0, y1 - y0), interpolation=cv2.INTER_NEAREST) > 0
    return pixels[tissue & (rgb_to_od(pixels).mean(axis=2) >= _LEAST_OD)]
