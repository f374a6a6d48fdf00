import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucleosynth.transforms.stain import fill_small_holes, remove_small_objects


def test_holes_up_to_the_size_are_filled_and_notches_in_the_border_are_not():
    mask = np.ones((12, 20), bool)
    mask[3:5, 3:5] = False  # a hole of 4 pixels
    mask[6:9, 8:11] = False  # of 9
    mask[0:2, 14:16] = False  # open at the border: no hole
    mask[5:7, 19] = False
    filled = fill_small_holes(mask, 4)
    expected = mask.copy()
    expected[3:5, 3:5] = True
    np.testing.assert_array_equal(filled, expected)
    expected[6:9, 8:11] = True
    np.testing.assert_array_equal(fill_small_holes(mask, 9), expected)
    np.testing.assert_array_equal(fill_small_holes(mask, 3), mask)


@pytest.mark.parametrize("value", [True, False])
def test_a_mask_all_of_one_value_has_no_holes(value):
    mask = np.full((8, 9), value)
    np.testing.assert_array_equal(fill_small_holes(mask, 100), mask)


def test_holes_are_four_connected():
    mask = np.ones((6, 6), bool)
    mask[2, 2] = mask[3, 3] = False
    assert fill_small_holes(mask, 1).all()


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.booleans()), st.integers(0, 6))
def test_holes_are_the_pieces_outside_that_do_not_touch_the_border(mask, max_area):
    """By numbering all pieces, a slower way; with islands in holes, and holes in those."""
    count, pieces = cv2.connectedComponents((~mask).astype(np.uint8), connectivity=4)
    border = set(np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]]).tolist())
    expected = mask.copy()
    for piece in set(range(1, count)) - border:
        if (pieces == piece).sum() <= max_area:
            expected[pieces == piece] = True
    before = mask.copy()
    np.testing.assert_array_equal(fill_small_holes(mask, max_area), expected)
    np.testing.assert_array_equal(mask, before)


def test_pieces_under_the_size_are_removed():
    mask = np.zeros((10, 10), bool)
    mask[1:3, 1:3] = True
    mask[5:8, 5:8] = True
    mask[3, 3] = True  # touches the first by a corner only
    kept = remove_small_objects(mask, 4)
    expected = mask.copy()
    expected[3, 3] = False
    np.testing.assert_array_equal(kept, expected)
    expected[1:3, 1:3] = False
    np.testing.assert_array_equal(remove_small_objects(mask, 5), expected)
    assert not remove_small_objects(np.zeros((5, 5), bool), 1).any()
