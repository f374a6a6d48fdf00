import dataclasses
import json
import pickle

import cv2
import numpy as np
import pytest

from nucleosynth.transforms.masks import MaskSettings, NucleusClass, NucleusPrior
from nucleosynth.transforms.stain import rgb_to_od
from nucleosynth.transforms.synthesis import (
    Crop,
    SynthesisSettings,
    analyze_tile,
    draw_patch,
    paint_patch,
    take_crop,
)
from nucleosynth.transforms.texture import DistractorSettings

CLEAN = DistractorSettings(debris_per_mm2=(0, 0), shadows=0)
# Nothing but nuclei changes the background.
BARE = SynthesisSettings(
    size=128, mask=MaskSettings(empty=0), distractors=CLEAN, blur_spots=0, stain_spread=0, depth=(1, 1), vesicular=0
)


def draw(source, settings, seed=0, texture=None, reference=None):
    real = source.image if reference is None else reference
    return draw_patch(source, texture or source, real, settings, np.random.RandomState(seed))


def synthesize(source, settings, seed=0, texture=None, reference=None):
    drawn = draw(source, settings, seed, texture, reference)
    return drawn, paint_patch(source, texture or source, source.image if reference is None else reference, drawn)


@pytest.mark.parametrize("size", [16, 101, 128, 256])
def test_type_shape_and_range(tiles, size):
    drawn, patch = synthesize(tiles[0], SynthesisSettings(size=size, prior=NucleusPrior(density=6000)), 1, tiles[1])
    assert patch.image.dtype == patch.reference.dtype == np.uint8
    assert patch.image.shape == patch.reference.shape == (size, size, 3)
    assert patch.label.dtype == np.uint16
    assert patch.label.shape == (size, size)
    np.testing.assert_array_equal(np.unique(patch.label[patch.label > 0]), np.arange(1, len(patch.category) + 1))
    count = len(drawn.mask.category)
    assert drawn.colours.shape == (count + 1, 3)
    for values in (drawn.threshold, drawn.strength):
        assert values.shape == (count + 1,)
        assert values.dtype == np.float32


