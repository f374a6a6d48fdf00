import numpy as np
import pytest

from nucleosynth.transforms.stain import rgb_to_hed, rgb_to_od, scale_stains


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(100, 230, (32, 32, 3), dtype=np.uint8)


def test_factors_of_one_return_the_image_itself(image):
    assert scale_stains(image, (1.0, 1.0, 1.0)) is image


@pytest.mark.parametrize("stain", [0, 1, 2])
def test_one_stain_is_scaled_and_the_others_are_not(image, stain):
    factors = [1.0, 1.0, 1.0]
    factors[stain] = 1.1
    before, after = rgb_to_hed(image), rgb_to_hed(scale_stains(image, tuple(factors)))
    # Rounding to 8 bits is what remains, blown up by the inverse of the stain matrix.
    np.testing.assert_allclose(after.mean((0, 1)), (before * factors).mean((0, 1)), atol=0.01)


def test_white_stays_white(image):
    white = np.full_like(image, 255)
    np.testing.assert_array_equal(scale_stains(white, (1.3, 0.7, 1.2)), white)


def test_brightness_scales_the_light(image):
    np.testing.assert_allclose(scale_stains(image, (1, 1, 1), 0.9), image * 0.9, atol=0.51)
    assert scale_stains(image, (1, 1, 1), 3.0).max() == 255


def test_more_stain_is_darker(image):
    assert rgb_to_od(scale_stains(image, (1.2, 1.2, 1.2))).mean() == pytest.approx(
        1.2 * rgb_to_od(image).mean(), rel=0.01
    )


@pytest.mark.parametrize("brightness", [0, -1])
def test_darkness_is_refused(image, brightness):
    with pytest.raises(ValueError, match=f"brightness must be positive, got {brightness}"):
        scale_stains(image, (1, 1, 1), brightness)
