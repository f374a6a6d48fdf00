"""Where a slide is worth segmenting."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..data.quality import tissue_mask
from .plan import TissueMap
from .reader import SlideReader

__all__ = ["TissueOutline", "find_tissue", "outline_tissue"]

_MASK_MPP = 8.0
_MARGIN_UM = 16.0
_LEAST_SIDE = 64


@dataclass(frozen=True)
class TissueOutline:
    """Tissue of a whole slide, as it is seen from afar.

    Attributes:
        mask: bool, shape (h, w); tissue, without a margin.
        unreadable: bool, shape (h, w); what could not be read.
        mpp: µm per pixel of both.
    """

    mask: np.ndarray
    unreadable: np.ndarray
    mpp: float


def outline_tissue(slide: SlideReader) -> TissueOutline:
    """Tell tissue from glass on a whole slide or image."""
    shortest = min(slide.dimensions) * slide.mpp
    mpp = max(slide.mpp, min(_MASK_MPP, shortest / _LEAST_SIDE))
    width, height = slide.thumbnail_size(mpp)
    unreadable = np.zeros((height, width), bool)
    return TissueOutline(tissue_mask(slide.thumbnail(mpp, unreadable), mpp), unreadable, mpp)


def find_tissue(slide: SlideReader, size: tuple[int, int]) -> TissueMap:
    """Tell tissue from glass on a whole slide, with a margin, so that no nucleus at the edge is lost.

    What cannot be read counts as tissue: it is for the segmentation to come upon the damage, and to say so.

    Args:
        slide: the slide.
        size: its width and height, in pixels at the network's scale.
    """
    outline = outline_tissue(slide)
    radius = max(1, round(_MARGIN_UM / outline.mpp))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return TissueMap(cv2.dilate(outline.mask.astype(np.uint8), kernel).astype(bool) | outline.unreadable, size)
