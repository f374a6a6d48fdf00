import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleosynth.transforms.masks import (
    MaskSettings,
    NucleusClass,
    NucleusPrior,
    NucleusShape,
    draw_mask,
    mask,
)

CALM = NucleusShape(irregularity=(0, 0), spikiness=(0, 0))
STILL = MaskSettings(shape=CALM, jitter=0, max_overlap=0, empty=0)


def draw(seed=0, size=(200, 200), prior=None, settings=None, **maps):
    return draw_mask(
        size, prior or NucleusPrior(), settings or MaskSettings(empty=0), np.random.RandomState(seed), **maps
    )


def inner_areas(label):
    """Areas in pixels of the nuclei that do not touch the border."""
    areas = np.bincount(label.ravel())
    areas[np.concatenate([label[0], label[-1], label[:, 0], label[:, -1]])] = 0
    return areas[1:][areas[1:] > 0]


def centroids(label):
    ys, xs = np.nonzero(label)
    ids = label[ys, xs]
    pixels = np.bincount(ids)[1:]
    return np.stack([np.bincount(ids, xs)[1:] / pixels, np.bincount(ids, ys)[1:] / pixels], axis=1)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(16, 160), st.integers(16, 160)),
    density=st.sampled_from([0.0, 500.0, 3000.0, 20000.0]),
    jitter=st.sampled_from([0.0, 0.12, 0.24]),
    max_overlap=st.sampled_from([0.0, 0.15, 1.0]),
    mpp=st.sampled_from([0.25, 0.5]),
)
def test_every_id_has_pixels_in_one_piece(seed, size, density, jitter, max_overlap, mpp):
    drawn = draw(
        seed, size, NucleusPrior(density=density), MaskSettings(jitter=jitter, max_overlap=max_overlap, mpp=mpp)
    )
    assert drawn.label.dtype == np.uint16
    assert drawn.label.shape == size
    assert drawn.category.dtype == np.int64
    assert len(drawn.category) <= drawn.expected
    np.testing.assert_array_equal(np.unique(drawn.label[drawn.label > 0]), np.arange(1, len(drawn.category) + 1))
    for number in range(1, len(drawn.category) + 1):
        assert cv2.connectedComponents((drawn.label == number).astype(np.uint8), connectivity=4)[0] == 2


@pytest.mark.parametrize("max_overlap", [0.0, 0.15, 0.5])
def test_every_nucleus_shows_its_share_of_its_own_area(monkeypatch, max_overlap):
    proposed, placed = {}, []
    place = mask.place_nuclei

    def spy(outlines, propose, *arguments):
        def remember(waiting):
            there = propose(waiting)
            proposed.update(zip(waiting.tolist(), there, strict=True))
            return there

        placed.append(place(outlines, remember, *arguments))
        return placed[-1]

    monkeypatch.setattr(mask, "place_nuclei", spy)
    drawn = draw(3, (256, 256), NucleusPrior(density=12000), MaskSettings(max_overlap=max_overlap, empty=0))
    covered = 0
    for number, index in enumerate(placed[0].index, 1):
        outline = proposed[int(index)]
        if (outline < 2).any() or (outline > 253).any():
            continue
        one = place([outline], lambda waiting, outline=outline: [outline], (256, 256), 0.0, 0.0, 1)
        shown, alone = (drawn.label == number).sum(), one.label.sum()
        assert (1 - max_overlap) * alone <= shown <= alone
        covered += int(shown < alone)
    assert len(placed[0].index) > 15
    assert (covered > 0) == (max_overlap > 0)


def test_the_same_seed_draws_the_same_mask():
    first, again, other = draw(1), draw(1), draw(2)
    assert first.label.tobytes() == again.label.tobytes()
    assert first.label.tobytes() != other.label.tobytes()


def test_zero_jitter_leaves_the_square():
    np.testing.assert_array_equal(draw(settings=STILL).corners, [[0, 0], [1, 0], [1, 1], [0, 1]])
    moved = draw().corners - [[0, 0], [1, 0], [1, 1], [0, 1]]
    assert 0 < np.abs(moved).max() <= MaskSettings.jitter


