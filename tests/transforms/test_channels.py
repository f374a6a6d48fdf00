import numpy as np
import pytest
import torch
from monai.data import MetaTensor, set_track_meta

from nucleosynth.transforms.channels import (
    check_same_size,
    to_channel_first,
    to_channel_last,
    to_label,
    to_mask,
    to_rgb,
)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_there_and_back_keeps_every_value(image, as_input):
    there = to_channel_last(as_input(image))
    assert there.flags.c_contiguous
    np.testing.assert_array_equal(there, image)
    back = to_channel_first(there)
    assert isinstance(back, MetaTensor)
    assert back.dtype == torch.uint8
    np.testing.assert_array_equal(back.numpy(), image.transpose(2, 0, 1))


def test_two_dimensions_become_one_channel():
    assert to_channel_first(np.zeros((4, 6), np.int32)).shape == (1, 4, 6)


def test_without_tracking_the_output_is_a_plain_tensor(image):
    set_track_meta(False)
    try:
        assert type(to_channel_first(image)) is torch.Tensor
    finally:
        set_track_meta(True)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((1, 8, 8), np.uint8), r"uint8 with shape \(3, H, W\), got uint8 \(1, 8, 8\)"),
        (np.zeros((4, 8, 8), np.uint8), r"got uint8 \(4, 8, 8\)"),
        (np.zeros((3, 8, 8), np.float32), r"got float32 \(3, 8, 8\)"),
        (np.zeros((8, 8, 3), np.uint8), r"got uint8 \(8, 8, 3\)"),
        (np.zeros((8, 8), np.uint8), r"channel-first with three dimensions, got shape \(8, 8\)"),
    ],
)
def test_what_is_not_rgb_is_refused(array, message):
    with pytest.raises(ValueError, match=message):
        to_rgb(array)
    with pytest.raises(ValueError, match=message):
        to_rgb(torch.from_numpy(array))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_a_label_of_any_integer_type_becomes_uint16(dtype):
    label = to_label(np.array([[[0, 1], [2, 200]]], dtype))
    assert label.dtype == np.uint16
    np.testing.assert_array_equal(label, [[0, 1], [2, 200]])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((1, 4, 4), np.float32), "a label must be of integers"),
        (np.zeros((3, 4, 4), np.int32), r"got int32 \(3, 4, 4\)"),
        (np.zeros((4, 4), np.int32), r"got int32 \(4, 4\)"),
        (np.full((1, 2, 2), -1), "between 0 and 65535, got -1 to -1"),
        (np.full((1, 2, 2), 65536), "between 0 and 65535, got 65536 to 65536"),
    ],
)
def test_what_is_not_a_label_is_refused(array, message):
    with pytest.raises(ValueError, match=message):
        to_label(array)


def test_a_mask_has_one_channel():
    mask = to_mask(torch.full((1, 2, 3), 0.5, dtype=torch.float64))
    assert mask.dtype == np.float32
    assert mask.shape == (2, 3)
    for shape in ((3, 2, 3), (2, 3)):
        with pytest.raises(ValueError, match=r"a mask must have the shape \(1, H, W\)"):
            to_mask(np.zeros(shape, np.float32))


def test_images_of_different_sizes_are_named():
    check_same_size(image=np.zeros((4, 5, 3)), label=np.zeros((4, 5)))
    with pytest.raises(ValueError, match="same height and width, got image 4x5, label 5x4"):
        check_same_size(image=np.zeros((4, 5, 3)), label=np.zeros((5, 4)))
