import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from nucleosynth.networks import from_uint8, prepare_images, to_uint8


def every_value():
    """A batch of one 16x16 image that has each of the 256 values in each channel."""
    return torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).repeat(1, 3, 1, 1)


def test_the_ends_and_the_middle():
    values = from_uint8(torch.tensor([0, 51, 102, 255], dtype=torch.uint8).reshape(1, 1, 2, 2).repeat(1, 3, 1, 1))
    torch.testing.assert_close(values[0, 2].flatten(), torch.tensor([-1, -0.6, -0.2, 1]))
    assert values.dtype == torch.float32
    assert values.amin() == -1
    assert values.amax() == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_value_survives_the_way_there_and_back(dtype):
    assert torch.equal(to_uint8(from_uint8(every_value()).to(dtype)), every_value())


def test_values_are_rounded_to_the_nearest_and_not_cut():
    step = 2 / 255
    floats = torch.tensor([-1 + 0.49 * step, -1 + 0.51 * step, 1 - 0.49 * step, 1 - 0.51 * step])
    assert to_uint8(floats).tolist() == [0, 1, 255, 254]


def test_values_outside_are_clipped():
    assert to_uint8(torch.tensor([-3.0, -1.01, 1.01, 100, float("inf"), -float("inf")])).tolist() == [
        0, 0, 255, 255, 255, 0,
    ]  # fmt: skip


@settings(deadline=None, derandomize=True)
@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=20))
def test_rounding_moves_a_value_by_half_a_step_at_most(values):
    floats = torch.tensor(values).reshape(1, 1, 1, -1).repeat(1, 3, 1, 1)
    assert (from_uint8(to_uint8(floats)) - floats).abs().max() <= 1 / 255 + 1e-6


def test_images_are_laid_out_channels_last_and_keep_their_shape():
    images = torch.randint(0, 256, (2, 3, 16, 32), dtype=torch.uint8)
    floats = from_uint8(images)
    assert floats.shape == images.shape
    assert floats.is_contiguous(memory_format=torch.channels_last)
    assert not floats.is_contiguous()


def test_half_precision_is_rounded_in_single_precision():
    """0.30078125 is a bfloat16, and (1 + 0.30078125) x 127.5 is 165.85; in bfloat16 the sum alone would make it 165."""
    floats = torch.full((1, 3, 2, 2), 0.30078125, dtype=torch.bfloat16)
    assert floats[0, 0, 0, 0].item() == 0.30078125
    assert (to_uint8(floats) == 166).all()


def test_neither_changes_its_input():
    images, floats = every_value(), torch.linspace(-2, 2, 12).reshape(1, 3, 2, 2)
    copy = floats.clone()
    from_uint8(images)
    to_uint8(floats)
    assert torch.equal(images, every_value())
    assert torch.equal(floats, copy)


def test_prepare_images_scales_images_and_leaves_labels():
    label = torch.ones(1, 1, 16, 16, dtype=torch.int32)
    image, same = prepare_images({"image": every_value(), "label": label}, device="cpu", non_blocking=True)
    assert torch.equal(image, from_uint8(every_value()))
    assert same is label


def test_prepare_images_without_device_or_label_and_with_more_arguments():
    """MONAI's engines hand over keyword arguments that are none of ours."""
    image, label = prepare_images({"image": every_value(), "name": ["a"]}, other=1)
    assert torch.equal(image, from_uint8(every_value()))
    assert label is None


def test_prepare_images_takes_metatensors_and_needs_an_image():
    image, _ = prepare_images({"image": MetaTensor(every_value())}, device=torch.device("cpu"))
    assert torch.equal(torch.as_tensor(image), from_uint8(every_value()))
    with pytest.raises(KeyError, match="image"):
        prepare_images({"label": every_value()})
