import sys

import anndata
import numpy as np
import pytest

from nucleosynth.data.images import write_png
from nucleosynth.errors import InputError
from nucleosynth.slides.anndata_table import check_anndata, write_anndata
from nucleosynth.slides.reader import open_slide
from nucleosynth.slides.table import MEASUREMENTS

SQUARE = np.array([(10, 20), (14, 20), (14, 24), (10, 24)])


@pytest.fixture
def slide(tmp_path):
    write_png(tmp_path / "case 1.png", np.full((40, 60, 3), 255, np.uint8))
    return open_slide(tmp_path / "case 1.png", mpp=0.5)


def test_measurements_and_positions_come_back_as_they_went(tmp_path, slide, write_nuclei):
    source = write_nuclei(tmp_path / "nuclei.parquet", [[SQUARE, SQUARE + 10], [SQUARE + 20]], mpp=0.5)
    write_anndata(source, slide, tmp_path / "nuclei.h5ad")
    table = anndata.read_h5ad(tmp_path / "nuclei.h5ad")
    assert table.X.dtype == np.float32
    assert table.X.tolist() == [[100 * k + i for k in range(len(MEASUREMENTS))] for i in range(3)]
    assert tuple(table.var_names) == MEASUREMENTS
    assert table.obs["id"].tolist() == [1, 2, 3]
    assert table.obs_names.tolist() == ["1", "2", "3"]
    assert table.obsm["spatial"].dtype == np.float64
    assert table.obsm["spatial"].tolist() == [[6, 11], [11, 16], [16, 21]]  # Centres at 12, 22 pixels and on.
    assert table.uns["slide"] == "case 1.png"
    assert table.uns["mpp"] == 0.5


def test_a_slide_without_nuclei_is_an_empty_table(tmp_path, slide, write_nuclei):
    write_anndata(write_nuclei(tmp_path / "nuclei.parquet", []), slide, tmp_path / "nuclei.h5ad")
    table = anndata.read_h5ad(tmp_path / "nuclei.h5ad")
    assert table.shape == (0, len(MEASUREMENTS))
    assert table.obsm["spatial"].shape == (0, 2)
    assert tuple(table.var_names) == MEASUREMENTS


def test_the_same_nuclei_make_the_same_file(tmp_path, slide, write_nuclei):
    source = write_nuclei(tmp_path / "nuclei.parquet", [[SQUARE, SQUARE + 10]])
    for name in ("a.h5ad", "b.h5ad"):
        write_anndata(source, slide, tmp_path / name)
    assert (tmp_path / "a.h5ad").read_bytes() == (tmp_path / "b.h5ad").read_bytes()


def test_without_anndata_it_is_said_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(InputError, match=r"--formats anndata: anndata is not installed; pip install 'nucleosynth\["):
        check_anndata(tmp_path)
