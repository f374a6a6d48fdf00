import numpy as np
import pytest
import torch
from monai.transforms import Compose

from nucleosynth.transforms.masks import RandQuadrilaterald
from nucleosynth.transforms.targets import NucleusTargets, NucleusTargetsd


@pytest.fixture
def label():
    label = np.zeros((24, 40), np.int32)
    label[2:12, 3:20], label[12:22, 3:20], label[4:20, 30:] = 5, 2, 60_000
    return label


@pytest.mark.parametrize("core", [0.3, 0.5])
def test_dictionary_equals_array_and_replaces_only_its_keys(label, core, as_input):
    data = {"label": as_input(label), "other": as_input(label), "name": "patch"}
    result = NucleusTargetsd("label", core=core)(data)
    assert set(result) == {"label", "other", "name"}
    assert torch.equal(result["label"], NucleusTargets(core)(as_input(label)))
    assert result["other"] is data["other"]
    np.testing.assert_array_equal(data["label"], label[None])


def test_several_labels(label):
    flipped = np.ascontiguousarray(label[::-1])
    result = NucleusTargetsd(["a", "b"])({"a": label[None], "b": flipped[None]})
    np.testing.assert_array_equal(result["a"], NucleusTargets()(label[None]))
    np.testing.assert_array_equal(result["b"], NucleusTargets()(flipped[None]))


def test_missing_keys(label):
    with pytest.raises(KeyError, match="other"):
        NucleusTargetsd(["label", "other"])({"label": label[None]})
    result = NucleusTargetsd(["label", "other"], allow_missing_keys=True)({"label": label[None]})
    assert set(result) == {"label"}
    assert result["label"].shape == (2, 24, 40)


def test_it_follows_other_transforms_in_a_chain(label):
    """Targets are worked out of the label as it is after the distortion, so both maps fit it."""
    distort = RandQuadrilaterald("label", jitter=0.2, nearest=True)
    data = {"label": label[None]}
    targets = Compose([distort, NucleusTargetsd("label")]).set_random_state(seed=1)(data)["label"]
    distorted = Compose([distort]).set_random_state(seed=1)(data)["label"]
    assert not np.array_equal(distorted, label[None])
    assert torch.equal(targets[1], (distorted[0] > 0).to(torch.uint8))


def test_a_core_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"core must lie in \(0, 1\], got 2"):
        NucleusTargetsd("label", core=2)
