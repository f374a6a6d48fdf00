"""Where a slide is worth segmenting."""

from __future__ import annotations

import cv2
import numpy as np

from ..data.quality import tissue_mask
from .plan import TissueMap
from .reader import SlideReader

__all__ = ["find_tissue"]

_MASK_MPP = 8.0
_MARGIN_UM = 16.0
_LEAST_SIDE = 64


def find_tissue(slide: SlideReader, size: tuple[int, int]) -> TissueMap:
    """Tell tissue from glass on a whole slide, with a margin, so that no nucleus at the edge is lost.

    What cannot be read counts as tissue: it is for the segmentation to come upon the damage, and to say so.

    Args:
        slide: the slide.
        size: its width and height, in pixels at the network's scale.
    """
    shortest = min(slide.dimensions) * slide.mpp
    mpp = max(slide.mpp, min(_MASK_MPP, shortest / _LEAST_SIDE))
    width, height = slide.thumbnail_size(mpp)
    unreadable = np.zeros((height, width), bool)
    mask = tissue_mask(slide.thumbnail(mpp, unreadable), mpp)
    radius = max(1, round(_MARGIN_UM / mpp))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return TissueMap(cv2.dilate(mask.astype(np.uint8), kernel).astype(bool) | unreadable, size)
