"""Scores of segmented images against the labels of experts, file by file."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile

from ..atomic import write_atomically
from ..data.images import find_files, read_label
from ..errors import InputError
from ..metrics import InstanceScores, nuclei_auroc, score_instances
from ..progress import track

__all__ = [
    "ImageScores",
    "Prediction",
    "evaluate_folders",
    "mean_auroc",
    "mean_scores",
    "read_prediction",
    "write_scores",
]

_PROBABILITY = "Probability"  # Among the measurements of a nucleus, as nucleosynth segment writes them.
_SUBPIXELS = 4  # OpenCV's vertices have so many bits behind the point: 1/16 px.


@dataclass(frozen=True)
class Prediction:
    """Predicted nuclei of an image.

    Attributes:
        label: integers, shape (H, W), ids, 0 is background.
        probability: float, shape (N,), of the nuclei of ids 1 to N; None where the file does not say.
    """

    label: np.ndarray
    probability: np.ndarray | None = None


@dataclass(frozen=True)
class ImageScores:
    """Scores of one image.

    Attributes:
        name: of the image, its folder below that of the labels included.
        nuclei: of the experts.
        predicted: nuclei of the prediction.
        scores: of one against the other.
        auroc: of the nuclei's probabilities, see :func:`~nucleosynth.metrics.nuclei_auroc`.
    """

    name: str
    nuclei: int
    predicted: int
    scores: InstanceScores
    auroc: float | None = None


def evaluate_folders(truth: Path, prediction: Path) -> list[ImageScores]:
    """Score a folder of predictions.

    Args:
        truth: folder of label images, ``NAME.png``, or one with a folder ``labels/`` of them.
        prediction: what :func:`read_prediction` finds for each.

    Raises:
        InputError: there is no label image, or one of them has no prediction, or another size; or a file is damaged.
    """
    if (truth / "labels").is_dir():
        truth = truth / "labels"
    if not truth.is_dir():
        raise InputError(f"{truth}: no such folder")
    if not prediction.is_dir():
        raise InputError(f"{prediction}: no such folder")
    labels = find_files(truth, {".png"})
    if not labels:
        raise InputError(f"{truth}: no label images (NAME.png) in this folder")
    return [_evaluate(label, label.relative_to(truth).with_suffix(""), prediction) for label in track(labels, "score")]


def _evaluate(path: Path, name: Path, prediction: Path) -> ImageScores:
    true = read_label(path)
    found = read_prediction(prediction, name, true.shape)
    label, probability = found.label, found.probability
    if label.shape != true.shape:
        sizes = " and ".join(f"{each.shape[1]}x{each.shape[0]}" for each in (true, label))
        raise InputError(f"{path}: differs in size from its prediction, {sizes} px")
    nuclei, predicted = (int(np.count_nonzero(np.unique(each))) for each in (true, label))
    auroc = None if probability is None else nuclei_auroc(true, label, probability)
    return ImageScores(name.as_posix(), nuclei, predicted, score_instances(true, label), auroc)


def read_prediction(folder: Path, name: Path, shape: tuple[int, int]) -> Prediction:
    """Read the predicted nuclei of an image.

    Args:
        folder: with ``NAME.png`` or ``NAME.tif``, label images; ``NAME.geojson``; or ``NAME/nuclei.geojson``, as
            ``nucleosynth segment`` writes it.
        name: of the image.
        shape: height and width of the image, for outlines.

    Raises:
        InputError: there is none, or it is damaged.
    """
    stem = folder / name
    if (path := stem.with_name(f"{stem.name}.png")).is_file():
        return Prediction(read_label(path))
    if (path := stem.with_name(f"{stem.name}.tif")).is_file():
        return Prediction(_read_tiff(path))
    for path in (stem.with_name(f"{stem.name}.geojson"), stem / "nuclei.geojson"):
        if path.is_file():
            outlines, probability = _read_geojson(path)
            return Prediction(_draw(path, outlines, shape), probability)
    raise InputError(f"{folder}: no prediction for {name}; there should be {name}.png or {name}/nuclei.geojson")


def _read_tiff(path: Path) -> np.ndarray:
    try:
        label = tifffile.imread(path)
    except (tifffile.TiffFileError, OSError, ValueError) as error:
        raise InputError(f"{path}: damaged, or not a TIFF") from error
    if label.ndim != 2 or not np.issubdtype(label.dtype, np.integer) or label.min(initial=0) < 0:
        raise InputError(
            f"{path}: a label image holds ids in one channel, this is {label.dtype} of shape {label.shape}"
        )
    return label


def _read_geojson(path: Path) -> tuple[list[list[Any]], np.ndarray | None]:
    """Rings of all polygons, outlines first, then their holes; and the nuclei's probabilities, if all have one."""
    try:
        content = json.loads(path.read_bytes())
        features = content["features"] if isinstance(content, dict) else content
        outlines = [_rings(feature["geometry"]) for feature in features]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged, or not a GeoJSON of polygons") from error
    try:
        values = [float(feature["properties"]["measurements"][_PROBABILITY]) for feature in features]
    except (ValueError, KeyError, TypeError):  # another program's, which has no such thing
        return outlines, None
    return outlines, np.array(values)


