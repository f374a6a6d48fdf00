from functools import partial

import cv2
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from nucleosynth.transforms.texture import (
    DistractorSettings,
    InpaintBackground,
    InpaintBackgroundd,
    MixNuclei,
    MixNucleid,
    RandBlurBoundary,
    RandBlurBoundaryd,
    RandClearChromatin,
    RandClearChromatind,
    RandDistractors,
    RandDistractorsd,
    RandNuclearTexture,
    RandNuclearTextured,
)

MUCH = DistractorSettings(debris_per_mm2=(4000, 4000), shadows=2)


@pytest.fixture(scope="module")
def label():
    label = np.zeros((256, 256), np.int32)
    for number, (x, y) in enumerate([(40, 50), (66, 50), (150, 150), (250, 120)], 1):
        cv2.circle(label, (x, y), 14, number, -1)
    return label


@pytest.fixture(scope="module")
def mask(label):
    return (label > 0).astype(np.float32)


# Array transform, dictionary transform, the arguments of the array transform by their keys, the key of the result.
PAIRS = [
    (InpaintBackground, InpaintBackgroundd, ("image",), "image"),
    (RandNuclearTexture, RandNuclearTextured, ("image", "label"), "image"),
    (RandClearChromatin, RandClearChromatind, ("image", "label", "texture"), "image"),
    (RandBlurBoundary, RandBlurBoundaryd, ("label",), "label_mask"),
    (partial(RandDistractors, MUCH), partial(RandDistractorsd, settings=MUCH), ("mask",), "mask"),
    (MixNuclei, MixNucleid, ("image", "background", "label_mask"), "image"),
]
RANDOM = PAIRS[1:5]
NAMES = ["InpaintBackground", "NuclearTexture", "ClearChromatin", "BlurBoundary", "Distractors", "MixNuclei"]
RANDOM_NAMES = NAMES[1:5]


@pytest.fixture
def data(tissue, label, mask):
    """The arrays that the transforms take, by their keys."""
    return {
        "image": tissue[0],
        "background": tissue[1],
        "texture": tissue[1],
        "label": label,
        "mask": mask,
        "label_mask": mask,
    }


def seeded(transform, seed=3):
    return transform.set_random_state(seed=seed) if hasattr(transform, "set_random_state") else transform


@pytest.mark.parametrize(("array", "dictionary", "keys", "result"), PAIRS, ids=NAMES)
def test_dictionary_equals_array(data, as_input, array, dictionary, keys, result):
    inputs = {key: as_input(data[key]) for key in keys}
    expected = seeded(array())(*(inputs[key] for key in keys))
    outputs = seeded(dictionary(keys[0]))(inputs)
    assert set(outputs) == set(keys) | {result}
    assert torch.equal(outputs[result], expected)
    for key in keys:
        np.testing.assert_array_equal(inputs[key], as_input(data[key]))
        if key != result:
            assert outputs[key] is inputs[key]


@pytest.mark.parametrize(("array", "dictionary", "keys", "result"), PAIRS, ids=NAMES)
def test_type_shape_and_range(data, as_input, array, dictionary, keys, result):
    output = seeded(array())(*(as_input(data[key]) for key in keys))
    assert isinstance(output, MetaTensor)
    if result.endswith("mask"):
        assert (output.dtype, tuple(output.shape)) == (torch.float32, (1, 256, 256))
        assert 0 <= output.min() <= output.max() <= 1
        assert output.max() > 0.9
    else:
        assert (output.dtype, tuple(output.shape)) == (torch.uint8, (3, 256, 256))
    assert not torch.equal(output, torch.as_tensor(as_input(data[keys[0]])).to(output.dtype))


@pytest.mark.parametrize(("array", "dictionary", "keys", "result"), PAIRS, ids=NAMES)
def test_missing_keys(data, array, dictionary, keys, result):
    with pytest.raises(KeyError):
        dictionary("absent")({})
    assert dictionary("absent", allow_missing_keys=True)({"other": 1}) == {"other": 1}


@pytest.mark.parametrize(("array", "dictionary", "keys", "result"), RANDOM, ids=RANDOM_NAMES)
def test_compose_repeats_them(data, as_input, array, dictionary, keys, result):
    def run(seed):
        return Compose([dictionary(keys[0])]).set_random_state(seed=seed)({k: as_input(data[k]) for k in keys})[result]

    assert torch.equal(run(0), run(0))
    assert not torch.equal(run(0), run(1))


