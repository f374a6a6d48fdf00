import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from nucleosynth.transforms.stain import (
    MACENKO_TARGET,
    REINHARD_TARGET,
    ColorDeconvolution,
    ColorDeconvolutiond,
    MacenkoStatistics,
    NormalizeStain,
    NormalizeStaind,
    RandStainJitter,
    RandStainJitterd,
    SegmentNuclearMaterial,
    SegmentNuclearMateriald,
    normalize_stain,
    rgb_to_hed,
    segment_nuclear_material,
)

STRONG = MacenkoStatistics(((0.65, 0.70, 0.29), (0.20, 0.86, 0.47)), (2.5, 1.4))
PAIRS = [
    (ColorDeconvolution(), ColorDeconvolutiond("image"), "image"),
    (SegmentNuclearMaterial(), SegmentNuclearMateriald("image"), "image_nuclear_material"),
    (NormalizeStain(STRONG, MACENKO_TARGET), NormalizeStaind("image", STRONG, MACENKO_TARGET), "image"),
    (RandStainJitter(0.2, 0.1), RandStainJitterd("image", 0.2, 0.1), "image"),
]


@pytest.mark.parametrize(("array", "dictionary", "key"), PAIRS, ids=[type(pair[1]).__name__ for pair in PAIRS])
def test_dictionary_equals_array(tissue, as_input, array, dictionary, key):
    for transform in (array, dictionary):
        if hasattr(transform, "set_random_state"):
            transform.set_random_state(seed=1)
    data = {"image": as_input(tissue[0])}
    result = dictionary(data)
    assert set(result) == {"image", key}
    assert torch.equal(result[key], array(as_input(tissue[0])))
    assert set(data) == {"image"}
    np.testing.assert_array_equal(data["image"], as_input(tissue[0]))
    statistics = (STRONG, MACENKO_TARGET) if isinstance(dictionary, NormalizeStaind) else ()
    assert type(dictionary)("other", *statistics, allow_missing_keys=True)(data) == data
    with pytest.raises(KeyError):
        type(dictionary)("other", *statistics)(data)


@pytest.mark.parametrize("array", [pair[0] for pair in PAIRS], ids=[type(pair[0]).__name__ for pair in PAIRS])
@pytest.mark.parametrize("wrong", [np.zeros((1, 8, 8), np.uint8), np.zeros((4, 8, 8), np.uint8), np.zeros((3, 8, 8))])
def test_what_is_not_rgb_is_refused(array, wrong):
    with pytest.raises(ValueError, match="an RGB image must be uint8"):
        array(wrong)


def test_concentrations(tissue, as_input):
    hed = ColorDeconvolution()(as_input(tissue[0]))
    assert isinstance(hed, MetaTensor)
    assert hed.dtype == torch.float32
    assert hed.shape == (3, 256, 256)
    np.testing.assert_array_equal(hed.numpy(), rgb_to_hed(tissue[0]).transpose(2, 0, 1))


def test_material_is_sub_then_super(tissue, as_input):
    material = SegmentNuclearMaterial(mpp=0.25, sub_factor=0.8, super_factor=1.2, rim_um=1)(as_input(tissue[0]))
    assert isinstance(material, MetaTensor)
    assert material.dtype == torch.uint8
    assert material.shape == (2, 256, 256)
    expected = segment_nuclear_material(tissue[0], 0.25, 0.8, 1.2, 1)
    np.testing.assert_array_equal(material[0].numpy(), expected.sub)
    np.testing.assert_array_equal(material[1].numpy(), expected.super)


@pytest.mark.parametrize("target", [MACENKO_TARGET, REINHARD_TARGET])
def test_a_normalised_image_is_still_an_image(tissue, as_input, target):
    result = NormalizeStain(target, target)(as_input(tissue[0]))
    assert isinstance(result, MetaTensor)
    assert result.dtype == torch.uint8
    np.testing.assert_array_equal(result.numpy(), normalize_stain(tissue[0], target, target).transpose(2, 0, 1))


def test_a_changed_stain_is_still_an_image(tissue, as_input):
    changed = RandStainJitter(0.2, 0.1).set_random_state(seed=0)(as_input(tissue[0]))
    assert isinstance(changed, MetaTensor)
    assert changed.dtype == torch.uint8
    assert changed.shape == (3, 256, 256)
    difference = changed.numpy().astype(int) - tissue[0].transpose(2, 0, 1)
    assert 0 < np.abs(difference).mean() < 40


@pytest.mark.parametrize("arguments", [{"prob": 0.0}, {"spread": 0.0}])
def test_no_chance_or_no_spread_changes_nothing(tissue, as_input, arguments):
    expected = tissue[0].transpose(2, 0, 1)
    for _ in range(3):
        np.testing.assert_array_equal(RandStainJitter(**arguments)(as_input(tissue[0])).numpy(), expected)
    result = RandStainJitterd("image", **arguments)({"image": as_input(tissue[0])})
    np.testing.assert_array_equal(result["image"].numpy(), expected)


def test_the_share_of_changed_images(plain):
    transform = RandStainJitter(0.3, prob=0.3).set_random_state(seed=0)
    chw = plain.transpose(2, 0, 1)[:, :8, :8]
    assert 30 <= sum(not np.array_equal(transform(chw).numpy(), chw) for _ in range(150)) <= 60


def test_a_change_can_be_had_again(tissue):
    transform = RandStainJitter(0.2).set_random_state(seed=0)
    chw = tissue[0].transpose(2, 0, 1)
    first = transform(chw)
    assert torch.equal(transform(chw, randomize=False), first)
    assert not torch.equal(transform(chw), first)


def test_all_keys_are_stained_alike(tissue):
    chw = tissue[0].transpose(2, 0, 1)
    result = RandStainJitterd(("a", "b"), 0.2).set_random_state(seed=0)({"a": chw, "b": chw})
    assert torch.equal(result["a"], result["b"])


def test_compose_repeats_the_jitter(tissue):
    def run(seed):
        chain = Compose([RandStainJitterd("image", 0.2)]).set_random_state(seed=seed)
        return chain({"image": tissue[0].transpose(2, 0, 1)})["image"]

    assert torch.equal(run(0), run(0))
    assert not torch.equal(run(0), run(1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spread": 1.0}, r"^spread must lie in \[0, 1\), got 1.0"),
        ({"spread": -0.1}, r"^spread must lie in \[0, 1\), got -0.1"),
        ({"brightness_spread": 1.0}, r"^brightness_spread must lie in \[0, 1\), got 1.0"),
    ],
)
def test_spreads_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        RandStainJitter(**arguments)


def test_a_scale_that_is_none_is_refused():
    with pytest.raises(ValueError, match="mpp must be positive, got 0"):
        SegmentNuclearMaterial(mpp=0)
