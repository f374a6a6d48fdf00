import numpy as np
import pytest

from nucleosynth.transforms.texture import fibre_direction


def stripes(degrees, height=160, width=200, period=24):
    """Stripes whose direction makes the angle with the x axis, y pointing down."""
    angle = np.deg2rad(degrees)
    ys, xs = np.mgrid[:height, :width]
    across = -xs * np.sin(angle) + ys * np.cos(angle)
    grey = 128 + 80 * np.sin(2 * np.pi * across / period)
    return np.repeat(grey[..., None], 3, axis=2).round().astype(np.uint8)


@pytest.mark.parametrize(
    ("degrees", "cosine", "sine"), [(0, 1, 0), (45, 0, 1), (90, -1, 0), (135, 0, -1), (30, 0.5, 0.866)]
)
def test_stripes_give_twice_their_angle(degrees, cosine, sine):
    direction = fibre_direction(stripes(degrees), mpp=0.25)
    assert direction.dtype == np.float32
    assert direction.shape == (40, 50, 2)
    np.testing.assert_allclose(direction[10:-10, 10:-10].mean(axis=(0, 1)), [cosine, sine], atol=0.08)


def test_an_even_image_has_no_direction(plain):
    np.testing.assert_array_equal(fibre_direction(plain, 0.25), 0)


def test_grain_has_hardly_a_direction(discs):
    direction = fibre_direction(discs(0)[0], 0.25)
    length = np.linalg.norm(direction, axis=2)
    assert length.max() <= 1 + 1e-5
    assert length.mean() < 0.3


def test_a_small_or_odd_image_does_not_fail():
    assert fibre_direction(np.zeros((3, 41, 3), np.uint8), 0.25).shape == (2, 10, 2)