def test_painting_twice_gives_the_same_bytes_and_changes_nothing(tiles):
    settings = SynthesisSettings(size=128)
    drawn = draw(tiles[0], settings, 2, tiles[1])
    before = pickle.dumps((drawn, tiles))
    first, again = (paint_patch(tiles[0], tiles[1], tiles[0].image, drawn) for _ in range(2))
    for name in ("image", "label", "reference", "category"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
    assert pickle.dumps((drawn, tiles)) == before


def test_painting_uses_no_global_randomness(tiles):
    drawn = draw(tiles[0], SynthesisSettings(size=128), 2)
    images = []
    for seed in (0, 1):
        np.random.seed(seed)  # noqa: NPY002
        cv2.setRNGSeed(seed)
        images.append(paint_patch(tiles[0], tiles[0], tiles[0].image, drawn).image)
    np.testing.assert_array_equal(*images)


def test_the_seed_decides_everything(tiles):
    settings = SynthesisSettings(size=128)
    first, again, other = (synthesize(tiles[0], settings, seed, tiles[1]) for seed in (5, 5, 6))
    assert first[1].image.tobytes() == again[1].image.tobytes()
    assert first[0].parameters() == again[0].parameters()
    assert first[1].image.tobytes() != other[1].image.tobytes()


@pytest.mark.parametrize("grain", [False, True])
def test_a_tile_without_nuclei_gives_patches_without(plain, discs, grain):
    tile = analyze_tile(discs(0)[0] if grain else plain)
    assert tile.prior.density == 0
    for seed in range(5):
        drawn, patch = synthesize(tile, BARE, seed)
        assert not patch.label.any()
        assert len(patch.category) == 0
        np.testing.assert_array_equal(patch.image, take_crop(tile.background, drawn.background))
        np.testing.assert_array_equal(patch.image, take_crop(tile.image, drawn.background))


def test_the_share_of_empty_patches(tiles):
    empty = dataclasses.replace(BARE, mask=MaskSettings(empty=1.0))
    drawn, patch = synthesize(tiles[0], empty)
    assert not patch.label.any()
    np.testing.assert_array_equal(patch.image, take_crop(tiles[0].background, drawn.background))


def test_far_from_nuclei_the_background_is_kept_to_the_bit(even_discs):
    source = dataclasses.replace(even_discs, shade=np.zeros(3, np.float32))
    drawn, patch = synthesize(source, BARE, 1)
    far = cv2.dilate((patch.label > 0).astype(np.uint8), np.ones((15, 15), np.uint8)) == 0
    assert 0 < far.mean() < 1
    np.testing.assert_array_equal(patch.image[far], take_crop(source.background, drawn.background)[far])


def test_a_nucleus_has_the_colour_of_the_real_one_that_lends_it(even_discs):
    source = dataclasses.replace(even_discs, colours=dataclasses.replace(even_discs.colours, hue=np.zeros(3)))
    _, patch = synthesize(source, BARE, 1)
    core = cv2.erode(patch.label, np.ones((9, 9), np.uint8))
    assert len(np.unique(core)) > 3
    for number in np.unique(core[core > 0]):
        od = rgb_to_od(patch.image)[core == number].mean(axis=0)
        assert np.abs(source.colours.od - od).max(axis=1).min() < 0.06


def test_nuclei_have_the_texture_of_the_place_in_the_tile_where_they_are_painted(even_discs):
    chromatin = np.random.default_rng(0).integers(-20, 21, (256, 256, 3)).astype(np.int8)
    flat, rough = (
        dataclasses.replace(
            even_discs, chromatin=each, colours=dataclasses.replace(even_discs.colours, hue=np.zeros(3))
        )
        for each in (np.zeros_like(chromatin), chromatin)
    )
    drawn = draw(flat, BARE, 1)
    without, with_texture = (paint_patch(each, each, each.image, drawn) for each in (flat, rough))
    core = cv2.erode(with_texture.label, np.ones((9, 9), np.uint8)) > 0
    assert core.any()
    difference = with_texture.image.astype(int) - without.image
    np.testing.assert_allclose(difference[core], take_crop(chromatin, drawn.background)[core], atol=1)
    far = cv2.dilate((with_texture.label > 0).astype(np.uint8), np.ones((15, 15), np.uint8)) == 0
    assert not difference[far].any()


def test_noise_is_as_strong_on_boundaries_as_on_either_side(even_discs):
    rng = np.random.default_rng(0)
    source = dataclasses.replace(even_discs, shade=np.zeros(3, np.float32), edge_sigma=3.0)
    noisy = dataclasses.replace(
        source,
        chromatin=rng.normal(0, 6, (256, 256, 3)).round().astype(np.int8),
        background=np.clip(source.background + rng.normal(0, 6, (256, 256, 3)), 0, 255).round().astype(np.uint8),
    )
    drawn = draw(source, BARE, 1)
    smooth, rough = (paint_patch(each, each, each.image, drawn) for each in (source, noisy))
    noise = rough.image.astype(float) - smooth.image
    mask = cv2.GaussianBlur((rough.label > 0).astype(np.float32), (0, 0), 3.0)
    boundary = (mask > 0.4) & (mask < 0.6)
    assert boundary.sum() > 300
    # A plain mix has 4.2 there.
    assert noise[boundary].std() == pytest.approx(6, rel=0.05)
    assert noise[mask > 0.97].std() == pytest.approx(6, rel=0.05)


def test_no_texture_makes_a_black_nucleus_light(even_discs):
    """Colours below 0 must not come out as their amount."""
    black = dataclasses.replace(
        even_discs,
        chromatin=np.full((256, 256, 3), -100, np.int8),
        colours=dataclasses.replace(even_discs.colours, od=even_discs.colours.od + 2, hue=np.zeros(3)),
    )
    _, patch = synthesize(black, BARE, 1)
    core = cv2.erode(patch.label, np.ones((9, 9), np.uint8)) > 0
    assert not patch.image[core].any()


def test_nuclei_are_darker_than_what_they_lie_on(tiles):
    for tile in tiles:
        _, patch = synthesize(tile, dataclasses.replace(BARE, prior=NucleusPrior(density=4000)), 3)
        od = rgb_to_od(patch.image).mean(axis=2)
        assert od[patch.label > 0].mean() > 1.3 * od[patch.label == 0].mean()


def test_distractors_are_painted_and_not_labelled(tiles):
    much = DistractorSettings(debris_per_mm2=(5000, 5000))
    settings = dataclasses.replace(BARE, prior=NucleusPrior(density=0), distractors=much)
    drawn, patch = synthesize(tiles[0], settings)
    assert drawn.parameters()["distractors"] > 0
    assert not patch.label.any()
    background = take_crop(tiles[0].background, drawn.background)
    assert 0 < (patch.image != background).any(axis=2).mean() < 0.5


def test_stain_changes_the_colour_and_not_the_label(tiles):
    base, varied = BARE, dataclasses.replace(BARE, stain_spread=0.2)
    (first, plain), (second, stained) = synthesize(tiles[0], base, 4), synthesize(tiles[0], varied, 4)
    assert first.stains == (1.0, 1.0, 1.0)
    assert all(0.8 <= factor <= 1.2 for factor in second.stains)
    assert len(set(second.stains)) == 3
    np.testing.assert_array_equal(plain.label, stained.label)
    np.testing.assert_array_equal(plain.reference, stained.reference)
    assert (plain.image != stained.image).mean() > 0.5


def test_dark_classes_take_the_darkest_donors(tissue):
    tile = analyze_tile(np.concatenate(tissue))
    rules = (
        NucleusClass("lymphocyte", share=0.5, diameter_um=(7, 7), roundness=(0.9, 1.0), darkness=(0.8, 1.0)),
        NucleusClass("pale", share=0.3, diameter_um=(8, 9), darkness=(0.0, 0.2)),
    )
    settings = dataclasses.replace(
        BARE, size=256, prior=NucleusPrior(density=8000), mask=MaskSettings(classes=rules, empty=0), cleared=(0, 0)
    )
    ranks, categories = [], []
    for seed in range(4):
        drawn, patch = synthesize(tile, settings, seed)
        np.testing.assert_array_equal(patch.category, drawn.mask.category)
        # Uncleared and at a depth of 1, a colour is its donor's.
        distance = np.abs(drawn.colours[1:, None] - tile.colours.od[None]).max(axis=2)
        assert distance.min(axis=1).max() < 1e-5
        ranks.append(distance.argmin(axis=1) / len(tile.colours.od))
        categories.append(patch.category)
    rank, category = np.concatenate(ranks), np.concatenate(categories)
    assert rank[category == 1].min() >= 0.8 - 1 / len(tile.colours.od)
    assert rank[category == 2].max() <= 0.2
    assert rank[category == 0].max() - rank[category == 0].min() > 0.5
    shares = np.bincount(category, minlength=3) / len(category)
    np.testing.assert_allclose(shares, [0.2, 0.5, 0.3], atol=0.12)


def test_colours_come_from_the_source_and_not_from_the_texture(tiles):
    settings = dataclasses.replace(BARE, prior=NucleusPrior(density=6000), cleared=(0, 0))
    colours = draw(tiles[0], settings, texture=tiles[1]).colours[1:]
    assert len(colours) > 0
    assert np.abs(colours[:, None] - tiles[0].colours.od[None]).max(axis=2).min(axis=1).max() < 1e-5


def test_a_tile_without_nuclei_borrows_colours(plain, tiles):
    source = analyze_tile(np.tile(plain, (1, 2, 1)))
    settings = dataclasses.replace(BARE, prior=NucleusPrior(density=4000), cleared=(0, 0))
    borrowed = draw(source, settings, texture=tiles[1])
    distance = np.abs(borrowed.colours[1:, None] - tiles[1].colours.od[None]).max(axis=2)
    assert len(distance) > 0
    assert distance.min(axis=1).max() < 1e-5
    drawn, patch = synthesize(source, settings)
    assert len(patch.category) > 0
    assert rgb_to_od(patch.image)[patch.label > 0].mean() > 1.5 * rgb_to_od(patch.image)[patch.label == 0].mean()
    assert np.isfinite(drawn.colours).all()


def test_ranges_of_the_settings_are_kept(tiles):
    settings = SynthesisSettings(
        size=256, prior=NucleusPrior(density=8000), edge_gain=(0.9, 1.1), cleared=(0.2, 0.4), vesicular=0
    )
    drawn = draw(tiles[0], settings, texture=tiles[1])
    assert 0.9 * tiles[0].edge_sigma <= drawn.edge_sigma <= 1.1 * tiles[0].edge_sigma
    assert (drawn.strength >= 0).all()
    assert (drawn.strength <= 0.3).all()
    # Thresholds are quantiles of a standard normal texture.
    assert drawn.threshold[0] == -np.inf
    assert (drawn.threshold[1:] >= -0.85).all()
    assert (drawn.threshold[1:] <= -0.25).all()


@pytest.mark.parametrize("cleared", [(0, 0), (1, 1)])
@pytest.mark.parametrize("density", [0, 20000])
def test_the_ends_of_the_ranges_work(tiles, cleared, density):
    settings = SynthesisSettings(size=96, prior=NucleusPrior(density=density), cleared=cleared, depth=(0, 3))
    _, patch = synthesize(tiles[0], settings, 0, tiles[1])
    assert patch.image.shape == (96, 96, 3)


@pytest.mark.parametrize("shape", [(128, 128), (128, 201), (173, 128)])
def test_tiles_as_small_as_the_patch_and_oblong_ones(tissue, shape):
    tile = analyze_tile(tissue[0][: shape[0], : shape[1]])
    for seed in range(8):
        drawn, patch = synthesize(tile, BARE, seed)
        assert patch.image.shape == patch.reference.shape == (128, 128, 3)
        np.testing.assert_array_equal(patch.reference, take_crop(tile.image, drawn.reference))


@pytest.mark.parametrize("which", ["source", "texture", "reference"])
def test_a_tile_smaller_than_the_patch_is_refused(tissue, tiles, which):
    small = tissue[0][:127]
    arguments = {"source": tiles[0], "texture": tiles[1], "reference": tissue[1]}
    arguments[which] = small if which == "reference" else analyze_tile(small)
    with pytest.raises(ValueError, match="a tile of 256x127 px is smaller than the patch of 128 px"):
        draw(settings=BARE, **arguments)


def test_sizes_in_micrometres_do_not_depend_on_the_scale(tissue):
    prior = NucleusPrior(density=2500, area=45, area_spread=0)
    means = {}
    for mpp in (0.25, 0.5):
        side = round(256 * 0.25 / mpp)
        tile = analyze_tile(cv2.resize(tissue[0], (side, side), interpolation=cv2.INTER_AREA), mpp)
        settings = SynthesisSettings(
            size=side,
            prior=prior,
            mask=MaskSettings(jitter=0.05, max_overlap=0, empty=0, mpp=mpp),
            distractors=DistractorSettings(mpp=mpp),
            vesicular=0,
        )
        areas = []
        for seed in range(12):
            label = synthesize(tile, settings, seed)[1].label
            inner = set(range(1, label.max() + 1)) - set(
                np.concatenate([label[0], label[-1], label[:, 0], label[:, -1]]).tolist()
            )
            areas += [np.count_nonzero(label == number) * mpp**2 for number in inner]
        means[mpp] = np.mean(areas)
    assert means[0.25] == pytest.approx(45, rel=0.06)
    assert means[0.5] == pytest.approx(means[0.25], rel=0.06)


def test_parameters_are_plain_and_their_own(tiles):
    drawn = draw(tiles[0], SynthesisSettings(size=128), 3)
    parameters = drawn.parameters()
    assert json.loads(json.dumps(parameters)) == parameters
    assert parameters["nuclei"] == drawn.mask.label.max() == len(parameters["category"])
    assert Crop(**parameters["reference"]) == drawn.reference
    parameters["reference"]["size"] = 7
    assert drawn.reference.size == 128


def test_settings_can_be_compared_and_hashed():
    assert SynthesisSettings() == SynthesisSettings()
    assert hash(SynthesisSettings()) == hash(SynthesisSettings())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 15}, "size must be at least 16 px, got 15"),
        ({"depth": (1.0, 0.5)}, r"depth must be a range of non-negative values, got \(1.0, 0.5\)"),
        ({"depth": (-1, 1)}, r"depth must be a range of non-negative values, got \(-1, 1\)"),
        ({"edge_gain": (2, 1)}, "edge_gain must be a range of non-negative values"),
        ({"vesicular": 1.2}, r"vesicular must lie within \[0, 1\], got 1.2"),
        ({"cleared": (0.5, 1.5)}, r"cleared must lie within \[0, 1\], got \(0.5, 1.5\)"),
        ({"blur_spots": -1}, "blur_spots must not be negative, got -1"),
        ({"stain_spread": 1.0}, r"stain_spread must lie in \[0, 1\), got 1.0"),
        ({"mask": MaskSettings(mpp=0.5)}, "mask and distractors must be of the same mpp, got 0.5 and 0.25"),
    ],
)
def test_settings_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SynthesisSettings(**arguments)


def test_patches_are_seldom_cut_from_glass(tissue):
    """A tile of which 7/8 is glass: one random crop in seven touches the tissue, with redraws one in two does."""
    half = np.full((256, 1024, 3), 245, np.uint8)
    half[:, :128] = tissue[0][:, :128]
    tile = analyze_tile(half)
    settings = SynthesisSettings(size=128)
    rng = np.random.RandomState(0)
    left = np.array([draw_patch(tile, tile, half, settings, rng).background.x for _ in range(200)])
    assert (left < 128).mean() > 0.4
    assert (np.random.RandomState(0).randint(1024 - 128 + 1, size=200) < 128).mean() < 0.2


def test_a_tile_without_nuclei_is_still_cropped(plain):
    tile = analyze_tile(plain)
    draw_patch(tile, tile, plain, SynthesisSettings(size=128), np.random.RandomState(0))
