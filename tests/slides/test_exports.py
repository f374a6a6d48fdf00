import json

import numpy as np
import pyarrow as pa
import pytest
import shapely

from nucleosynth.data.images import read_image
from nucleosynth.slides.exports import draw_overview, read_parts, write_geojson
from nucleosynth.slides.store import PartStore, merge_parts
from nucleosynth.slides.table import MEASUREMENTS, SCHEMA


def nuclei(*centres, side=2.0):
    """Square nuclei around centres in level-0 pixels; every measurement is 0.5."""
    x, y = np.array(centres, float).reshape(-1, 2).T
    squares = shapely.box(x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    columns = {"geometry": shapely.to_wkb(squares), "x_px": x, "y_px": y, "x_um": x / 4, "y_um": y / 4}
    columns |= {name: np.full(len(x), 0.5, np.float32) for name in MEASUREMENTS}
    return pa.table(columns, schema=SCHEMA)


@pytest.fixture
def write(tmp_path):
    def write(*tables):
        store = PartStore(tmp_path / "parts")
        for number, table in enumerate(tables):
            store.write(number, table)
        merge_parts(store, range(len(tables)), tmp_path / "nuclei.parquet")
        return tmp_path / "nuclei.parquet"

    return write


def test_parts_come_one_by_one(write):
    path = write(nuclei((1, 1), (5, 5)), nuclei(), nuclei((9, 9)))
    assert [len(table) for table in read_parts(path)] == [2, 1]


def test_geojson_is_as_qupath_reads_it(write, tmp_path):
    write_geojson(write(nuclei((10.25, 20), (5, 5)), nuclei((7, 8))), tmp_path / "nuclei.geojson")
    content = json.loads((tmp_path / "nuclei.geojson").read_text(encoding="utf-8"))
    assert content["type"] == "FeatureCollection"
    assert len(content["features"]) == 3
    first = content["features"][0]
    assert first["type"] == "Feature"
    assert shapely.from_geojson(json.dumps(first["geometry"])).equals(shapely.box(9.25, 19, 11.25, 21))
    properties = first["properties"]
    assert properties["objectType"] == "detection"
    assert properties["classification"]["name"] == "Nucleus"
    assert properties["measurements"]["Area µm^2"] == 0.5
    assert len(properties["measurements"]) == len(MEASUREMENTS)


def test_geojson_of_no_nuclei_is_whole(write, tmp_path):
    write_geojson(write(nuclei()), tmp_path / "nuclei.geojson")
    assert json.loads((tmp_path / "nuclei.geojson").read_text()) == {"type": "FeatureCollection", "features": []}


def test_a_file_that_cannot_be_written_leaves_nothing(write, tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(OSError, match="taken"):
        write_geojson(write(nuclei((1, 1))), tmp_path / "taken" / "nuclei.geojson")


def test_the_overview_is_the_slide_with_colour_where_nuclei_are(write, tmp_path):
    thumbnail = np.full((100, 200, 3), 240, np.uint8)
    crowd = [(40 + i % 7, 30 + i % 5) for i in range(50)]
    draw_overview(write(nuclei(*crowd), nuclei((399, 199))), thumbnail, 2.0, tmp_path / "overview.png")
    picture = read_image(tmp_path / "overview.png")
    assert picture.shape == thumbnail.shape
    assert (picture[60:, :100] == 240).all()
    change = np.abs(picture.astype(int) - 240).sum(axis=2)
    assert change[15, 20] > 2 * change[99, 199] > 0


def test_the_overview_of_no_nuclei_is_the_slide(write, tmp_path):
    thumbnail = np.full((30, 20, 3), 200, np.uint8)
    draw_overview(write(nuclei()), thumbnail, 2.0, tmp_path / "overview.png")
    assert (read_image(tmp_path / "overview.png") == thumbnail).all()
