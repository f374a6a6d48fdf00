from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nucleosynth.data.phantom import PhantomSettings, generate_phantom
from nucleosynth.metrics import score_instances
from nucleosynth.postprocess import InstanceSettings, label_nuclei
from nucleosynth.transforms.stain import fill_small_holes
from nucleosynth.transforms.targets import nucleus_targets

# Maps are taken as they are, and every pixel, of 0.0625 µm², is large enough to be a nucleus.
RAW = {"detection_smoothing_um": 0, "segmentation_smoothing_um": 0, "min_probability": 0}
EXACT = InstanceSettings(min_area_um2=0.01, **RAW)

# Probabilities in steps of a quarter, so that the thresholds of one half are met exactly, too.
maps = hnp.arrays(np.uint8, (2, 8, 11), elements=st.integers(0, 4), fill=st.sampled_from([0, 4])).map(
    lambda steps: steps.astype(np.float32) / 4
)


def discs(*centres, radius=10, size=(64, 64)):
    """A map that is 1 on discs, centres as (row, column)."""
    y, x = np.mgrid[: size[0], : size[1]]
    inside = [(y - row) ** 2 + (x - column) ** 2 <= radius**2 for row, column in centres]
    return np.any(inside, axis=0).astype(np.float32) if inside else np.zeros(size, np.float32)


def ids(label):
    return sorted(set(label[label > 0].tolist()))


@pytest.mark.parametrize("settings", [EXACT, InstanceSettings(segmentation_threshold=0.5)])
def test_two_touching_discs_with_a_core_each_are_two_nuclei(settings):
    segmentation = discs((32, 23), (32, 41))
    label = label_nuclei(discs((32, 23), (32, 41), radius=4), segmentation, settings)
    assert label.dtype == np.int32
    assert ids(label) == [1, 2]
    assert label[32, 23] != label[32, 41]
    # They part in the middle, where the discs meet: each nucleus is its own disc.
    for column in (23, 41):
        assert score_instances(discs((32, column)).astype(int), (label == label[32, column]).astype(int)).dice > 0.97


def test_what_divides_two_discs_are_their_cores_and_not_their_outline():
    segmentation = discs((32, 23), (32, 41))
    assert ids(label_nuclei(discs((32, 23), radius=4), segmentation, EXACT)) == [1]
    assert ids(label_nuclei(discs((32, 32), radius=14) * segmentation, segmentation, EXACT)) == [1]


def test_a_region_without_a_core_is_one_nucleus():
    """The paper's rule: no segmented nucleus is lost."""
    segmentation = discs((16, 16), (48, 40), (48, 50))
    label = label_nuclei(discs((16, 16), radius=3), segmentation, EXACT)
    assert ids(label) == [1, 2]
    assert np.array_equal(label > 0, segmentation > 0)
    assert label[48, 40] == label[48, 50] != label[16, 16]
    assert np.array_equal(label_nuclei(np.zeros_like(segmentation), segmentation, EXACT) > 0, segmentation > 0)


@pytest.mark.parametrize("settings", [EXACT, InstanceSettings()])
def test_a_core_outside_the_segmentation_makes_nothing(settings):
    segmentation = discs((16, 16))
    label = label_nuclei(discs((48, 48), radius=5), segmentation, settings)
    assert ids(label) == [1]
    assert not label[32:].any()
    assert not label_nuclei(discs((48, 48), radius=5), np.zeros((64, 64)), settings).any()


def test_a_core_that_reaches_out_of_the_segmentation_ends_where_that_does():
    segmentation = discs((32, 32), radius=8)
    assert np.array_equal(label_nuclei(discs((32, 32), radius=14), segmentation, EXACT) > 0, segmentation > 0)


def test_holes_in_a_nucleus_are_filled():
    ring = discs((32, 32), radius=12) - discs((32, 32), radius=5)
    label = label_nuclei(np.zeros_like(ring), ring, EXACT)
    assert np.array_equal(label, discs((32, 32), radius=12))


def test_a_gap_larger_than_any_nucleus_is_no_hole():
    """100 µm² are 1600 pixels at 0.25 µm/px and 400 at 0.5."""
    gap = discs((32, 32), radius=16)  # some 800 pixels
    ring = discs((32, 32), radius=20) - gap
    for mpp, filled in ((0.25, True), (0.5, False)):
        settings = InstanceSettings(min_area_um2=0.01, mpp=mpp, **RAW)
        label = label_nuclei(np.zeros_like(ring), ring, settings)
        assert label[gap > 0].all() == filled
        assert label[gap > 0].any() == filled


