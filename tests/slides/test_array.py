import cv2
import numpy as np
import pytest
import shapely
from matplotlib import pyplot

import nucleosynth
from nucleosynth.errors import InputError
from nucleosynth.metrics import score_instances
from nucleosynth.postprocess import label_nuclei
from nucleosynth.slides.array import maps_of, segment
from nucleosynth.slides.model import load_segmenter


@pytest.fixture(scope="module")
def result(phantom, bundle):
    return nucleosynth.segment(phantom.image, bundle, mpp=0.25)


def test_label_polygons_and_table_agree(result, phantom):
    assert result.label.shape == phantom.labels.shape
    assert result.label.max() == len(result.polygons) == len(result.table)
    areas = np.bincount(result.label.ravel())[1:] / 16
    assert np.median(np.abs(areas / result.table["area_um2"] - 1)) < 0.02
    assert result.table["x_um"].equals(result.table["x_px"] / 4)
    number = len(result.table) // 2
    x, y = result.table[["x_px", "y_px"]].iloc[number]
    assert shapely.distance(result.polygons[number], shapely.Point(x, y)) < 1
    assert score_instances(phantom.labels, result.label).dice > 0.7


def test_it_finds_what_the_command_finds(result, phantom, segmenter, tmp_path):
    from nucleosynth.data.images import write_png
    from nucleosynth.slides.segmentation import segment_slides
    from nucleosynth.slides.settings import SegmentSettings

    write_png(tmp_path / "image.png", phantom.image)
    (report,) = segment_slides([tmp_path / "image.png"], tmp_path / "out", segmenter(), SegmentSettings(mpp=0.25))
    assert abs(report.nuclei - len(result.table)) <= 1


def test_an_image_of_another_scale(result, phantom, segmenter):
    half = cv2.resize(phantom.image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    other = segment(half, segmenter(), mpp=0.5)
    assert other.label.shape == half.shape[:2]
    assert len(other.table) == pytest.approx(len(result.table), rel=0.3)
    assert other.table["area_um2"].median() == pytest.approx(result.table["area_um2"].median(), rel=0.2)


def test_an_image_without_nuclei(segmenter):
    empty = segment(np.full((20, 30, 3), 240, np.uint8), segmenter(), mpp=0.25)
    assert empty.label.shape == (20, 30)
    assert len(empty.table) == len(empty.polygons) == empty.label.max() == 0
    assert "area_um2" in empty.table


def test_outlines_are_drawn_over_the_image(result):
    axes = result.plot()
    assert axes.get_title() == f"{len(result.table)} nuclei"
    assert len(axes.collections[0].get_paths()) == len(result.table)
    assert axes.get_xlim() == (0, 1100)
    pyplot.close(axes.figure)


@pytest.mark.parametrize("image", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)])
def test_another_kind_of_image_is_refused(image, bundle):
    with pytest.raises(ValueError, match=r"image must be uint8 of shape \(H, W, 3\)"):
        segment(image, bundle, mpp=0.25)


@pytest.mark.parametrize("mpp", [0, -1, float("nan")])
def test_an_impossible_scale_is_refused(bundle, mpp):
    with pytest.raises(ValueError, match="mpp must be positive"):
        segment(np.zeros((5, 5, 3), np.uint8), bundle, mpp=mpp)


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="no bundle that segments slides"):
        segment(np.zeros((5, 5, 3), np.uint8), tmp_path, mpp=0.25)


def test_the_package_has_nothing_else_of_that_kind():
    with pytest.raises(AttributeError, match="module 'nucleosynth' has no attribute 'nonsense'"):
        nucleosynth.nonsense  # noqa: B018


def test_maps_are_of_the_images_own_size_and_hold_its_nuclei(phantom, bundle):
    segmenter = load_segmenter(bundle)
    maps = maps_of(phantom.image[301:602, 403:806], segmenter)
    assert maps.dtype == np.float32
    assert maps.shape == (2, 301, 403)
    assert 0 <= maps.min() <= maps.max() <= 1
    label = label_nuclei(*maps, segmenter.instances)
    assert label.max() == len(segment(phantom.image[301:602, 403:806], segmenter, mpp=0.25).polygons) > 3
