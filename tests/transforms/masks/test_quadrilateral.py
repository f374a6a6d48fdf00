import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleosynth.transforms.masks import (
    draw_corners,
    polygon_area,
    quadrilateral_homography,
    warp_image,
    warp_points,
)

UNIT = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
jitters = st.floats(0.0, 0.2499)
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(jitter=jitters, seed=seeds)
def test_corners_move_by_the_jitter_at_most_and_stay_convex(jitter, seed):
    corners = draw_corners(jitter, np.random.RandomState(seed))
    assert np.abs(corners - UNIT).max() <= jitter
    edges = np.roll(corners, -1, axis=0) - corners
    following = np.roll(edges, -1, axis=0)
    assert (edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0] > 0).all()


@pytest.mark.parametrize("jitter", [-0.01, 0.25, 1.0])
def test_a_jitter_that_lets_corners_cross_is_refused(jitter):
    with pytest.raises(ValueError, match=rf"jitter must lie in \[0, 0\.25\), got {jitter}"):
        draw_corners(jitter, np.random.RandomState(0))


@pytest.mark.parametrize("size", [(256, 256), (100, 333)])
def test_zero_jitter_changes_nothing(size):
    corners = draw_corners(0, np.random.RandomState(0))
    np.testing.assert_array_equal(corners, UNIT)
    np.testing.assert_allclose(quadrilateral_homography(corners, size), np.eye(3), atol=1e-9)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(jitter=st.floats(0.0, 0.2), seed=seeds, width=st.integers(16, 500), height=st.integers(16, 500))
def test_areas_at_the_centre_are_kept(jitter, seed, width, height):
    homography = quadrilateral_homography(draw_corners(jitter, np.random.RandomState(seed)), (width, height))
    centre = np.array([[width / 2, height / 2]])
    source = warp_points(np.linalg.inv(homography), centre)
    step = 1e-3
    moved = warp_points(homography, source + step * (UNIT - 0.5))
    assert polygon_area(moved) == pytest.approx(step**2, rel=1e-3)
    np.testing.assert_allclose(moved.mean(axis=0), centre[0], atol=1e-4)


def test_the_quadrilateral_becomes_a_rectangle_about_the_centre():
    corners = draw_corners(0.2, np.random.RandomState(4))
    size = np.array([300, 200])
    rectangle = warp_points(quadrilateral_homography(corners, (300, 200)), corners * size)
    low, high = rectangle.min(axis=0), rectangle.max(axis=0)
    np.testing.assert_allclose(rectangle, low + UNIT * (high - low), atol=1e-2)
    np.testing.assert_allclose((low + high) / 2, size / 2, atol=1e-2)
    np.testing.assert_allclose((high - low) / size, ((high - low) / size)[0], atol=1e-3)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(jitter=jitters, seed=seeds)
def test_points_come_back(jitter, seed):
    rng = np.random.RandomState(seed)
    homography = quadrilateral_homography(draw_corners(jitter, rng), (200, 200))
    points = 200 * (0.4 + 0.2 * rng.uniform(size=(20, 2)))
    back = warp_points(np.linalg.inv(homography), warp_points(homography, points))
    np.testing.assert_allclose(back, points, atol=1e-6)


def test_points_by_hand():
    shift = np.array([[1, 0, 3], [0, 1, -2], [0, 0, 1]])
    np.testing.assert_array_equal(warp_points(shift, np.array([[1.0, 5.0]])), [[4, 3]])
    perspective = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 1]])
    np.testing.assert_array_equal(warp_points(perspective, np.array([[1.0, 6.0]])), [[0.5, 3]])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_a_shift_moves_pixels_and_reflects_what_comes_in(dtype):
    image = np.arange(30).reshape(5, 6).astype(dtype)
    moved = warp_image(image, np.array([[1.0, 0, 2], [0, 1, 1], [0, 0, 1]]), nearest=True)
    assert moved.dtype == dtype
    np.testing.assert_array_equal(moved[1:, 2:], image[:-1, :-2])
    np.testing.assert_array_equal(moved[1:, :2], image[:-1, [2, 1]])


def test_labels_keep_their_ids_however_large():
    label = np.zeros((40, 40), np.int32)
    label[10:20, 10:20], label[20:30, 20:30] = 70_001, 2_000_000_001
    homography = quadrilateral_homography(draw_corners(0.2, np.random.RandomState(0)), (40, 40))
    assert set(np.unique(warp_image(label, homography, nearest=True))) == {0, 70_001, 2_000_000_001}


def test_points_and_pixels_move_alike():
    image = np.zeros((200, 200), np.float32)
    image[60:63, 140:143] = 1
    homography = quadrilateral_homography(draw_corners(0.15, np.random.RandomState(1)), (200, 200))
    ys, xs = np.nonzero(warp_image(image, homography, nearest=False) > 0.4)
    np.testing.assert_allclose(warp_points(homography, np.array([[141.0, 61.0]]))[0], [xs.mean(), ys.mean()], atol=0.6)
