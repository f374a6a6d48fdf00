import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from nucleosynth.postprocess import InstanceSettings, label_logits, label_nuclei

EXACT = InstanceSettings(
    segmentation_threshold=0.5,
    detection_smoothing_um=0,
    segmentation_smoothing_um=0,
    min_area_um2=0.01,
    min_probability=0,
)


@pytest.fixture
def maps():
    """Detection and segmentation, 0 or 1, of two squares that touch."""
    maps = np.zeros((2, 32, 48), np.float32)
    maps[0, 14:18, [12, 13, 28, 29]] = 1
    maps[1, 8:24, 4:36] = 1
    return maps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_logits_become_a_label_with_one_channel(maps, dtype):
    label = label_logits(torch.from_numpy(maps).to(dtype) * 16 - 8, EXACT)
    assert label.shape == (1, 32, 48)
    assert label.dtype == torch.int32
    assert label.device.type == "cpu"
    assert label.max() == 2
    assert np.array_equal(label[0], label_nuclei(*maps, EXACT))


def test_logits_of_half_are_no_nucleus_and_slightly_more_are():
    """The logit of a probability of one half is 0."""
    assert not label_logits(torch.zeros(2, 16, 16), EXACT).any()
    assert (label_logits(torch.full((2, 16, 16), 1e-3), EXACT) == 1).all()


def test_logits_of_a_network_in_training_with_more_channels_and_metadata(maps):
    more = np.concatenate([maps, 1 - maps[:1]])
    logits = MetaTensor(torch.from_numpy(more) * 16 - 8, meta={"name": "patch"}).requires_grad_()
    assert np.array_equal(label_logits(logits, EXACT)[0], label_nuclei(*maps, EXACT))
