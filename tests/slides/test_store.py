import json
import multiprocessing

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from nucleosynth.errors import InputError
from nucleosynth.postprocess import measure_nuclei, outline_nuclei
from nucleosynth.slides.store import PartStore, locked, merge_parts
from nucleosynth.slides.table import SCHEMA, nuclei_table


def table(count, scale=2.0, mpp=0.125):
    """Nuclei of 3 x 3 pixels in a row, one pixel apart, each column 4 pixels on."""
    label = np.zeros((5, 4 * count + 1), np.int32)
    for number in range(count):
        label[1:4, 4 * number + 1 : 4 * number + 4] = number + 1
    outlines = outline_nuclei(label)
    image = np.full((*label.shape, 3), 100, np.uint8)
    measures = measure_nuclei(label, outlines, image, (label > 0).astype(np.float32), 0.25)
    return nuclei_table(outlines, measures, scale, mpp)


def test_a_table_is_in_level_zero_pixels_and_in_um():
    nuclei = table(2)
    assert nuclei.schema.equals(SCHEMA)
    assert nuclei["x_px"].to_pylist() == [5.0, 13.0]  # centre 2.5 and 6.5 at twice the pixels
    assert nuclei["y_um"].to_pylist() == [0.625, 0.625]
    assert nuclei["area_um2"].to_pylist() == [0.5625, 0.5625]
    assert shapely.from_wkb(nuclei["geometry"][1].as_py()).bounds == (10, 2, 16, 8)


def test_the_file_is_geoparquet(tmp_path):
    PartStore(tmp_path).write(0, table(1))
    geo = json.loads(pq.read_schema(tmp_path / "000000.parquet").metadata[b"geo"])
    assert geo["primary_column"] == "geometry"
    assert geo["columns"]["geometry"] == {"encoding": "WKB", "geometry_types": ["Polygon"], "crs": None}


def test_what_is_written_is_read(tmp_path):
    store = PartStore(tmp_path / "parts")
    assert not store.has(3)
    store.write(3, table(2))
    assert store.has(3)
    assert store.read(3).equals(table(2))
    assert [path.name for path in store.folder.iterdir()] == ["000003.parquet"]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"garbage" * 100])
def test_a_damaged_part_counts_as_none(tmp_path, content):
    store = PartStore(tmp_path)
    store.path(0).write_bytes(content)
    assert not store.has(0)


def test_a_part_cut_short_counts_as_none(tmp_path):
    store = PartStore(tmp_path)
    store.write(0, table(4))
    content = store.path(0).read_bytes()
    store.path(0).write_bytes(content[:-10])
    assert not store.has(0)


def test_a_table_of_something_else_counts_as_none(tmp_path):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "000000.parquet")
    assert not PartStore(tmp_path).has(0)


def test_parts_are_put_together_in_order_and_empty_ones_leave_no_trace(tmp_path):
    store = PartStore(tmp_path / "parts")
    for number, count in ((0, 2), (1, 0), (2, 3)):
        store.write(number, table(count))
    assert merge_parts(store, [2, 1, 0], tmp_path / "all.parquet") == 5
    whole = pq.read_table(tmp_path / "all.parquet")
    assert whole["x_px"].to_pylist() == [5.0, 13.0, 21.0, 5.0, 13.0]
    assert pq.ParquetFile(tmp_path / "all.parquet").num_row_groups == 2


def test_no_parts_give_an_empty_table(tmp_path):
    assert merge_parts(PartStore(tmp_path), [], tmp_path / "all.parquet") == 0
    assert pq.read_table(tmp_path / "all.parquet").schema.equals(SCHEMA)


def test_discarding_removes_parts_and_what_an_interrupted_discard_left(tmp_path):
    store = PartStore(tmp_path / "parts")
    store.discard()
    store.write(0, table(1))
    (tmp_path / ".parts.gone").mkdir()
    (tmp_path / ".parts.gone" / "000001.parquet").touch()
    store.discard()
    assert list(tmp_path.iterdir()) == []


def hold(folder, ready, release):
    with locked(folder):
        ready.set()
        release.wait(60)


def test_a_folder_is_locked_against_another_process_until_it_ends(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path / "out", ready, release))
    other.start()
    assert ready.wait(60)
    with pytest.raises(InputError, match="out: another process is writing there"), locked(tmp_path / "out"):
        pass
    other.kill()
    other.join()
    with locked(tmp_path / "out"):
        assert (tmp_path / "out").is_dir()


def test_an_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "out").touch()
    with (
        pytest.raises(InputError, match="out: the output must be a folder, but this is a file"),
        locked(tmp_path / "out"),
    ):
        pass
