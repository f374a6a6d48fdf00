import cv2
import numpy as np
import pytest
import torch
from monai.data import CacheDataset, DataLoader, Dataset, MetaTensor
from monai.transforms import Compose, SelectItemsd

from nucleosynth.transforms.masks import NucleusPrior
from nucleosynth.transforms.synthesis import (
    AnalyzeTile,
    AnalyzeTiled,
    Crop,
    RandSynthesizeNuclei,
    RandSynthesizeNucleid,
    SynthesisSettings,
    TileAnalysis,
    analyze_tile,
    take_crop,
)

SETTINGS = SynthesisSettings(size=128, prior=NucleusPrior(density=5000))


def chw(image):
    return image.transpose(2, 0, 1)


def same(first, second):
    """Whether two patches, or what else a transform returned, are equal to the bit."""
    return first.keys() == second.keys() and all(
        np.array_equal(first[key], second[key])
        if isinstance(first[key], torch.Tensor | np.ndarray)
        else first[key] == second[key]
        for key in first
        if not isinstance(first[key], TileAnalysis)
    )


def test_the_transform_is_the_function(tissue, tiles, as_input):
    for tile in (AnalyzeTile()(as_input(tissue[0])), AnalyzeTiled("image")({"image": as_input(tissue[0])})["image"]):
        assert isinstance(tile, TileAnalysis)
        np.testing.assert_array_equal(tile.image, tissue[0])
        np.testing.assert_array_equal(tile.background, tiles[0].background)
        assert tile.prior == tiles[0].prior


def test_scale_and_seed_reach_the_analysis(tissue):
    expected = analyze_tile(tissue[0], 0.5, seed=3)
    for tile in (
        AnalyzeTile(0.5, 3)(chw(tissue[0])),
        AnalyzeTiled("image", 0.5, 3)({"image": chw(tissue[0])})["image"],
    ):
        assert tile.mpp == 0.5
        np.testing.assert_array_equal(tile.background, expected.background)


@pytest.mark.parametrize(
    "wrong", [np.zeros((1, 64, 64), np.uint8), np.zeros((4, 64, 64), np.uint8), np.zeros((3, 64, 64))]
)
def test_grey_float_and_four_channel_tiles_are_refused(tiles, wrong):
    for call in (AnalyzeTile(), lambda image: RandSynthesizeNuclei(SETTINGS)(tiles[0], reference=image)):
        with pytest.raises(ValueError, match=r"an RGB image must be uint8 with shape \(3, H, W\)"):
            call(wrong)


def test_analysis_missing_keys(tissue):
    data = {"image": chw(tissue[0])}
    with pytest.raises(KeyError):
        AnalyzeTiled(("image", "texture"))(data)
    assert set(AnalyzeTiled(("image", "texture"), allow_missing_keys=True)(data)) == {"image"}


def test_a_patch_and_what_comes_with_it(tissue, tiles, as_input):
    patch = RandSynthesizeNuclei(SETTINGS).set_random_state(seed=0)(tiles[0], tiles[1], as_input(tissue[1]))
    assert set(patch) == {"image", "label", "reference", "category", "parameters"}
    for key in ("image", "reference"):
        assert isinstance(patch[key], MetaTensor)
        assert patch[key].dtype == torch.uint8
        assert patch[key].shape == (3, 128, 128)
    assert isinstance(patch["label"], MetaTensor)
    assert patch["label"].dtype == torch.int32
    assert patch["label"].shape == (1, 128, 128)
    assert patch["label"].unique().tolist() == list(range(len(patch["category"]) + 1))
    assert patch["category"].dtype == np.int64
    crop = Crop(**patch["parameters"]["reference"])
    np.testing.assert_array_equal(patch["reference"].numpy(), chw(take_crop(tissue[1], crop)))


def test_the_same_seed_makes_the_same_patches(tiles):
    def run(seed):
        transform = RandSynthesizeNuclei(SETTINGS).set_random_state(seed=seed)
        return [transform(tiles[0], tiles[1]) for _ in range(3)]

    first, again, other = run(0), run(0), run(1)
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert not any(same(a, b) for a, b in zip(first, other, strict=True))
    assert not same(first[0], first[1])


def test_a_draw_can_be_painted_again(tiles):
    transform = RandSynthesizeNuclei(SETTINGS).set_random_state(seed=0)
    first = transform(tiles[0], tiles[1])
    assert same(transform(tiles[0], tiles[1], randomize=False), first)
    assert not same(transform(tiles[0], tiles[1]), first)


