from dataclasses import fields

import numpy as np
import pytest
from skimage.draw import ellipse
from skimage.measure import regionprops

from nucleosynth.postprocess import measure_nuclei, outline_nuclei
from nucleosynth.transforms.stain import rgb_to_hed

MPP = 0.25


@pytest.fixture
def scene(rng):
    """Five ellipses of many shapes, on noise."""
    label = np.zeros((90, 120), np.int32)
    places = [
        (20, 20, 9, 9, 0),
        (20, 60, 6, 15, 0.4),
        (20, 100, 12, 5, 1.2),
        (65, 30, 4, 18, -0.7),
        (65, 85, 20, 20, 0),
    ]
    for number, (row, column, height, width, turn) in enumerate(places, 1):
        label[ellipse(row, column, height, width, label.shape, turn)] = number
    image = rng.integers(40, 255, (*label.shape, 3)).astype(np.uint8)
    return label, image, rng.random(label.shape).astype(np.float32)


def measure(label, image=None, probability=None, mpp=MPP):
    image = np.full((*label.shape, 3), 200, np.uint8) if image is None else image
    probability = np.ones(label.shape, np.float32) if probability is None else probability
    return measure_nuclei(label, outline_nuclei(label), image, probability, mpp)


def test_measures_of_a_square_by_hand():
    label = np.zeros((10, 12), np.int32)
    label[2:6, 5:9] = 1
    measures = measure(label)
    assert (measures.x[0], measures.y[0]) == (7.0, 4.0)
    assert measures.area_um2[0] == 1.0
    # Four sides of 3 px and four corners cut across.
    assert measures.perimeter_um[0] == pytest.approx((12 + 4 * np.sqrt(0.5)) * MPP)
    assert measures.eccentricity[0] == pytest.approx(0, abs=1e-6)
    assert measures.solidity[0] == 1.0
    assert measures.probability[0] == 1.0


@pytest.mark.parametrize(
    ("steps", "degrees"), [((0, 1), 0), ((1, 0), 90), ((1, 1), -45), ((-1, 1), 45)], ids=["-", "|", "\\", "/"]
)
def test_orientation_is_that_of_the_long_axis_on_the_screen(steps, degrees):
    label = np.zeros((15, 15), np.int32)
    for step in range(-5, 6):
        row, column = 7 + step * steps[0], 7 + step * steps[1]
        label[row, column] = label[row, column + 1] = 1
    if steps[0] * steps[1]:  # a diagonal with pixels side by side is not quite diagonal
        assert measure(label).orientation[0] == pytest.approx(degrees, abs=5)
    else:
        assert measure(label).orientation[0] == degrees


def test_solidity_falls_where_a_nucleus_is_hollowed():
    label = np.zeros((14, 14), np.int32)
    label[2:12, 2:12] = 1
    label[2:12, 6:12][2:8] = 0
    # Within 99.5 px² of hull lie 63.5 px²; the bay is 6 x 6 px.
    assert measure(label).solidity[0] == pytest.approx(63.5 / 99.5, abs=0.01)


def test_they_agree_with_scikit_image(scene):
    label, image, probability = scene
    measures = measure(*scene)
    regions = regionprops(label, np.dstack([rgb_to_hed(image), probability]))
    stains = [region.image_intensity[region.image] for region in regions]
    np.testing.assert_allclose(measures.x, [region.centroid[1] + 0.5 for region in regions])
    np.testing.assert_allclose(measures.y, [region.centroid[0] + 0.5 for region in regions])
    np.testing.assert_allclose(measures.area_um2, [region.area * MPP**2 for region in regions])
    np.testing.assert_allclose(measures.eccentricity, [region.eccentricity for region in regions], atol=0.02)
    np.testing.assert_allclose(measures.solidity, [region.solidity for region in regions], atol=0.03)
    np.testing.assert_allclose(measures.haematoxylin_mean, [each[:, 0].mean() for each in stains], rtol=1e-4)
    np.testing.assert_allclose(measures.haematoxylin_std, [each[:, 0].std() for each in stains], rtol=1e-4)
    np.testing.assert_allclose(measures.eosin_mean, [each[:, 1].mean() for each in stains], rtol=1e-4)
    np.testing.assert_allclose(measures.eosin_std, [each[:, 1].std() for each in stains], rtol=1e-4)
    np.testing.assert_allclose(measures.probability, [each[:, 3].mean() for each in stains], rtol=1e-4)
    # Theirs is measured from the vertical axis; a circle has none.
    theirs = np.array([np.degrees(region.orientation) for region in regions]) + 90
    apart = (measures.orientation - theirs + 90) % 180 - 90
    np.testing.assert_allclose(apart[1:4], 0, atol=0.1)


def test_only_what_is_a_length_depends_on_the_scale(scene):
    fine, coarse = measure(*scene, mpp=0.25), measure(*scene, mpp=0.5)
    for field in fields(fine):
        factor = {"area_um2": 4, "perimeter_um": 2}.get(field.name, 1)
        np.testing.assert_allclose(getattr(coarse, field.name), factor * getattr(fine, field.name), rtol=1e-6)


def test_an_image_without_nuclei_has_empty_columns():
    measures = measure(np.zeros((8, 8), np.int32))
    assert len(measures) == 0
    assert all(getattr(measures, field.name).shape == (0,) for field in fields(measures))


def test_nuclei_can_be_selected(scene):
    measures = measure(*scene)
    chosen = measures.select(measures.area_um2 > 20)
    assert 0 < len(chosen) < len(measures)
    np.testing.assert_array_equal(chosen.x, measures.x[measures.area_um2 > 20])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((8, 9, 3), np.uint8)}, "image and probability must have the label's height and width"),
        ({"probability": np.zeros((9, 8))}, "image and probability must have the label's height and width"),
        ({"mpp": 0}, "mpp must be positive, got 0"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        measure(np.zeros((8, 8), np.int32), **change)


def test_outlines_of_another_label_are_refused():
    label = np.zeros((8, 8), np.int32)
    label[2:5, 2:5] = 1
    with pytest.raises(ValueError, match="one outline for each of 1 nuclei, got 0"):
        measure_nuclei(label, np.empty(0, object), np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8)), MPP)
