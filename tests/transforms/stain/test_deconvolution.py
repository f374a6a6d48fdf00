import numpy as np
import pytest
from skimage.color import rgb2hed

from nucleosynth.transforms.stain import hed_to_rgb, od_to_rgb, rgb_to_hed, rgb_to_od


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


@pytest.mark.parametrize(("value", "density"), [(255, 0.0), (128, 0.689233), (1, 5.541264), (0, 5.541264)])
def test_optical_density_by_hand(value, density):
    od = rgb_to_od(np.full((2, 3, 3), value, np.uint8))
    assert od.dtype == np.float32
    assert od.shape == (2, 3, 3)
    np.testing.assert_allclose(od, density, atol=1e-6)


def test_every_value_comes_back_from_optical_density():
    values = np.tile(np.arange(256, dtype=np.uint8)[:, None, None], (1, 1, 3))
    np.testing.assert_array_equal(od_to_rgb(rgb_to_od(values)), np.maximum(values, 1))


def test_negative_density_is_white_and_a_large_one_black():
    od = np.array([[[-1.0, 0.0, 50.0]]], np.float32)
    np.testing.assert_array_equal(od_to_rgb(od), [[[255, 255, 0]]])


def test_deconvolution_there_and_back(image):
    hed = rgb_to_hed(image)
    assert hed.dtype == np.float32
    assert hed.shape == image.shape
    back = hed_to_rgb(hed).astype(int)
    assert np.abs(back - np.maximum(image, 1)).max() <= 1


def test_deconvolution_is_scikit_image_s_but_for_its_unit(image):
    # scikit-image divides the logarithm by ln(10^-6) and clips at 0.
    expected = rgb2hed(np.maximum(image, 1)) * -np.log(1e-6)
    np.testing.assert_allclose(np.maximum(rgb_to_hed(image), 0), expected, atol=1e-4)


def test_white_holds_no_stain():
    np.testing.assert_array_equal(rgb_to_hed(np.full((2, 2, 3), 255, np.uint8)), 0)


def test_haematoxylin_alone_is_found_alone():
    # Ruifrok's vector of haematoxylin, as in scikit-image's table.
    rgb = np.round(255 * np.exp(-0.8 * np.array([0.65, 0.70, 0.29]))).astype(np.uint8)[None, None]
    haematoxylin, eosin, residual = rgb_to_hed(rgb)[0, 0]
    assert haematoxylin == pytest.approx(0.8, abs=0.02)
    assert abs(eosin) < 0.02
    assert abs(residual) < 0.02


def test_floats_are_refused(image):
    with pytest.raises(TypeError, match="rgb must be uint8, got float64"):
        rgb_to_od(image / 255)
