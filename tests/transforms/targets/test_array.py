import numpy as np
import pytest
import torch
from monai.data import MetaTensor, set_track_meta

from nucleosynth.transforms.targets import NucleusTargets, nucleus_targets


@pytest.fixture
def label():
    label = np.zeros((24, 40), np.int32)
    label[2:12, 3:20], label[12:22, 3:20], label[4:20, 30:] = 5, 2, 60_000
    return label


@pytest.mark.parametrize("core", [0.3, 0.5, 1.0])
def test_the_transform_equals_the_function(label, core, as_input):
    data = as_input(label)
    targets = NucleusTargets(core)(data)
    assert isinstance(targets, MetaTensor)
    assert targets.dtype == torch.uint8
    assert targets.shape == (2, 24, 40)
    np.testing.assert_array_equal(targets, nucleus_targets(label, core))
    np.testing.assert_array_equal(data, label[None])


def test_the_core_begins_half_way_unless_told_otherwise(label):
    np.testing.assert_array_equal(NucleusTargets()(label[None]), NucleusTargets(0.5)(label[None]))


def test_without_tracking_of_metadata_it_is_a_plain_tensor(label):
    set_track_meta(False)
    try:
        assert type(NucleusTargets()(label[None])) is torch.Tensor
    finally:
        set_track_meta(True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int64])
def test_any_type_of_integer_will_do(label, dtype):
    small = np.where(label > 100, 100, label)
    np.testing.assert_array_equal(NucleusTargets()(small[None].astype(dtype)), nucleus_targets(small))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((8, 8), np.int32), r"label must be of integers with shape \(1, H, W\), got int32 \(8, 8\)"),
        (np.zeros((2, 8, 8), np.int32), r"with shape \(1, H, W\), got int32 \(2, 8, 8\)"),
        (np.zeros((1, 1, 8, 8), np.int32), r"with shape \(1, H, W\), got int32 \(1, 1, 8, 8\)"),
        (np.zeros((1, 8, 8), np.float32), r"label must be of integers .* got float32"),
        (np.full((1, 8, 8), 65_536), "label ids must lie between 0 and 65535, got 65536 to 65536"),
        (np.full((1, 8, 8), -1), "label ids must lie between 0 and 65535, got -1 to -1"),
    ],
    ids=["no channel", "two channels", "a batch", "floats", "id too large", "id negative"],
)
def test_what_is_no_label_is_refused(wrong, message):
    for data in (wrong, torch.from_numpy(wrong)):
        with pytest.raises(ValueError, match=message):
            NucleusTargets()(data)


@pytest.mark.parametrize("core", [0, 1.5])
def test_a_core_out_of_range_is_refused_at_once(core):
    with pytest.raises(ValueError, match=rf"core must lie in \(0, 1\], got {core}"):
        NucleusTargets(core)
