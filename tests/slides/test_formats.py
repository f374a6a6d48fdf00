import json
import shutil

import cv2
import numpy as np
import pytest
import tifffile
import torch

from nucleosynth.cli import main
from nucleosynth.data.images import write_png
from nucleosynth.errors import InputError
from nucleosynth.postprocess import InstanceSettings
from nucleosynth.slides.formats import WRITERS, formats_there
from nucleosynth.slides.segmentation import PRODUCTS, SlideSegmenter, segment_slides
from nucleosynth.slides.settings import FORMATS, SegmentSettings, chosen_formats

SETTINGS = SegmentSettings(mpp=0.25)


class Dark(torch.nn.Module):
    """Takes what is dark for nuclei, and counts how often it looked."""

    looked = 0

    def forward(self, images):
        self.looked += 1
        return (-20 * images.mean(1, keepdim=True)).expand(-1, 2, -1, -1)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """Nine discs on white."""
    pixels = np.full((300, 300, 3), 255, np.uint8)
    for x in (50, 150, 250):
        for y in (50, 150, 250):
            cv2.circle(pixels, (x, y), 14, (60, 20, 90), -1)
    path = tmp_path_factory.mktemp("image") / "case.png"
    write_png(path, pixels)
    return path


def segmenter(image):
    (image.parent / "model.pt").write_bytes(b"weights")
    return SlideSegmenter(Dark(), image.parent / "model.pt", InstanceSettings(mpp=0.25), workers=1)


@pytest.fixture(scope="module")
def finished(image):
    """The folder of the image, segmented without further formats."""
    (report,) = segment_slides([image], image.parent / "finished", segmenter(image), SETTINGS)
    assert report.nuclei == 9
    return report.folder


@pytest.fixture
def folder(tmp_path, finished):
    return shutil.copytree(finished, tmp_path / finished.name)


def add(folder, image, *formats):
    """Segment into a folder, and tell how often the network looked."""
    network = segmenter(image)
    (report,) = segment_slides([image], folder.parent, network, SETTINGS, formats)
    assert (report.folder, report.nuclei) == (folder, 9)
    return network.predictor.network.looked


def record_of(folder):
    return json.loads((folder / "run.json").read_text())


def test_every_format_has_a_writer_and_a_file_of_its_own():
    assert tuple(WRITERS) == FORMATS
    files = [writer.file for writer in WRITERS.values()]
    assert len(set(files)) == len(files)
    assert set(files) < set(PRODUCTS)


def test_formats_are_chosen_by_commas_or_one_by_one_and_each_once():
    assert chosen_formats([]) == ()
    assert chosen_formats(["anndata, ome-tiff", "anndata", ""]) == ("ome-tiff", "anndata")
    with pytest.raises(ValueError, match=r"formats: there is no 'tiff'; choose from ome-tiff, dicom, anndata"):
        chosen_formats(["ome-tiff,tiff"])


def test_none_is_written_unless_it_is_asked_for(finished):
    assert formats_there(finished) == ()
    assert record_of(finished)["formats"] == []


def test_formats_are_added_to_what_is_done_without_looking_again(folder, image):
    record, table = record_of(folder), (folder / "nuclei.parquet").read_bytes()
    assert add(folder, image, "anndata") == 0
    assert record_of(folder) == {**record, "formats": ["anndata"], "finished": record_of(folder)["finished"]}
    before = (folder / "nuclei.h5ad").stat().st_mtime_ns
    assert add(folder, image, "anndata", "ome-tiff") == 0
    assert record_of(folder)["formats"] == ["ome-tiff", "anndata"]
    assert (folder / "nuclei.h5ad").stat().st_mtime_ns == before
    assert (folder / "nuclei.parquet").read_bytes() == table
    labels = tifffile.imread(folder / "nuclei.ome.tiff")
    assert len(np.unique(labels)) == 10
    assert all(labels[y, x] > 0 for x in (50, 150, 250) for y in (50, 150, 250))


def test_a_file_that_was_deleted_is_made_again_when_it_is_asked_for(folder, image):
    add(folder, image, "anndata")
    (folder / "nuclei.h5ad").unlink()
    add(folder, image)
    assert formats_there(folder) == ()
    add(folder, image, "anndata")
    assert formats_there(folder) == ("anndata",)


def test_what_fails_between_two_formats_continues_with_the_second(folder, image):
    (folder / "nuclei.h5ad").mkdir()
    with pytest.raises(OSError):
        add(folder, image, "ome-tiff", "anndata")
    assert record_of(folder)["formats"] == ["ome-tiff"]
    before = (folder / "nuclei.ome.tiff").stat().st_mtime_ns
    (folder / "nuclei.h5ad").rmdir()
    add(folder, image, "ome-tiff", "anndata")
    assert record_of(folder)["formats"] == ["ome-tiff", "anndata"]
    assert (folder / "nuclei.ome.tiff").stat().st_mtime_ns == before


def test_a_table_that_is_made_again_takes_its_formats_with_it(folder, image):
    """As after a tile that could not be read: what was written of other nuclei must not stay."""
    (folder / "run.json").rename(folder / "unfinished.json")
    (folder / "nuclei.h5ad").write_bytes(b"of other nuclei")
    assert add(folder, image, "ome-tiff") > 0
    assert (folder / "nuclei.h5ad").read_bytes()[1:4] == b"HDF"
    assert record_of(folder)["formats"] == ["ome-tiff", "anndata"]


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path, image):
    network = segmenter(image)
    with pytest.raises(InputError, match=r"case\.png: no DICOM slide"):
        segment_slides([image], tmp_path / "out", network, SETTINGS, ["ome-tiff", "dicom"])
    assert network.predictor.network.looked == 0
    assert not (tmp_path / "out").exists()


def test_an_unknown_format_is_one_line_and_exit_code_2(tmp_path, image, capsys):
    arguments = ["segment", image, "-o", tmp_path / "out", "--model", tmp_path, "--formats", "anndata,csv"]
    assert main([str(argument) for argument in arguments]) == 2
    expected = "nucleosynth: error: --formats: there is no 'csv'; choose from ome-tiff, dicom, anndata\n"
    assert capsys.readouterr().err == expected
