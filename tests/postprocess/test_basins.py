import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import label as connected_pieces
from skimage.morphology import h_maxima, reconstruction
from skimage.segmentation import watershed

from nucleosynth.postprocess.basins import divide_among_peaks

CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])
maps = hnp.arrays(np.int64, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 12))


def divided(heights, prominence, mask=None):
    heights = np.array(heights, np.float32)
    part = divide_among_peaks(heights, np.ones(heights.shape, bool) if mask is None else mask, prominence)
    assert part.dtype == np.int32
    assert part.shape == heights.shape
    return part


def same_parts(one, other):
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return pairs.shape[1] == len(np.unique(one)) == len(np.unique(other))


def ids(label):
    return sorted(set(label[label > 0].tolist()))


@pytest.mark.parametrize(
    ("prominence", "parts"),
    [(0.1, [1, 1, 1, 2, 3, 3, 3]), (0.2, [1, 1, 1, 2, 2, 2, 2]), (0.4, [1, 1, 1, 2, 2, 2, 2]), (0.75, [1] * 7)],
)
def test_a_peak_counts_if_the_way_to_a_higher_one_leads_down_far_enough(prominence, parts):
    """Of 0.9; of 0.3, 0.125 above the pass to the next; and of 0.7, 0.55 above the pass to the highest."""
    ridge = [[0, 0.9, 0.15, 0.3, 0.175, 0.7, 0]]
    assert same_parts(divided(ridge, prominence), np.array([parts]))


def test_a_basin_without_a_peak_that_counts_goes_where_the_pass_is_higher():
    """The middle one, of 0.5, joins the peak of 0.8 over 0.4, not that of 0.9 over 0.3."""
    assert divided([[0.9, 0.3, 0.5, 0.4, 0.8]], 0.3).tolist() in ([[1, 1, 2, 2, 2]], [[2, 2, 1, 1, 1]])


def test_a_plateau_is_in_one_part_wherever_it_bends():
    plateau = np.zeros((6, 6), np.float32)
    plateau[1, 1:5] = plateau[1:5, 4] = 1
    assert len(np.unique(divided(plateau, 0.5)[plateau > 0])) == 1


def test_of_peaks_of_one_height_with_a_shallow_pass_one_counts():
    assert divided([[0.9, 0.8, 0.9]], 0.2).max() == 1
    assert divided([[0.9, 0.6, 0.9]], 0.2).max() == 2


def test_corners_are_no_way_and_rows_do_not_go_on_in_the_next():
    assert divided(np.ones((3, 3)), 0.5, np.eye(3, dtype=bool)).max() == 3
    edge = np.array([[False, False, True], [True, False, False]])
    assert divided(np.ones((2, 3)), 0.5, edge).max() == 2


def test_pieces_in_which_nothing_rises_are_a_part_each():
    mask = np.array([[True, True, False, True], [False, False, False, True]])
    assert same_parts(divided(np.zeros((2, 4)), 0.2, mask), np.array([[1, 1, 0, 2], [0, 0, 0, 2]]))
    assert same_parts(divided(np.full((2, 4), 0.1), 0.2, mask), np.array([[1, 1, 0, 2], [0, 0, 0, 2]]))


def test_without_a_mask_there_is_no_part():
    assert not divided(np.ones((3, 4)), 0.2, np.zeros((3, 4), bool)).any()
    assert divided(np.ones((0, 4)), 0.2).shape == (0, 4)


def highest_of_each_h_maximum(heights, mask, prominence):
    """Markers by scikit-image: where each h-maximum of the levels, a quarter of the prominence apart, is highest."""
    levels = np.pad(np.where(mask, (heights * (4 / prominence)).astype(int), 0), 1)
    padded = np.pad(heights, 1)
    marked = h_maxima(levels, 4, CROSS) > 0
    markers = np.zeros(levels.shape, int)
    for top in np.unique(levels[marked]):
        pieces = connected_pieces(levels > top - 4, connectivity=1)
        for piece in np.unique(pieces[marked & (levels == top)]):
            markers.ravel()[np.argmax(np.where(pieces == piece, padded, -1))] = markers.max() + 1
    return markers[1:-1, 1:-1]


@given(maps)
def test_as_many_peaks_count_as_mathematical_morphology_finds_h_maxima(levels):
    """In each piece above 0, or one, where there are none; heights are in quarters of the prominence."""
    mask = levels > 0
    found, markers = divided(levels / 4, 1.0, mask), highest_of_each_h_maximum(levels / 4, mask, 1.0)
    pieces = connected_pieces(mask, connectivity=1)
    for piece in range(1, pieces.max() + 1):
        expected = max(np.count_nonzero(markers[pieces == piece]), 1)
        assert len(np.unique(found[pieces == piece])) == expected


def hills(seed, share):
    """A map of which no two pixels are as high, and a mask that holds a share of them."""
    rng = np.random.default_rng(seed)
    heights = rng.permutation(9 * 13).reshape(9, 13) / (9 * 13)
    return heights.astype(np.float32), rng.random(heights.shape) < share


seeds, shares = st.integers(0, 10**6), st.floats(0.3, 1)


@settings(deadline=None, max_examples=30)
@given(seeds, shares)
def test_where_all_peaks_count_parts_are_those_of_a_watershed_by_flooding(seed, share):
    heights, mask = hills(seed, share)
    padded = np.pad(np.where(mask, heights, -1), 1, constant_values=-1)
    around = [np.roll(padded, shift, axis)[1:-1, 1:-1] for axis in (0, 1) for shift in (-1, 1)]
    peaks = mask & (heights > np.max(around, axis=0))
    markers = np.zeros(mask.shape, int)
    markers[peaks] = np.arange(1, np.count_nonzero(peaks) + 1)
    # Of less prominence than any two heights are apart; the lowest peaks rise less above 0 than that.
    heights = heights + 1
    assert same_parts(divided(heights, 0.8 / heights.size, mask), watershed(-heights, markers, mask=mask))


@settings(deadline=None)
@given(seeds, shares, st.floats(0.05, 0.6))
def test_no_way_to_another_peak_stays_higher_than_the_one_to_its_own(seed, share, prominence):
    """What defines a watershed (Cousty et al. 2009); the ways are those of morphological reconstruction."""
    heights, mask = hills(seed, share)
    found, markers = divided(heights, prominence, mask), highest_of_each_h_maximum(heights, mask, prominence)
    ground = np.where(mask, heights, 0)
    least = [reconstruction(np.where(markers == k, ground, 0), ground, footprint=CROSS) for k in ids(markers)]
    owners = found[markers > 0][np.argsort(markers[markers > 0])]
    assert len(set(owners.tolist())) == len(owners)
    for part, way in zip(owners, least, strict=True):
        np.testing.assert_array_equal(way[found == part], np.max(least, axis=0)[found == part])
    # A piece without a peak that counts is one part.
    pieces = connected_pieces(mask, connectivity=1)
    without = mask & ~np.isin(pieces, np.unique(pieces[markers > 0]))
    assert same_parts(np.where(without, found, 0), np.where(without, pieces, 0))


@pytest.mark.parametrize("prominence", [0, -0.1, float("nan")])
def test_a_prominence_that_is_not_positive_is_refused(prominence):
    with pytest.raises(ValueError, match="prominence must be positive"):
        divide_among_peaks(np.ones((1, 1), np.float32), np.ones((1, 1), bool), prominence)