@pytest.mark.parametrize(("empty", "least", "most"), [(1.0, 40, 40), (0.5, 10, 30), (0.0, 0, 0)])
def test_the_share_of_empty_patches(empty, least, most):
    rng = np.random.RandomState(0)
    settings = MaskSettings(empty=empty)
    drawn = [draw_mask((64, 64), NucleusPrior(density=20000), settings, rng) for _ in range(40)]
    assert least <= sum(not each.label.any() for each in drawn) <= most
    assert all(each.expected == 0 for each in drawn if not each.label.any())


def test_no_density_is_no_nucleus():
    assert not draw(prior=NucleusPrior(density=0)).label.any()
    assert not draw(density_map=np.zeros((5, 5))).label.any()


@pytest.mark.parametrize("density", [1000, 4000])
def test_counts_follow_the_density(density):
    prior = NucleusPrior(density=density)
    rng = np.random.RandomState(0)
    drawn = [draw_mask((256, 256), prior, MaskSettings(empty=0), rng) for _ in range(60)]
    # Centres lie in the patch and a margin of 8 µm.
    assert np.mean([each.expected for each in drawn]) == pytest.approx(density * 0.080**2, rel=0.08)
    # In the long run each nucleus is counted once, if those on two of the four borders are left out.
    counted = []
    for each in drawn:
        ids = set(np.unique(each.label)) - {0} - set(each.label[0].tolist()) - set(each.label[:, 0].tolist())
        counted.append(len(ids))
    assert np.mean(counted) == pytest.approx(density * 0.064**2, rel=0.15)


def test_patches_differ_in_density_by_the_spread():
    rng = np.random.RandomState(0)
    counts = [
        draw_mask((64, 64), NucleusPrior(density=6e4, density_spread=0.5), MaskSettings(tries=1, empty=0), rng).expected
        for _ in range(60)
    ]
    assert np.log(counts).std() == pytest.approx(0.5, rel=0.3)


def test_the_density_map_says_where_and_how_many():
    half = np.zeros((1, 4))
    half[0, 3] = 4.0
    prior = NucleusPrior(density=4000, area=10, area_spread=0)
    rng = np.random.RandomState(0)
    drawn = [draw_mask((200, 200), prior, STILL, rng, half) for _ in range(10)]
    x = np.concatenate([centroids(each.label) for each in drawn])[:, 0]
    # Centres lie in the last quarter, that is from 150 to 200, and a nucleus of 10 µm² has a radius of 7 px.
    assert 148 < x.min() < 156
    assert x.max() > 195
    # A quarter of the patch, and the margin beyond it, at four times the density.
    assert np.mean([each.expected for each in drawn]) == pytest.approx(4 * 4000 * 0.0205 * 0.066, rel=0.15)


@pytest.mark.parametrize("degrees", [0, 45, 90, 150])
def test_nuclei_lie_along_the_direction_that_is_given(degrees):
    prior = NucleusPrior(elongation=2.5, elongation_spread=0)
    double = np.deg2rad(2 * degrees)
    direction = np.tile(np.array([np.cos(double), np.sin(double)]), (3, 4, 1))
    axes = []
    for seed in range(4):
        label = draw(seed, (256, 200), prior, STILL, direction_map=direction).label
        for number in range(1, label.max() + 1):
            ys, xs = np.nonzero(label == number)
            if min(xs.min(), ys.min()) > 0 and xs.max() < 199 and ys.max() < 255:
                axes.append([xs.var() - ys.var(), 2 * np.cov(xs, ys)[0, 1]])
    axes = np.array(axes) / np.linalg.norm(axes, axis=1, keepdims=True)
    assert len(axes) > 10
    assert np.dot(axes.mean(axis=0), [np.cos(double), np.sin(double)]) > 0.85


def test_directions_differ_from_place_to_place():
    direction = np.zeros((1, 2, 2))
    direction[0, 0], direction[0, 1] = [1, 0], [-1, 0]
    prior = NucleusPrior(elongation=3, elongation_spread=0)
    lying = {True: [], False: []}
    for seed in range(6):
        label = draw(seed, (300, 300), prior, STILL, direction_map=direction).label
        for number in range(1, label.max() + 1):
            ys, xs = np.nonzero(label == number)
            if min(xs.min(), ys.min()) > 0 and max(xs.max(), ys.max()) < 299:
                lying[bool(xs.mean() < 150)].append(xs.var() > ys.var())
    assert np.mean(lying[True]) > 0.75
    assert np.mean(lying[False]) < 0.25


