"""A registered model at work, in Python (``mlflow.pyfunc.load_model``) and behind HTTP (``mlflow models serve``)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import shapely
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext

from ..data.images import decode_image
from ..slides.array import Segmentation, segment
from ..slides.model import load_segmenter

__all__ = ["BUNDLE", "IMAGE", "NucleiModel", "image_text"]

BUNDLE = "bundle"
"""Name under which MLflow hands the model its bundle."""

IMAGE = "image"
"""Column of the images in a table, and of their numbers in a table of nuclei."""

_LARGEST_ID = np.iinfo(np.uint16).max


class NucleiModel(PythonModel):
    """Nuclei of images: arrays in, arrays and a table out; image files in, text for JSON out.

    Images are uint8, shape (H, W, 3), RGB: one, a batch (N, H, W, 3), or a list or an object array of images of several
    sizes. The answer is then a dictionary:

    - ``labels``: a list with a label image for each, int32, shape (H, W); nucleus i is i, 0 is background;
    - ``nuclei``: one table for all, a row a nucleus: ``image`` (number of its image, from 0), ``label`` (its id there),
      ``polygon`` (Shapely, in pixels of the image) and the columns of :class:`~nucleosynth.slides.array.Segmentation`.

    Image files (PNG, JPEG, TIFF, BMP) come as bytes or as base64 text: one, a list, or the column ``image`` of a table,
    which is how they come by HTTP. The answer is then a list with a dictionary for each:

    - ``label_png``: the label image as a 16-bit PNG, in base64;
    - ``nuclei``: a list of dictionaries with the same entries, ``polygon`` being a list of x and y.

    The one parameter is ``mpp``, the scale of the images, µm per pixel; they have the network's own unless it is given.
    """

    def load_context(self, context: PythonModelContext) -> None:
        self._segmenter = load_segmenter(Path(context.artifacts[BUNDLE]))

    # MLflow reads the type of the input, and lets pass what this one says; it has none for several kinds of input.
    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Segment images; see the class.

        Raises:
            MlflowException: an image cannot be used; a server answers with status 400 and this message.
        """
        mpp = (params or {}).get("mpp") or self._segmenter.instances.mpp
        try:
            images = _listed(model_input)
            files = [each for each in images if isinstance(each, (str, bytes))]
            if files and len(files) < len(images):
                raise ValueError("give either arrays or image files, not both")
            pixels = [_decoded(each, number) for number, each in enumerate(files)] if files else images
            found = [segment(_checked(each, number), self._segmenter, mpp=mpp) for number, each in enumerate(pixels)]
        except ValueError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        return [_as_text(each) for each in found] if files else _as_arrays(found)


def image_text(image: np.ndarray) -> str:
    """An image as it is sent: a PNG in base64.

    Args:
        image: uint8, shape (H, W, 3), RGB, or a label image, uint16, shape (H, W).
    """
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    return base64.b64encode(cv2.imencode(".png", pixels)[1].tobytes()).decode("ascii")


def _listed(given: Any) -> Sequence[Any]:
    """The images, one by one, of whatever holds them."""
    if isinstance(given, pd.DataFrame):
        if IMAGE not in given.columns:
            raise ValueError(f"a table of images has a column {IMAGE!r}, got {', '.join(map(str, given.columns))}")
        given = given[IMAGE]
    if isinstance(given, np.ndarray) and given.ndim == 0:
        given = given.item()  # A server makes one of a text.
    if isinstance(given, (str, bytes)) or (isinstance(given, np.ndarray) and given.dtype != object and given.ndim == 3):
        given = [given]
    if not isinstance(given, (Sequence, np.ndarray, pd.Series)):
        raise ValueError(f"give an image, or images in an array, a list or a table, got {type(given).__name__}")
    images = [str(each) if isinstance(each, np.str_) else each for each in given]
    if not images:
        raise ValueError("there is no image")
    return images


def _decoded(file: str | bytes, number: int) -> np.ndarray:
    if isinstance(file, str):
        try:
            file = base64.b64decode("".join(file.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"image {number}: not base64; send an image file as base64 text") from error
    return decode_image(file, f"image {number}")


def _checked(image: Any, number: int) -> np.ndarray:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        kind = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"image {number}: must be uint8 of shape (H, W, 3), or a file as base64 text, got {kind}")
    return image


def _as_arrays(found: Sequence[Segmentation]) -> dict[str, Any]:
    tables = []
    for number, each in enumerate(found):
        table = each.table.copy()
        table.insert(0, IMAGE, number)
        table.insert(1, "label", np.arange(1, len(table) + 1))
        table.insert(2, "polygon", each.polygons)
        tables.append(table)
    return {"labels": [each.label for each in found], "nuclei": pd.concat(tables, ignore_index=True)}


def _as_text(found: Segmentation) -> dict[str, Any]:
    if len(found.polygons) > _LARGEST_ID:
        raise MlflowException.invalid_parameter_value(f"more than {_LARGEST_ID} nuclei in an image; send it in parts")
    rings = [shapely.get_coordinates(polygon).tolist() for polygon in found.polygons]
    rows = found.table.astype(float).to_dict("records")
    nuclei = [{"label": i, "polygon": ring, **row} for i, (ring, row) in enumerate(zip(rings, rows, strict=True), 1)]
    return {"label_png": image_text(found.label.astype(np.uint16)), "nuclei": nuclei}
