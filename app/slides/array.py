"""Nuclei of an image that is in memory, for notebooks and other people's programs (``nucleosynth.segment``)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import shapely
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from .drawing import fill_outlines, outline_edges
from .model import load_segmenter
from .outlining import Outliner
from .plan import PlanSettings, SlideTile, plan_slide
from .resample import plan_axis, resample
from .segmentation import SlideSegmenter
from .table import GEOMETRY, outline_vertices

__all__ = ["Segmentation", "maps_of", "segment"]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The nuclei of an image.

    Attributes:
        image: as it was given, uint8, shape (H, W, 3), RGB.
        label: int32, shape (H, W); nucleus i is i + 1, 0 is background.
        polygons: Shapely polygons, shape (N,), in pixels of the image; the first pixel's centre is (0.5, 0.5).
        table: a row a nucleus: centroid in pixels and µm, and the columns of
            :class:`~nucleosynth.postprocess.NucleusMeasures`.
    """

    image: np.ndarray
    label: np.ndarray
    polygons: np.ndarray
    table: pd.DataFrame

    def plot(self, axes: Axes | None = None, colour: str = "lime") -> Axes:
        """Draw the outlines over the image.

        Args:
            axes: where to; None makes a new figure.
            colour: of the outlines, as Matplotlib names it.
        """
        if axes is None:
            _, axes = pyplot.subplots()
        height, width = self.label.shape
        axes.imshow(self.image, extent=(0, width, height, 0))
        rings = [shapely.get_coordinates(polygon) for polygon in self.polygons]
        axes.add_collection(PolyCollection(rings, facecolors="none", edgecolors=colour, linewidths=0.8))
        axes.set_axis_off()
        axes.set_title(f"{len(self.polygons)} nuclei")
        return axes


def segment(image: np.ndarray, model: SlideSegmenter | Path | str | None = None, *, mpp: float) -> Segmentation:
    """Segment the nuclei of an image that is in memory; for files and slides there is ``nucleosynth segment``.

    Args:
        image: uint8, shape (H, W, 3), RGB.
        model: output of ``nucleosynth train``, its bundle, or one that is loaded already
            (:func:`~nucleosynth.slides.model.load_segmenter`), which saves time with many images; None is the network
            that is shipped.
        mpp: scale of the image, µm per pixel.

    Raises:
        InputError: the model cannot be used.
        ValueError: the image is of another kind, or ``mpp`` is not positive.

    Example:
        >>> nuclei = segment(image, mpp=0.25)  # doctest: +SKIP
        >>> nuclei.table["area_um2"].median(), nuclei.plot()  # doctest: +SKIP
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"image must be uint8 of shape (H, W, 3), got {image.dtype} of shape {image.shape}")
    if not (math.isfinite(mpp) and mpp > 0):
        raise ValueError(f"mpp must be positive, got {mpp}")
    segmenter = model if isinstance(model, SlideSegmenter) else load_segmenter(model)
    seen = _at_scale(image, segmenter.instances.mpp / mpp)
    tile, maps = _predict(seen, segmenter)
    table = Outliner(segmenter.instances, None, mpp)(tile, seen, maps)
    polygons = shapely.from_wkb(table[GEOMETRY].to_numpy(zero_copy_only=False))
    rows = table.drop_columns([GEOMETRY]).to_pandas()
    edges, owner = outline_edges(*outline_vertices(table))
    label = fill_outlines(edges, owner + 1, (image.shape[0], image.shape[1]))
    return Segmentation(image, label, polygons, rows)


def maps_of(image: np.ndarray, segmenter: SlideSegmenter) -> np.ndarray:
    """What the network sees in an image at its own scale.

    Args:
        image: uint8, shape (H, W, 3), RGB.
        segmenter: of :func:`~nucleosynth.slides.model.load_segmenter`.

    Returns:
        float32, shape (2, H, W): probability of the core of a nucleus, and of a nucleus.
    """
    return _predict(image, segmenter)[1]


def _predict(image: np.ndarray, segmenter: SlideSegmenter) -> tuple[SlideTile, np.ndarray]:
    """The image as one tile, and its maps."""
    height, width = image.shape[:2]
    window, stride = segmenter.plan.window, segmenter.plan.stride
    (tile,) = plan_slide((width, height), None, PlanSettings(max(width, height), 0, window, stride))
    beyond = ((0, tile.frame.bottom - height), (0, tile.frame.right - width), (0, 0))
    return tile, segmenter.predictor(np.pad(image, beyond, mode="edge"), tile)


def _at_scale(image: np.ndarray, step: float) -> np.ndarray:
    """An image with one pixel for ``step`` of its own."""
    if step == 1:
        return image
    rows, columns = (plan_axis(0.0, step, max(1, round(side / step)), side) for side in image.shape[:2])
    return resample(image[rows.first : rows.last, columns.first : columns.last], rows, columns)