@pytest.mark.parametrize(("mpp", "sides"), [(0.25, [10, 12]), (0.5, [5, 6, 10, 12])])
def test_small_pieces_are_dropped_by_their_area_in_um2(mpp, sides):
    """6 µm² are 96 pixels at 0.25 µm/px and 24 at 0.5; squares of 4, 5, 6, 10 and 12 pixels a side."""
    segmentation = np.zeros((20, 80), np.float32)
    for column, side in zip((2, 10, 20, 35, 55), (4, 5, 6, 10, 12), strict=True):
        segmentation[4 : 4 + side, column : column + side] = 1
    settings = InstanceSettings(min_area_um2=6, mpp=mpp, **RAW)
    label = label_nuclei(np.zeros_like(segmentation), segmentation, settings)
    assert ids(label) == list(range(1, len(sides) + 1))
    assert sorted(np.bincount(label.ravel())[1:].tolist()) == [side**2 for side in sides]


def test_a_piece_of_exactly_the_least_area_stays():
    segmentation = np.zeros((20, 20), np.float32)
    segmentation[4:8, 4:10] = 1  # 24 pixels of 0.25 µm²
    for least, kept in ((6.0, 1), (6.01, 0)):
        settings = InstanceSettings(min_area_um2=least, mpp=0.5, **RAW)
        assert label_nuclei(segmentation, segmentation, settings).max() == kept


@pytest.mark.parametrize(("least", "kept"), [(0.0, 3), (0.69, 3), (0.71, 2), (0.96, 0)])
def test_nuclei_that_are_doubtful_all_over_are_dropped(least, kept):
    """Of means 0.7 and 0.95, and one of 0.95 with a doubtful rim, which has 0.92."""
    segmentation = 0.7 * discs((16, 16)) + 0.95 * discs((48, 48))
    segmentation += np.maximum(0.7 * discs((16, 48)), 0.95 * discs((16, 48), radius=9)).astype(np.float32)
    settings = InstanceSettings(**{**RAW, "min_probability": least})
    label = label_nuclei(np.zeros_like(segmentation), segmentation, settings)
    assert ids(label) == list(range(1, kept + 1))
    assert bool(label[48, 48]) == (kept > 0)
    assert bool(label[16, 16]) == (kept == 3)


def test_a_least_area_of_0_leaves_no_gap_in_the_ids():
    """A region with a core and one without."""
    segmentation = discs((16, 16), (48, 48))
    label = label_nuclei(discs((16, 16), radius=3), segmentation, InstanceSettings(min_area_um2=0, **RAW))
    assert ids(label) == [1, 2]


def test_smoothing_keeps_a_noisy_pixel_from_splitting_a_nucleus():
    """0.25 µm are 1 pixel at 0.25 µm/px, which leaves 0.16 of it, and a quarter of one at 1, which leaves all."""
    segmentation, detection = discs((32, 32), radius=14), discs((32, 32), radius=5)
    detection[32, 42] = 1
    for mpp, nuclei in ((0.25, 1), (1.0, 2)):
        settings = InstanceSettings(0.2, detection_smoothing_um=0.25, min_area_um2=0.01, mpp=mpp)
        assert ids(label_nuclei(detection, segmentation, settings)) == list(range(1, nuclei + 1))


def test_smoothing_of_the_segmentation_takes_lone_pixels_away():
    """At 1 µm/px a smoothing by 0.25 µm is a quarter of a pixel, and leaves them."""
    noisy = discs((32, 32), radius=14)
    noisy[5, 5] = 1
    for mpp, kept in ((0.25, False), (1.0, True)):
        settings = InstanceSettings(segmentation_smoothing_um=0.25, min_area_um2=0.01, mpp=mpp)
        label = label_nuclei(np.zeros_like(noisy), noisy, settings)
        assert bool(label[5, 5]) == kept
        assert label[32, 32]


@pytest.mark.parametrize(("segmentation", "nuclei"), [(0.5, 2), (0.85, 0)])
def test_segmentation_threshold(segmentation, nuclei):
    """Two discs that touch, of probability 0.8."""
    cores, inside = 0.6 * discs((32, 23), (32, 41), radius=4), 0.8 * discs((32, 23), (32, 41))
    settings = InstanceSettings(segmentation_threshold=segmentation, min_area_um2=0.01, **RAW)
    assert label_nuclei(cores, inside, settings).max() == nuclei


@pytest.mark.parametrize(("prominence", "nuclei"), [(0.2, 2), (0.4, 1), (0.65, 1)])
def test_two_peaks_are_two_nuclei_if_the_map_falls_far_enough_between_them(prominence, nuclei):
    """From cores of 0.9 and 0.6 to 0.3; either lies above one half, and so would all between 0.6 and 0.9."""
    segmentation = discs((32, 23), (32, 41))
    detection = 0.3 * segmentation + 0.6 * discs((32, 23), radius=4) + 0.3 * discs((32, 41), radius=4)
    settings = InstanceSettings(detection_prominence=prominence, min_area_um2=0.01, **RAW)
    assert label_nuclei(detection, segmentation, settings).max() == nuclei


