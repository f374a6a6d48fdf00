"""The table of a slide's nuclei: a row each, as GeoParquet (version 1.1)."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pyarrow as pa
import shapely

from ..postprocess import NucleusMeasures

__all__ = ["GEOMETRY", "MEASUREMENTS", "SCHEMA", "nuclei_table", "outline_vertices"]

GEOMETRY = "geometry"
"""Column of the outlines: polygons in WKB, in level-0 pixels of the slide."""

MEASUREMENTS = tuple(each.name for each in fields(NucleusMeasures) if each.name not in ("x", "y"))
"""Columns of the measurements, see :class:`~nucleosynth.postprocess.NucleusMeasures`."""

_POSITIONS = ("x_px", "y_px", "x_um", "y_um")
# Coordinates are pixels, of no coordinate system of the earth.
_GEO = {
    "version": "1.1.0",
    "primary_column": GEOMETRY,
    "columns": {GEOMETRY: {"encoding": "WKB", "geometry_types": ["Polygon"], "crs": None}},
}

SCHEMA = pa.schema(
    [
        pa.field(GEOMETRY, pa.binary(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in _POSITIONS),
        *(pa.field(name, pa.float32(), nullable=False) for name in MEASUREMENTS),
    ],
    metadata={b"geo": json.dumps(_GEO).encode()},
)
"""Columns of the table; centroids in level-0 pixels (``x_px``, ``y_px``) and in µm (``x_um``, ``y_um``)."""


def nuclei_table(outlines: np.ndarray, measures: NucleusMeasures, scale: float, mpp: float) -> pa.Table:
    """Make a table of nuclei.

    Args:
        outlines: polygons, shape (N,), in pixels at the network's scale, from the slide's upper left corner.
        measures: of the same nuclei, positions likewise.
        scale: level-0 pixels per pixel at the network's scale.
        mpp: µm per level-0 pixel.

    Returns:
        N rows, columns of ``SCHEMA``. Vertices are rounded to 1/100 of a level-0 pixel.
    """
    scaled = shapely.transform(outlines, lambda vertices: np.round(vertices * scale, 2))
    x, y = measures.x * scale, measures.y * scale
    positions = [_numbers(each, pa.float64()) for each in (x, y, x * mpp, y * mpp)]
    measured = [_numbers(getattr(measures, name), pa.float32()) for name in MEASUREMENTS]
    return pa.Table.from_arrays([_binary(shapely.to_wkb(scaled)), *positions, *measured], schema=SCHEMA)


# Made of their buffers, since ``pa.array`` imports pandas, which costs an outlining process a quarter of its start.
def _binary(values: np.ndarray) -> pa.Array:
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum(np.fromiter(map(len, values), np.int32, len(values)), out=offsets[1:])
    return pa.Array.from_buffers(
        pa.binary(), len(values), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(values))]
    )


def _numbers(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    values = np.ascontiguousarray(values, f"float{kind.bit_width}")
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def outline_vertices(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """The outlines of a table as arrays.

    Args:
        table: N rows, with a column ``GEOMETRY``.

    Returns:
        Vertices, float64, shape (V, 2), x and y in level-0 pixels, each outline closed by its first; and offsets,
        integers, shape (N + 1,): those of nucleus i are ``vertices[offsets[i]:offsets[i + 1]]``.
    """
    rings = shapely.get_exterior_ring(shapely.from_wkb(table[GEOMETRY].to_numpy(zero_copy_only=False)))
    offsets = np.concatenate([[0], np.cumsum(shapely.get_num_coordinates(rings))])
    return shapely.get_coordinates(rings), offsets
