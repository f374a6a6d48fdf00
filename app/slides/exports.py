"""A slide's nuclei for other programs, and a picture of them, from ``nuclei.parquet``; a part in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from ..atomic import replace_atomically
from ..data.images import write_png
from .table import GEOMETRY, MEASUREMENTS

__all__ = ["draw_overview", "read_parts", "write_geojson"]

# QuPath shows a measurement under its name; µm and µm² are how it writes units itself.
_NAMES = {"area_um2": "Area µm^2", "perimeter_um": "Perimeter µm", "orientation": "Orientation °"}
_CLASSIFICATION = {"name": "Nucleus", "color": [38, 70, 222]}
_DENSEST = 99.5  # Percentile of the density that gets the strongest colour.
_CELL_PX = 8


def read_parts(path: Path) -> Iterator[pa.Table]:
    """The tables that a ``nuclei.parquet`` is made of, one at a time."""
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number)


def write_geojson(source: Path, path: Path) -> None:
    """Write nuclei as QuPath reads them: a collection of detections, in level-0 pixels, with their measurements.

    Args:
        source: ``nuclei.parquet``.
        path: of the GeoJSON file.

    Raises:
        OSError: the file cannot be written.
    """
    with replace_atomically(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        file.write('{"type":"FeatureCollection","features":[')
        separator = "\n"
        for table in read_parts(source):
            file.write(separator + ",\n".join(_features(table)))
            separator = ",\n"
        file.write("\n]}\n")


def _features(table: pa.Table) -> Iterator[str]:
    """One GeoJSON text a nucleus."""
    names = [_NAMES.get(name, name.replace("_", " ").capitalize()) for name in MEASUREMENTS]
    measurements = ",".join(f"{json.dumps(name, ensure_ascii=False)}:%.4g" for name in names)
    template = (
        '{"type":"Feature","geometry":%s,"properties":{"objectType":"detection",'
        f'"classification":{json.dumps(_CLASSIFICATION, separators=(",", ":"))},"measurements":{{{measurements}}}}}}}'
    )
    polygons = shapely.to_geojson(shapely.from_wkb(table[GEOMETRY].to_numpy(zero_copy_only=False)))
    columns = (table[name].to_numpy().tolist() for name in MEASUREMENTS)
    return (template % row for row in zip(polygons, *columns, strict=True))


def draw_overview(source: Path, thumbnail: np.ndarray, scale: float, path: Path) -> None:
    """Draw how densely the nuclei lie over a picture of the slide, which shows at a glance what was missed.

    Args:
        source: ``nuclei.parquet``.
        thumbnail: uint8, shape (h, w, 3), RGB, of the whole slide.
        scale: level-0 pixels per pixel of it.
        path: of the PNG.

    Raises:
        OSError: the file cannot be written.
    """
    height, width = thumbnail.shape[:2]
    rows, columns = -(-height // _CELL_PX), -(-width // _CELL_PX)
    count = np.zeros(rows * columns)
    for table in read_parts(source):
        x, y = (table[name].to_numpy() / (scale * _CELL_PX) for name in ("x_px", "y_px"))
        column, row = (np.clip(v.astype(np.intp), 0, end - 1) for v, end in ((x, columns), (y, rows)))
        count += np.bincount(row * columns + column, minlength=rows * columns)
    density = cv2.GaussianBlur(count.reshape(rows, columns).astype(np.float32), (0, 0), 1.0)
    strongest = float(np.percentile(density[density > 0], _DENSEST)) if (density > 0).any() else 1.0
    share = cv2.resize(np.clip(density / strongest, 0, 1), (width, height), interpolation=cv2.INTER_LINEAR)
    colours = cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    # Where there are no nuclei the slide is seen as it is.
    opacity = 0.6 * np.minimum(share * 8, 1)[..., None]
    write_png(path, np.rint(thumbnail * (1 - opacity) + colours * opacity).astype(np.uint8))
