"""The measurements of a slide's nuclei as AnnData, the table of single-cell programs (SpatialData, squidpy, scanpy)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from ..atomic import replace_atomically
from .exports import read_parts
from .extras import optional_module
from .reader import SlideReader
from .table import MEASUREMENTS

__all__ = ["check_anndata", "write_anndata"]


def check_anndata(path: Path) -> None:
    """Find out before the work whether :func:`write_anndata` can write, which is the same for all slides.

    Raises:
        InputError: AnnData is not installed.
    """
    optional_module("anndata", "anndata")


def write_anndata(source: Path, slide: SlideReader, path: Path) -> None:
    """Write the measurements of nuclei as ``.h5ad``. They are all in memory at once, their outlines are not.

    ``X`` is float32, shape (N, M), with the measurements as variables; ``obs["id"]`` is 1 to N, which is a nucleus'
    value in the label image; ``obsm["spatial"]`` is float64, shape (N, 2), the centroids' x and y in µm from the
    slide's upper left corner; ``uns`` has ``slide``, the name of its file, and ``mpp``, µm per level-0 pixel.

    Args:
        source: ``nuclei.parquet``.
        slide: that the nuclei are of.
        path: of the file.

    Raises:
        InputError: AnnData is not installed.
        OSError: the file cannot be written.
    """
    anndata = optional_module("anndata", "anndata")
    positions = ("x_um", "y_um")
    parts = [part.select([*positions, *MEASUREMENTS]) for part in read_parts(source)]
    columns = pa.concat_tables(parts) if parts else None
    spatial, values = _matrix(columns, positions, np.float64), _matrix(columns, MEASUREMENTS, np.float32)
    ids = np.arange(1, len(values) + 1)
    table = anndata.AnnData(values, obs={"id": ids}, obsm={"spatial": spatial})
    table.obs_names, table.var_names = ids.astype(str), list(MEASUREMENTS)
    table.uns = {"slide": slide.path.name, "mpp": slide.mpp}
    with replace_atomically(path) as partial:
        table.write_h5ad(partial, compression="gzip")


def _matrix(columns: pa.Table | None, names: tuple[str, ...], dtype: type[np.floating]) -> np.ndarray:
    """Columns side by side, shape (N, len(names))."""
    if columns is None:
        return np.empty((0, len(names)), dtype)
    return np.column_stack([columns[name].to_numpy() for name in names]).astype(dtype)
