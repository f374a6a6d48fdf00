import cv2
import numpy as np
import pytest

from nucleosynth.transforms.synthesis import Crop, draw_crop, take_crop

ORIENTATIONS = [(turns, mirrored) for turns in range(4) for mirrored in (False, True)]
BY_HAND = {
    (0, False): [[1, 2], [3, 4]],
    (1, False): [[2, 4], [1, 3]],
    (2, False): [[4, 3], [2, 1]],
    (3, False): [[3, 1], [4, 2]],
    (0, True): [[2, 1], [4, 3]],
    (1, True): [[4, 2], [3, 1]],
    (2, True): [[3, 4], [1, 2]],
    (3, True): [[1, 3], [2, 4]],
}


@pytest.mark.parametrize(("turns", "mirrored"), ORIENTATIONS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_eight_orientations_by_hand(turns, mirrored, dtype):
    image = np.zeros((6, 7), dtype)
    image[3:5, 2:4] = [[1, 2], [3, 4]]
    taken = take_crop(image, Crop(3, 2, 2, turns, mirrored))
    assert taken.dtype == dtype
    assert taken.flags.c_contiguous
    np.testing.assert_array_equal(taken, BY_HAND[turns, mirrored])


@pytest.mark.parametrize(("turns", "mirrored"), ORIENTATIONS)
def test_channels_are_left_alone(turns, mirrored):
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    crop = Crop(4, 9, 20, turns, mirrored)
    taken = take_crop(image, crop)
    assert taken.shape == (20, 20, 3)
    for channel in range(3):
        np.testing.assert_array_equal(taken[..., channel], take_crop(image[..., channel].copy(), crop))


@pytest.mark.parametrize(("turns", "mirrored"), ORIENTATIONS)
def test_the_crop_of_a_map_is_the_map_of_the_crop(turns, mirrored):
    image = np.random.default_rng(0).uniform(0, 1, (96, 128)).astype(np.float32)
    reduced = cv2.resize(image, (128 // 16, 96 // 8), interpolation=cv2.INTER_AREA)
    crop = Crop(16, 48, 64, turns, mirrored)
    of_map = take_crop(reduced, crop, (8.0, 16.0))
    # A quarter turn swaps the sides of the cells.
    sides = (64 // 8, 64 // 16) if turns % 2 else (64 // 16, 64 // 8)
    np.testing.assert_allclose(
        of_map, cv2.resize(take_crop(image, crop), sides, interpolation=cv2.INTER_AREA), rtol=1e-5
    )


def test_of_a_map_all_touched_elements_are_taken():
    cells = np.arange(20).reshape(4, 5).astype(np.float32)
    np.testing.assert_array_equal(take_crop(cells, Crop(9, 10, 12), (10.0, 10.0)), cells[0:3, 1:3])
    np.testing.assert_array_equal(take_crop(cells, Crop(10, 20, 10), (10.0, 10.0)), cells[1:2, 2:3])


def test_a_crop_is_a_copy():
    image = np.zeros((16, 16, 3), np.uint8)
    take_crop(image, Crop(0, 0, 16))[:] = 9
    assert not image.any()


def test_crops_reach_everywhere_and_take_all_orientations():
    rng = np.random.RandomState(0)
    crops = [draw_crop((70, 90, 3), 64, rng) for _ in range(400)]
    assert {crop.y for crop in crops} == set(range(7))
    assert {crop.x for crop in crops} == set(range(27))
    counts = [sum((crop.turns, crop.mirrored) == each for crop in crops) for each in ORIENTATIONS]
    assert min(counts) > 25


def test_a_patch_as_large_as_the_tile_leaves_one_place():
    crop = draw_crop((64, 64), 64, np.random.RandomState(0))
    assert (crop.y, crop.x, crop.size) == (0, 0, 64)


@pytest.mark.parametrize("shape", [(63, 100, 3), (100, 63, 3)])
def test_a_tile_that_is_too_small_is_refused(shape):
    with pytest.raises(ValueError, match=f"a tile of {shape[1]}x{shape[0]} px is smaller than the patch of 64 px"):
        draw_crop(shape, 64, np.random.RandomState(0))