def test_without_other_tiles_the_source_serves(tissue, tiles):
    alone = RandSynthesizeNuclei(SETTINGS).set_random_state(seed=0)(tiles[0])
    spelled = RandSynthesizeNuclei(SETTINGS).set_random_state(seed=0)(tiles[0], tiles[0], chw(tissue[0]))
    assert same(alone, spelled)


def test_dictionary_equals_array(tissue, tiles, as_input):
    expected = RandSynthesizeNuclei(SETTINGS).set_random_state(seed=7)(tiles[0], tiles[1], as_input(tissue[1]))
    data = {"tile": tiles[0], "other": tiles[1], "real": as_input(tissue[1]), "kept": 5}
    transform = RandSynthesizeNucleid("tile", "other", "real", "ids", SETTINGS).set_random_state(seed=7)
    result = transform(data)
    assert set(result) == {"tile", "other", "real", "ids", "category", "parameters", "kept"}
    named = {"image": "tile", "label": "ids", "reference": "real", "category": "category", "parameters": "parameters"}
    assert same({key: result[name] for key, name in named.items()}, expected)
    assert data["tile"] is tiles[0]
    assert result["other"] is tiles[1]


def test_synthesis_missing_keys(tiles):
    with pytest.raises(KeyError):
        RandSynthesizeNucleid("image", settings=SETTINGS)({"texture": tiles[1]})
    data = {"texture": tiles[1]}
    assert RandSynthesizeNucleid("image", settings=SETTINGS, allow_missing_keys=True)(data) == data
    alone = RandSynthesizeNucleid("image", settings=SETTINGS).set_random_state(seed=0)({"image": tiles[0]})
    assert same(alone, RandSynthesizeNuclei(SETTINGS).set_random_state(seed=0)(tiles[0]))


def test_there_is_one_source():
    with pytest.raises(ValueError, match=r"keys must be the one key of the source tile, got \('a', 'b'\)"):
        RandSynthesizeNucleid(("a", "b"))


def chain():
    return Compose([AnalyzeTiled(("image", "texture")), RandSynthesizeNucleid("image", settings=SETTINGS)])


def test_compose_repeats_the_whole_synthesis(tissue, as_input):
    def run(seed):
        keys = ("image", "texture", "reference")
        data = {key: as_input(image) for key, image in zip(keys, (tissue[0], tissue[1], tissue[0]), strict=True)}
        return chain().set_random_state(seed=seed)(data)

    assert same(run(0), run(0))
    assert not same(run(0), run(1))
    assert not torch.equal(run(0)["label"], run(1)["label"])


def test_a_cache_keeps_the_analysis_and_draws_each_patch_anew(tissue, monkeypatch):
    calls = []
    analyze = AnalyzeTile.__call__
    monkeypatch.setattr(AnalyzeTile, "__call__", lambda self, img: calls.append(1) or analyze(self, img))
    data = CacheDataset([{"image": chw(image), "texture": chw(image)} for image in tissue], chain(), progress=False)
    first, again = data[0], data[0]
    assert len(calls) == 4
    assert not torch.equal(first["image"], again["image"])


def test_patches_can_be_batched(tissue):
    data = [{"image": chw(image), "texture": chw(image)} for image in tissue]
    steps = Compose([chain(), SelectItemsd(("image", "label", "reference"))]).set_random_state(seed=0)
    batch = next(iter(DataLoader(Dataset(data, steps), batch_size=2)))
    assert batch["image"].shape == batch["reference"].shape == (2, 3, 128, 128)
    assert batch["label"].shape == (2, 1, 128, 128)


@pytest.mark.parametrize("which", ["tile", "texture"])
def test_tiles_of_another_scale_are_refused(tissue, tiles, which):
    coarse = analyze_tile(cv2.resize(tissue[0], (128, 128)), 0.5)
    arguments = {"tile": tiles[0], "texture": tiles[1]} | {which: coarse}
    with pytest.raises(ValueError, match=r"a tile is at 0.5 µm/px, the settings are for 0.25"):
        RandSynthesizeNuclei(SETTINGS)(**arguments)


def test_a_tile_smaller_than_the_patch_is_refused(tissue):
    small = analyze_tile(tissue[0][:, :100])
    with pytest.raises(ValueError, match="a tile of 100x256 px is smaller than the patch of 128 px"):
        RandSynthesizeNuclei(SETTINGS)(small)


@pytest.mark.parametrize("mpp", [0, -1])
def test_a_scale_that_is_none_is_refused(mpp):
    with pytest.raises(ValueError, match=f"mpp must be positive, got {mpp}"):
        AnalyzeTile(mpp)