@pytest.mark.parametrize(("array", "dictionary", "keys", "result"), RANDOM, ids=RANDOM_NAMES)
def test_a_draw_can_be_had_again(data, array, dictionary, keys, result):
    inputs = [data[k][None] if data[k].ndim == 2 else data[k].transpose(2, 0, 1) for k in keys]
    transform = seeded(array())
    first = transform(*inputs)
    assert torch.equal(transform(*inputs, randomize=False), first)
    assert not torch.equal(transform(*inputs), first)


def test_the_background_has_no_nuclei(discs, as_input):
    image, truth = discs(3)
    background = InpaintBackground()(as_input(image)).numpy()
    assert background[:, truth].mean() == pytest.approx(image[~truth].mean(), abs=5)


def test_a_tile_without_nuclei_is_its_own_background(plain, as_input):
    np.testing.assert_array_equal(InpaintBackground()(as_input(plain)).numpy(), plain.transpose(2, 0, 1))


def test_nuclei_are_painted_in_the_colours_given(plain, label):
    # An even texture image has no texture, so nuclei are flat; the depth is fixed.
    image = np.resize(plain[0, 0], (256, 256, 3))
    paint = RandNuclearTexture(colours=((0.9, 1.1, 0.6), (0.3, 0.4, 0.2)), depth=(1, 1)).set_random_state(seed=1)
    painted = paint(image.transpose(2, 0, 1), label[None]).numpy().transpose(1, 2, 0)
    allowed = {tuple(np.rint(255 * np.exp(-np.array(c))).astype(int)) for c in ((0.9, 1.1, 0.6), (0.3, 0.4, 0.2))}
    found = {tuple(pixel) for number in range(5) for pixel in np.unique(painted[label == number], axis=0).tolist()}
    assert found == allowed
    for number in range(1, 5):
        assert len(np.unique(painted[label == number], axis=0)) == 1


def test_draws_of_fewer_nuclei_are_not_used_for_more(tissue, label):
    chw = tissue[0].transpose(2, 0, 1)
    for transform, extra in ((RandNuclearTexture(), ()), (RandClearChromatin(), (chw,))):
        transform.set_random_state(seed=0)
        assert transform(chw, label[None], *extra, randomize=False).shape == (3, 256, 256)


def test_clearing_only_makes_nuclei_paler(tissue, label, as_input):
    clear = RandClearChromatin(share=(0.4, 0.5), strength=(0.7, 0.7)).set_random_state(seed=0)
    cleared = clear(as_input(tissue[0]), as_input(label), as_input(tissue[1])).numpy()
    image = np.maximum(tissue[0].transpose(2, 0, 1), 1)
    assert (cleared >= image).all()
    np.testing.assert_array_equal(cleared[:, label == 0], image[:, label == 0])
    assert (cleared[:, label > 0] > image[:, label > 0]).mean() > 0.1


def test_no_strength_or_no_share_clears_nothing(tissue, label):
    image = np.maximum(tissue[0].transpose(2, 0, 1), 1)
    for arguments in ({"strength": (0, 0)}, {"share": (0, 0)}):
        cleared = RandClearChromatin(**arguments)(image, label[None], tissue[1].transpose(2, 0, 1))
        np.testing.assert_array_equal(cleared.numpy(), image)


def test_no_blur_is_the_mask_itself(label, mask, as_input):
    blurred = RandBlurBoundary(sigma_um=(0, 0), spots=0)(as_input(label))
    np.testing.assert_array_equal(blurred[0].numpy(), mask)


def test_the_blur_is_in_micrometres(label):
    def transition(mpp):
        blurred = RandBlurBoundary(sigma_um=(0.5, 0.5), spots=0, mpp=mpp)(label[None])
        return int(((blurred > 0.05) & (blurred < 0.95)).sum())

    assert transition(0.25) == pytest.approx(2 * transition(0.5), rel=0.15)


def test_no_chance_of_distractors_keeps_the_mask(mask, as_input):
    np.testing.assert_array_equal(RandDistractors(MUCH, prob=0.0)(as_input(mask))[0].numpy(), mask)
    result = RandDistractorsd("mask", MUCH, prob=0.0)({"mask": as_input(mask)})
    np.testing.assert_array_equal(result["mask"][0].numpy(), mask)


