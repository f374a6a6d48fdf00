"""The phantom looks like tissue to a program: nuclei that can be found, sizes in µm, glass around it."""

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from skimage.color import rgb2hed
from skimage.filters import threshold_otsu
from skimage.measure import label as connected_parts

from nucleosynth.data.phantom import Phantom, PhantomSettings, generate_phantom

SETTINGS = PhantomSettings(width=900, height=800, seed=3)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return generate_phantom(SETTINGS)


def haematoxylin(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    return rgb2hed(image)[..., 0]


def touching_pairs(labels: npt.NDArray[np.int32]) -> set[tuple[int, int]]:
    pairs = np.vstack(
        [
            np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()], axis=1),
            np.stack([labels[:-1].ravel(), labels[1:].ravel()], axis=1),
        ]
    )
    pairs = np.sort(pairs[(pairs[:, 0] != pairs[:, 1]) & (pairs > 0).all(axis=1)], axis=1)
    return {(int(a), int(b)) for a, b in pairs}


def test_equal_settings_give_equal_bytes_and_another_seed_does_not():
    settings = PhantomSettings(width=200, height=160, seed=5)
    first, again = generate_phantom(settings), generate_phantom(settings)
    other = generate_phantom(dataclasses.replace(settings, seed=6))
    assert first.image.tobytes() == again.image.tobytes()
    assert first.labels.tobytes() == again.labels.tobytes()
    assert first.image.tobytes() != other.image.tobytes()
    assert first.labels.tobytes() != other.labels.tobytes()


def test_image_and_labels_have_the_asked_shape_and_type(phantom):
    assert phantom.image.shape == (800, 900, 3)
    assert phantom.image.dtype == np.uint8
    assert phantom.labels.shape == (800, 900)
    assert phantom.labels.dtype == np.int32
    assert phantom.mpp == SETTINGS.mpp


def test_ids_have_no_gap_and_every_nucleus_is_in_one_piece(phantom):
    ids = np.unique(phantom.labels)
    np.testing.assert_array_equal(ids, np.arange(phantom.labels.max() + 1))
    assert connected_parts(phantom.labels, connectivity=1).max() == phantom.labels.max()


def test_nuclei_hold_more_haematoxylin_than_the_tissue_around_them(phantom):
    stain = haematoxylin(phantom.image)
    tissue = phantom.image.max(axis=2) < 225
    nuclei = phantom.labels > 0
    assert np.median(stain[nuclei]) > 1.3 * np.median(stain[tissue & ~nuclei])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_threshold_finds_most_nuclei_but_is_no_match_for_the_truth(seed):
    phantom = generate_phantom(PhantomSettings(width=700, height=700, seed=seed))
    stain = haematoxylin(phantom.image)
    found, truth = stain > threshold_otsu(stain), phantom.labels > 0
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert 0.6 < dice < 0.95


def test_sizes_are_in_micrometres():
    def mean_area(mpp: float) -> float:
        side = round(200 / mpp)
        labels = generate_phantom(PhantomSettings(width=side, height=side, mpp=mpp, seed=4)).labels
        return float(np.bincount(labels.ravel())[1:].mean()) * mpp**2

    fine, coarse = mean_area(0.25), mean_area(0.5)
    assert coarse == pytest.approx(fine, rel=0.15)
    assert 20 < fine < 80  # a disc of 3.5 µm radius has 38 µm²


def test_density_is_that_of_tissue_and_changes_from_region_to_region():
    phantom = generate_phantom(PhantomSettings(width=1200, height=1200, mpp=0.5, seed=2, tissue_share=1.0))
    counts = [
        len(np.unique(phantom.labels[row : row + 200, column : column + 200]))
        for row in range(0, 1200, 200)
        for column in range(0, 1200, 200)
    ]
    density = np.array(counts) / 0.01  # windows of 0.1 mm by 0.1 mm
    assert 1500 < density.mean() < 6000
    assert density.std() > 0.2 * density.mean()


def test_some_nuclei_touch(phantom):
    assert len(touching_pairs(phantom.labels)) > 0.05 * phantom.labels.max()


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_glass_surrounds_the_share_of_tissue_that_was_asked_for(share):
    phantom = generate_phantom(PhantomSettings(width=900, height=900, mpp=0.5, seed=1, tissue_share=share))
    white = phantom.image.min(axis=2) > 205
    border = np.concatenate([white[0], white[-1], white[:, 0], white[:, -1]])
    assert border.mean() > 0.5
    assert white.mean() > 1 - share
    assert (phantom.labels[white] > 0).mean() < 0.01


def test_two_seeds_are_stained_by_two_laboratories():
    hues = []
    for seed in (1, 2):
        phantom = generate_phantom(PhantomSettings(width=400, height=400, seed=seed, tissue_share=1.0))
        hues.append(phantom.image[phantom.labels > 0].mean(axis=0))
    assert np.abs(hues[0] - hues[1]).max() > 8


@pytest.mark.parametrize("mpp", [0.1, 2.0])
def test_the_ends_of_the_scale_work(mpp):
    phantom = generate_phantom(PhantomSettings(width=70, height=64, mpp=mpp, seed=0, tissue_share=0.05))
    assert phantom.image.shape == (64, 70, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 10}, "width must be a whole number of pixels from 64 to 32000, got 10"),
        ({"height": 100.5}, "height must be a whole number of pixels from 64 to 32000, got 100.5"),
        ({"mpp": 0.0}, "mpp must be from 0.1 to 2 µm per pixel, got 0.0"),
        ({"mpp": float("nan")}, "mpp must be from 0.1 to 2 µm per pixel, got nan"),
        ({"seed": -1}, "seed must be a whole number that is not negative, got -1"),
        ({"tissue_share": 0.0}, "tissue_share must be above 0 and at most 1, got 0.0"),
        ({"tissue_share": 1.1}, "tissue_share must be above 0 and at most 1, got 1.1"),
    ],
)
def test_settings_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PhantomSettings(**arguments)
