import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import label as connected_pieces
from skimage.morphology import h_maxima

from nucleosynth.postprocess.peaks import prominent_peaks


def row(*heights):
    return np.array([heights], np.float32)


@pytest.mark.parametrize(
    ("prominence", "peaks"),
    [(0.1, [1, 3, 5]), (0.2, [1, 5]), (0.4, [1, 5]), (0.75, [1]), (1.0, [])],
)
def test_a_peak_counts_if_the_way_to_a_higher_one_leads_down_far_enough(prominence, peaks):
    """Of 0.9; of 0.3, 0.125 above the pass to the next; and of 0.7, 0.55 above the pass to the highest."""
    ridge = row(0, 0.9, 0.15, 0.3, 0.175, 0.7, 0)
    assert sorted(prominent_peaks(ridge, prominence)) == peaks


def test_the_highest_peak_comes_first():
    assert prominent_peaks(row(0.4, 0, 0.8, 0, 0.6), 0.2).tolist() == [2, 4, 0]


def test_a_plateau_is_one_peak_wherever_it_bends():
    plateau = np.zeros((6, 6), np.float32)
    plateau[1, 1:5] = plateau[1:5, 4] = 1
    (peak,) = prominent_peaks(plateau, 0.5)
    assert plateau.ravel()[peak] == 1


def test_of_peaks_of_one_height_with_a_shallow_pass_one_is_found():
    assert len(prominent_peaks(row(0.9, 0.8, 0.9), 0.2)) == 1
    assert len(prominent_peaks(row(0.9, 0.6, 0.9), 0.2)) == 2


def test_corners_are_no_way():
    assert len(prominent_peaks(np.eye(3, dtype=np.float32), 0.5)) == 3


def test_where_nothing_rises_there_is_no_peak():
    assert prominent_peaks(np.zeros((5, 7), np.float32), 0.2).tolist() == []
    assert prominent_peaks(np.full((5, 7), 0.1, np.float32), 0.2).tolist() == []


@given(hnp.arrays(np.int64, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 12)))
def test_they_are_the_h_maxima_of_mathematical_morphology(levels):
    """Heights are multiples of a quarter of the prominence, so that nothing is rounded; around the map lies 0."""
    peaks = prominent_peaks(levels / 4, 1.0)
    padded = np.pad(levels, 1)
    # What scikit-image marks are the tops of every peak of one h-maximum; filled down to its base they are one piece.
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])
    marked = h_maxima(padded, 4, cross)
    tops = padded[marked > 0]
    expected = {
        frozenset(np.flatnonzero(connected_pieces(padded > top - 4, connectivity=1).ravel() == place))
        for top in np.unique(tops)
        for place in np.unique(connected_pieces(padded > top - 4, connectivity=1)[(marked > 0) & (padded == top)])
    }
    islands = []
    for peak in peaks:
        r, c = np.unravel_index(peak, levels.shape)
        pieces = connected_pieces(padded > levels[r, c] - 4, connectivity=1)
        islands.append(frozenset(np.flatnonzero(pieces.ravel() == pieces[r + 1, c + 1])))
    assert len(islands) == len(set(islands))
    assert set(islands) == expected


@pytest.mark.parametrize("prominence", [0, -0.1, float("nan")])
def test_a_prominence_that_is_not_positive_is_refused(prominence):
    with pytest.raises(ValueError, match="prominence must be positive"):
        prominent_peaks(row(1), prominence)