def test_distractors_come_as_often_as_their_prob_says():
    transform = RandDistractors(MUCH, prob=0.3).set_random_state(seed=0)
    empty = np.zeros((1, 64, 64), np.float32)
    assert 30 <= sum(bool(transform(empty).any()) for _ in range(150)) <= 60


def test_distractors_only_add(mask, as_input):
    painted = RandDistractors(MUCH).set_random_state(seed=0)(as_input(mask))[0].numpy()
    assert (painted >= mask).all()
    assert (painted > mask).any()


def test_the_mask_chooses_between_nuclei_and_background(tissue, mask, as_input):
    mixed = MixNuclei()(as_input(tissue[0]), as_input(tissue[1]), as_input(mask)).numpy().transpose(1, 2, 0)
    np.testing.assert_array_equal(mixed, np.where(mask[..., None] > 0, tissue[0], tissue[1]))


def test_half_a_mask_is_the_mean():
    dark, light = np.full((3, 2, 2), 10, np.uint8), np.full((3, 2, 2), 20, np.uint8)
    assert (MixNuclei()(dark, light, np.full((1, 2, 2), 0.5, np.float32)) == 15).all()


def test_images_of_different_sizes_are_refused(tissue, label, mask):
    chw = tissue[0].transpose(2, 0, 1)
    with pytest.raises(ValueError, match="got image 256x256, label 200x256"):
        RandNuclearTexture()(chw, label[None, :200])
    with pytest.raises(ValueError, match="got image 256x256, label 256x256, texture 100x256"):
        RandClearChromatin()(chw, label[None], chw[:, :100])
    with pytest.raises(ValueError, match="got image 256x256, background 256x256, mask 256x100"):
        MixNuclei()(chw, chw, mask[None, :, :100])


def test_wrong_kinds_of_images_are_refused(tissue, label, mask):
    chw = tissue[0].transpose(2, 0, 1)
    grey, floats, four = chw[:1], chw / 255.0, np.concatenate([chw, chw[:1]])
    for wrong in (grey, floats, four):
        for call in (
            lambda wrong: InpaintBackground()(wrong),
            lambda wrong: RandNuclearTexture()(wrong, label[None]),
            lambda wrong: RandClearChromatin()(wrong, label[None], chw),
            lambda wrong: RandClearChromatin()(chw, label[None], wrong),
            lambda wrong: MixNuclei()(wrong, chw, mask[None]),
            lambda wrong: MixNuclei()(chw, wrong, mask[None]),
        ):
            with pytest.raises(ValueError, match="an RGB image must be uint8"):
                call(wrong)
    for call in (RandBlurBoundary(), lambda wrong: RandNuclearTexture()(chw, wrong)):
        with pytest.raises(ValueError, match="a label must be of integers"):
            call(mask[None])
    for call in (RandDistractors(), lambda wrong: MixNuclei()(chw, chw, wrong)):
        with pytest.raises(ValueError, match=r"a mask must have the shape \(1, H, W\)"):
            call(chw.astype(np.float32))


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (RandNuclearTexture, {"colours": ()}, "colours must hold at least one colour"),
        (RandNuclearTexture, {"depth": (1.0, 0.5)}, r"depth must be a range of non-negative values, got \(1.0, 0.5\)"),
        (RandNuclearTexture, {"contrast": (-1, 0)}, r"contrast must be a range of non-negative values"),
        (RandNuclearTexture, {"mpp": 0}, "mpp must be positive, got 0"),
        (RandClearChromatin, {"share": (0.5, 1.5)}, r"share must be a range within \[0, 1\], got \(0.5, 1.5\)"),
        (RandClearChromatin, {"strength": (-1, 0.5)}, r"strength must be a range within \[0, 1\]"),
        (RandClearChromatin, {"rim_um": -1}, "rim_um must not be negative, got -1"),
        (RandClearChromatin, {"mpp": -1}, "mpp must be positive, got -1"),
        (RandBlurBoundary, {"sigma_um": (0.5, 0.1)}, r"sigma_um must be a range of non-negative values"),
        (RandBlurBoundary, {"spots": -1}, "spots must not be negative, got -1"),
        (RandBlurBoundary, {"mpp": 0}, "mpp must be positive, got 0"),
        (InpaintBackground, {"mpp": 0}, "mpp must be positive, got 0"),
    ],
)
def test_arguments_out_of_range_are_refused(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)