def _rings(geometry: dict[str, Any]) -> list[Any]:
    if geometry["type"] == "Polygon":
        return [geometry["coordinates"]]
    if geometry["type"] == "MultiPolygon":
        return list(geometry["coordinates"])
    raise ValueError(f"not a polygon but a {geometry['type']}")


def _draw(path: Path, nuclei: list[list[Any]], shape: tuple[int, int]) -> np.ndarray:
    """Fill outlines as most programs do, the scorers of challenges among them: with every pixel that they touch.

    Each in a window of its own, since a hole must not cut into the nucleus beneath. Later nuclei cover earlier ones.
    """
    label = np.zeros(shape, np.int32)
    for number, polygons in enumerate(nuclei, 1):
        for polygon in polygons:
            try:
                outline, *holes = (np.asarray(ring, np.float64)[:, :2] for ring in polygon)
            except (ValueError, IndexError) as error:
                raise InputError(f"{path}: nucleus {number} has no outline of x and y") from error
            low = np.clip(np.floor(outline.min(0)).astype(int) - 1, 0, None)
            high = np.minimum(np.ceil(outline.max(0)).astype(int) + 2, shape[::-1])
            if (high <= low).any():
                continue
            filled = np.zeros((high - low)[::-1], np.uint8)
            for ring, value in ((outline, 1), *((hole, 0) for hole in holes)):
                # A pixel's centre is a whole number for OpenCV.
                vertices = np.round((ring - low - 0.5) * 2**_SUBPIXELS).astype(np.int32)
                cv2.fillPoly(filled, [vertices], value, shift=_SUBPIXELS)
            label[low[1] : high[1], low[0] : high[0]][filled > 0] = number
    return label


def mean_scores(images: list[ImageScores]) -> InstanceScores:
    """Mean of each score over images."""
    return InstanceScores(
        *(float(np.mean([getattr(each.scores, field.name) for each in images])) for field in fields(InstanceScores))
    )


def mean_auroc(images: list[ImageScores]) -> float | None:
    """Mean over the images that have one."""
    known = [each.auroc for each in images if each.auroc is not None]
    return float(np.mean(known)) if known else None


def write_scores(path: Path, images: list[ImageScores]) -> None:
    """Write a CSV file: a row for each image, and their mean as the last.

    Raises:
        OSError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "nuclei", "predicted", *(field.name for field in fields(InstanceScores)), "auroc"])
    for each in images:
        writer.writerow([each.name, each.nuclei, each.predicted, *_rounded(each.scores, each.auroc)])
    totals = sum(each.nuclei for each in images), sum(each.predicted for each in images)
    writer.writerow(["mean", *totals, *_rounded(mean_scores(images), mean_auroc(images))])
    write_atomically(path, text.getvalue().encode())


def _rounded(scores: InstanceScores, auroc: float | None) -> list[str]:
    return [*(f"{value:.4f}" for value in asdict(scores).values()), "" if auroc is None else f"{auroc:.4f}"]
