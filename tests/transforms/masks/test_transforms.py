import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from nucleosynth.transforms.masks import (
    NucleusClass,
    NucleusPrior,
    RandNucleusMask,
    RandNucleusMaskd,
    RandQuadrilateral,
    RandQuadrilaterald,
)

PRIOR = NucleusPrior(density=8000)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (96, 130, 3), dtype=np.uint8)


@pytest.fixture
def label():
    label = np.zeros((96, 130), np.int32)
    label[20:50, 30:60], label[50:70, 60:120] = 7, 70_001
    return label


def test_a_mask_is_as_large_as_the_image(image, as_input):
    drawn = RandNucleusMask(PRIOR).set_random_state(seed=0)(as_input(image))
    assert isinstance(drawn, MetaTensor)
    assert drawn.shape == (1, 96, 130)
    assert drawn.dtype == torch.int32
    assert drawn.unique().tolist() == list(range(int(drawn.max()) + 1))
    assert drawn.max() > 3


def test_mask_d_equals_mask(image, as_input):
    array = RandNucleusMask(PRIOR, jitter=0.2, max_overlap=0.3).set_random_state(seed=4)
    dictionary = RandNucleusMaskd("image", prior=PRIOR, jitter=0.2, max_overlap=0.3).set_random_state(seed=4)
    result = dictionary({"image": as_input(image)})
    assert set(result) == {"image", "image_label"}
    np.testing.assert_array_equal(result["image"], as_input(image))
    assert torch.equal(result["image_label"], array(as_input(image)))


def test_a_mask_can_be_had_again(image):
    transform = RandNucleusMask(PRIOR).set_random_state(seed=0)
    chw = image.transpose(2, 0, 1)
    first = transform(chw)
    assert torch.equal(transform(chw, randomize=False), first)
    assert not torch.equal(transform(chw), first)
    assert transform(chw[:, :50], randomize=False).shape == (1, 50, 130)


def test_the_category_belongs_to_the_last_mask(image):
    classes = [NucleusClass("lymphocyte", share=0.4, diameter_um=(6, 7))]
    transform = RandNucleusMask(NucleusPrior(density=20000), classes=classes).set_random_state(seed=0)
    assert len(transform.category) == 0
    drawn = transform(image.transpose(2, 0, 1))
    assert len(transform.category) == drawn.max()
    assert set(transform.category) == {0, 1}


def test_masks_of_several_keys_differ(image):
    chw = image.transpose(2, 0, 1)
    result = RandNucleusMaskd(("a", "b"), "mask", prior=PRIOR).set_random_state(seed=0)({"a": chw, "b": chw})
    assert not torch.equal(result["a_mask"], result["b_mask"])


def test_mask_missing_keys(image):
    with pytest.raises(KeyError):
        RandNucleusMaskd(("a", "b"))({"a": image.transpose(2, 0, 1)})
    result = RandNucleusMaskd(("a", "b"), allow_missing_keys=True)({"a": image.transpose(2, 0, 1)})
    assert set(result) == {"a", "a_label"}


@pytest.mark.parametrize("jitter", [-0.1, 0.25])
def test_a_jitter_out_of_range_is_refused(jitter):
    for transform in (RandNucleusMask, RandQuadrilateral):
        with pytest.raises(ValueError, match=rf"jitter must lie in \[0, 0.25\), got {jitter}"):
            transform(jitter=jitter)


def test_a_quadrilateral_keeps_type_and_shape(image, label, as_input):
    distorted = RandQuadrilateral(jitter=0.2).set_random_state(seed=0)(as_input(image))
    assert isinstance(distorted, MetaTensor)
    assert distorted.shape == (3, 96, 130)
    assert distorted.dtype == torch.uint8
    assert not torch.equal(distorted, torch.as_tensor(as_input(image)))
    turned = RandQuadrilateral(jitter=0.2, nearest=True).set_random_state(seed=0)(as_input(label))
    assert turned.shape == (1, 96, 130)
    assert turned.dtype == torch.int32
    assert set(turned.unique().tolist()) == {0, 7, 70_001}


def test_without_jitter_or_chance_the_image_itself_comes_back(image, as_input):
    data = as_input(image)
    assert RandQuadrilateral(jitter=0)(data) is data
    assert RandQuadrilateral(jitter=0.2, prob=0)(data) is data
    assert RandQuadrilaterald("image", jitter=0)({"image": data})["image"] is data
    assert RandQuadrilaterald("image", jitter=0.2, prob=0)({"image": data})["image"] is data


def test_a_distortion_is_made_as_often_as_its_prob_says(image):
    transform = RandQuadrilateral(prob=0.3).set_random_state(seed=0)
    chw = np.ascontiguousarray(image.transpose(2, 0, 1)[:, :16, :16])
    changed = sum(transform(chw) is not chw for _ in range(200))
    assert 40 <= changed <= 80


def test_quadrilateral_d_moves_all_keys_alike(image, label, as_input):
    array = RandQuadrilateral(jitter=0.2).set_random_state(seed=5)
    dictionary = RandQuadrilaterald(("image", "label"), jitter=0.2, nearest=(False, True)).set_random_state(seed=5)
    result = dictionary({"image": as_input(image), "label": as_input(label)})
    assert torch.equal(result["image"], array(as_input(image)))
    array.nearest = True
    assert torch.equal(result["label"], array(as_input(label), randomize=False))


def test_quadrilateral_missing_keys_keep_their_interpolation(image, label):
    data = {"label": label[None]}
    with pytest.raises(KeyError):
        RandQuadrilaterald(("image", "label"), nearest=(False, True))(data)
    transform = RandQuadrilaterald(("image", "label"), jitter=0.2, nearest=(False, True), allow_missing_keys=True)
    result = transform.set_random_state(seed=0)(data)
    assert set(result) == {"label"}
    assert set(result["label"].unique().tolist()) == {0, 7, 70_001}


@pytest.mark.parametrize(
    "make",
    [lambda: RandNucleusMaskd("image", prior=PRIOR), lambda: RandQuadrilaterald("image", jitter=0.2)],
    ids=["RandNucleusMaskd", "RandQuadrilaterald"],
)
def test_compose_repeats_them(image, make):
    def run(seed):
        result = Compose([make()]).set_random_state(seed=seed)({"image": image.transpose(2, 0, 1)})
        return result.get("image_label", result["image"])

    assert torch.equal(run(3), run(3))
    assert not torch.equal(run(3), run(4))