def test_neighbours_are_alike_in_size():
    prior = NucleusPrior(density=5000, area=15, area_spread=0.6)
    near, far = [], []
    rng = np.random.RandomState(0)
    for _ in range(40):
        label = draw_mask((300, 300), prior, STILL, rng).label
        size, place = np.log(np.bincount(label.ravel())[1:]), centroids(label)
        distance = np.linalg.norm(place[:, None] - place[None], axis=2)
        difference = (size[:, None] - size[None]) ** 2
        near.append(difference[(distance > 0) & (distance < 30)])
        far.append(difference[distance > 150])
    assert np.concatenate(near).mean() < 0.85 * np.concatenate(far).mean()


def test_sizes_in_micrometres_do_not_depend_on_the_scale():
    prior = NucleusPrior(density=1500, area=40, area_spread=0)
    mean = {}
    for mpp, size in ((0.25, 256), (0.5, 128)):
        rng = np.random.RandomState(0)
        settings = MaskSettings(shape=CALM, jitter=0.05, max_overlap=0, empty=0, mpp=mpp)
        drawn = [draw_mask((size, size), prior, settings, rng).label for _ in range(25)]
        mean[mpp] = np.concatenate([inner_areas(label) for label in drawn]).mean() * mpp**2
    assert mean[0.25] == pytest.approx(40, rel=0.05)
    assert mean[0.5] == pytest.approx(mean[0.25], rel=0.05)


def test_lymphocytes_are_round_and_of_their_diameter():
    lymphocyte = NucleusClass("lymphocyte", share=0.5, diameter_um=(7, 7), roundness=(0.9, 1))
    settings = MaskSettings(shape=CALM, classes=(lymphocyte,), jitter=0, max_overlap=0, empty=0)
    drawn = draw(0, (400, 400), NucleusPrior(density=3000, area=80, elongation=2.5), settings)
    whole = np.bincount(drawn.label.ravel())[1:]
    border = np.unique(np.concatenate([drawn.label[0], drawn.label[-1], drawn.label[:, 0], drawn.label[:, -1]]))
    found = 0
    for number in set(range(1, len(whole) + 1)) - set(border.tolist()):
        if drawn.category[number - 1] != 1:
            continue
        found += 1
        assert 2 * np.sqrt(whole[number - 1] / np.pi) * 0.25 == pytest.approx(7, abs=0.35)
        ys, xs = np.nonzero(drawn.label == number)
        short, long = np.linalg.eigvalsh(np.cov(xs, ys))
        assert np.sqrt(short / long) > 0.85
    assert found > 3
    assert set(drawn.category) == {0, 1}


def test_a_patch_of_many_nuclei_can_be_drawn():
    settings = MaskSettings(tries=1, empty=0)
    drawn = draw(0, (2400, 2400), NucleusPrior(density=1e5, density_spread=0, area=5), settings)
    assert drawn.expected > 2**15
    assert drawn.label.max() == len(drawn.category) > 10000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"jitter": 0.25}, r"jitter must lie in \[0, 0.25\), got 0.25"),
        ({"max_overlap": -0.1}, r"max_overlap must lie in \[0, 1\], got -0.1"),
        ({"min_area_um2": -1}, "min_area_um2 must not be negative, got -1"),
        ({"tries": 0}, "tries must be at least 1, got 0"),
        ({"empty": 1.1}, r"empty must lie in \[0, 1\], got 1.1"),
        ({"mpp": 0}, "mpp must be positive, got 0"),
        ({"classes": [NucleusClass("a", 0.6, (5, 6))] * 2}, r"must not add up to more than 1, got 1\.2"),
    ],
)
def test_settings_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MaskSettings(**arguments)


def test_settings_are_hashable_whatever_the_classes_came_in():
    rule = NucleusClass("lymphocyte", 0.3, (6, 8))
    assert MaskSettings(classes=[rule]) == MaskSettings(classes=(rule,))
    assert hash(MaskSettings(classes=[rule])) == hash(MaskSettings(classes=(rule,)))
