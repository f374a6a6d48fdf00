import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from nucleosynth.postprocess import NucleusMeasures
from nucleosynth.slides.table import MEASUREMENTS, SCHEMA, nuclei_table


@pytest.fixture
def write_nuclei():
    """Write ``nuclei.parquet`` from parts, each a list of outlines in level-0 pixels; measurement k of nucleus i is
    100 k + i, its centroid that of its outline."""

    def write(path, parts, mpp=0.5):
        path.parent.mkdir(parents=True, exist_ok=True)
        first = 0
        with pq.ParquetWriter(path, SCHEMA) as writer:
            for part in parts:
                polygons = np.array([shapely.Polygon(outline) for outline in part])
                x, y = shapely.get_coordinates(shapely.centroid(polygons)).T
                number = np.arange(first, first + len(part), dtype=np.float32)
                values = {name: 100 * k + number for k, name in enumerate(MEASUREMENTS)}
                writer.write_table(nuclei_table(polygons, NucleusMeasures(x=x, y=y, **values), 1.0, mpp))
                first += len(part)
        return path

    return write
