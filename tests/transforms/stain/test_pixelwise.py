import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleosynth.transforms.stain.pixelwise import check_colors, map_colors


@given(height=st.integers(1, 40), width=st.integers(1, 5000))
def test_every_pixel_is_mapped_once_and_stays_in_place(height, width):
    rgb = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    np.testing.assert_array_equal(map_colors(rgb, lambda part: 255 - part), 255 - rgb)


def test_pieces_are_of_one_width_and_bounded():
    shapes = []

    def remember(part):
        shapes.append(part.shape)
        return part.astype(np.float32)

    result = map_colors(np.zeros((300, 1000, 3), np.uint8), remember)
    assert result.shape == (300, 1000, 3)
    assert result.dtype == np.float32
    assert {shape[1:] for shape in shapes} == {(1024, 3)}
    assert max(shape[0] for shape in shapes) == 128


@pytest.mark.parametrize("shape", [(0, 3), (7, 3), (2, 3, 3), (2, 2, 2, 3)])
def test_any_number_of_axes(shape):
    rgb = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    np.testing.assert_array_equal(map_colors(rgb, np.copy), rgb)


def test_a_view_is_read_as_what_it_shows():
    rgb = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    np.testing.assert_array_equal(map_colors(rgb[::2, 1:5], np.copy), rgb[::2, 1:5])


@pytest.mark.parametrize("wrong", [np.zeros((4, 3)), np.zeros((4, 4), np.uint8), np.zeros(3, np.uint8)])
def test_what_is_not_rgb_is_refused(wrong):
    with pytest.raises(ValueError, match=r"colours must be uint8 with shape \(..., 3\), got"):
        check_colors(wrong)