def test_a_probability_of_exactly_the_threshold_is_no_nucleus():
    assert not label_nuclei(np.zeros((9, 9)), np.full((9, 9), 0.5), EXACT).any()


@settings(deadline=None, derandomize=True, max_examples=60)
@given(maps, st.sampled_from([EXACT, InstanceSettings(min_area_um2=0.4, **RAW), InstanceSettings()]))
def test_ids_are_consecutive_and_every_nucleus_is_in_one_piece(both, settings):
    label = label_nuclei(*both, settings)
    assert label.shape == (8, 11)
    assert np.array_equal(np.unique(label[label > 0]), np.arange(1, label.max() + 1))
    for number in ids(label):
        assert cv2.connectedComponents((label == number).astype(np.uint8), connectivity=4)[0] == 2
        assert (label == number).sum() * settings.mpp**2 >= settings.min_area_um2


@settings(deadline=None, derandomize=True, max_examples=60)
@given(maps)
def test_no_segmented_pixel_is_lost_and_none_is_added(both):
    segmented = both[1] > 0.5
    assert np.array_equal(label_nuclei(*both, EXACT) > 0, fill_small_holes(segmented, 100 / EXACT.mpp**2))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(maps)
def test_cores_with_nothing_between_them_are_never_in_one_nucleus(both):
    """Pieces of the detection map that 0 lies between, and that rise to a half: each is a nucleus, or more."""
    # A hole in the segmentation is filled, so that a core may run through it.
    inside = fill_small_holes(both[1] > 0.5, 100 / EXACT.mpp**2)
    label = label_nuclei(*both, replace(EXACT, detection_prominence=0.25))
    count, pieces = cv2.connectedComponents(((both[0] > 0) & inside).astype(np.uint8), connectivity=4)
    tops = [np.argmax(np.where(pieces == number, both[0], -1)) for number in range(1, count)]
    assert len(set(label.ravel()[tops].tolist())) == count - 1


@pytest.mark.parametrize(("mpp", "least"), [(0.25, 0.99), (0.5, 0.97)])
def test_maps_of_a_label_give_back_its_nuclei(mpp, least):
    """What the task network is asked for is what the nuclei can be had from."""
    for seed in (1, 2):
        labels = generate_phantom(PhantomSettings(256, 256, mpp, seed=seed, tissue_share=1.0)).labels
        detection, segmentation = nucleus_targets(labels).astype(np.float32)
        exact = label_nuclei(detection, segmentation, InstanceSettings(min_area_um2=0.01, mpp=mpp, **RAW))
        assert score_instances(labels, exact).pq >= least
        assert score_instances(labels, label_nuclei(detection, segmentation, InstanceSettings(mpp=mpp))).pq > 0.9


@pytest.mark.parametrize("settings", [EXACT, InstanceSettings()])
def test_empty_maps_hold_no_nuclei(settings):
    label = label_nuclei(np.zeros((20, 30), np.float32), np.zeros((20, 30), np.float32), settings)
    assert label.shape == (20, 30)
    assert label.dtype == np.int32
    assert not label.any()


def test_maps_that_are_full_hold_one_nucleus():
    assert (label_nuclei(np.ones((20, 30)), np.ones((20, 30)), InstanceSettings()) == 1).all()


def test_the_maps_stay_as_they_are():
    both = np.random.default_rng(0).random((2, 32, 32), np.float32)
    copy = both.copy()
    label_nuclei(*both, EXACT)
    assert np.array_equal(both, copy)


def test_maps_of_different_or_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"one shape \(H, W\), got \(8, 8\) and \(8, 9\)"):
        label_nuclei(np.zeros((8, 8)), np.zeros((8, 9)), EXACT)
    with pytest.raises(ValueError, match=r"one shape \(H, W\), got \(1, 8, 8\) and \(1, 8, 8\)"):
        label_nuclei(np.zeros((1, 8, 8)), np.zeros((1, 8, 8)), EXACT)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"detection_prominence": 0}, r"detection_prominence must lie in \(0, 1\], got 0"),
        ({"detection_prominence": 1.1}, r"detection_prominence must lie in \(0, 1\], got 1.1"),
        ({"segmentation_threshold": 1.5}, r"segmentation_threshold must lie in \(0, 1\), got 1.5"),
        ({"detection_smoothing_um": -0.1}, "detection_smoothing_um must not be negative, got -0.1"),
        ({"segmentation_smoothing_um": -1}, "segmentation_smoothing_um must not be negative, got -1"),
        ({"min_area_um2": -1}, "min_area_um2 must not be negative, got -1"),
        ({"min_probability": 1.2}, r"min_probability must lie in \[0, 1\], got 1.2"),
        ({"mpp": 0}, "mpp must be positive, got 0"),
        ({"mpp": float("nan")}, "mpp must be positive, got nan"),
    ],
)
def test_wrong_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        InstanceSettings(**setting)
