import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleosynth.transforms.masks import NucleusDraw, NucleusShape, draw_outlines, place_nuclei


def box(width, height):
    """A polygon around width x height pixels, the first of which has its middle in the origin."""
    return np.array([[0, 0], [width, 0], [width, height], [0, height]]) - 0.5


def place(shapes, size=(40, 40), max_overlap=0.15, min_area=1.0):
    """Place polygons, each given with its one position (x, y)."""
    outlines = [outline for outline, _ in shapes]
    return place_nuclei(
        outlines, lambda waiting: [outlines[i] + shapes[i][1] for i in waiting], size, max_overlap, min_area, tries=1
    )


def own_area(outline, size):
    """Pixels of a patch that an outline covers when it is alone."""
    return int((place_nuclei([outline], lambda waiting: [outline], size, 0.0, 0.0, tries=1).label > 0).sum())


def test_a_box_covers_its_pixels():
    placed = place([(box(10, 6), (5, 8))])
    assert placed.label.dtype == np.uint16
    expected = np.zeros((40, 40), int)
    expected[8:14, 5:15] = 1
    np.testing.assert_array_equal(placed.label, expected)
    np.testing.assert_array_equal(placed.index, [0])


@pytest.mark.parametrize(("shift", "count"), [(10, 2), (9, 2), (8, 1), (0, 1)])
def test_overlap_is_bounded_by_the_share_of_the_later_nucleus(shift, count):
    # Two boxes of 10 x 10 pixels, 10 % and 20 % of the second under the first.
    placed = place([(box(10, 10), (5, 5)), (box(10, 10), (5 + shift, 5))])
    assert placed.label.max() == count
    areas = np.bincount(placed.label.ravel())[1:]
    assert areas[0] == 100
    if count == 2:
        assert areas[1] == 100 - 10 * (10 - shift)


@pytest.mark.parametrize(("max_overlap", "count"), [(0.0, 1), (0.1, 2), (1.0, 2)])
def test_the_bound_itself_is_allowed(max_overlap, count):
    placed = place([(box(10, 10), (5, 5)), (box(10, 10), (14, 5))], max_overlap=max_overlap)
    assert placed.label.max() == count


def test_touching_is_no_overlap():
    placed = place([(box(10, 10), (5, 5)), (box(10, 10), (15, 5)), (box(10, 10), (5, 15))], max_overlap=0.0)
    assert placed.label.max() == 3
    assert (placed.label[10, 14], placed.label[10, 15]) == (1, 2)


def test_a_nucleus_wholly_under_another_is_refused_whatever_the_bound():
    placed = place([(box(20, 20), (5, 5)), (box(4, 4), (12, 12))], max_overlap=1.0)
    assert placed.label.max() == 1


def test_a_nucleus_that_another_would_cut_in_two_is_refused():
    # The bar is covered by 3 of 30 pixels only, but in its middle.
    placed = place([(box(3, 30), (18, 5)), (box(10, 1), (14, 15)), (box(10, 3), (21, 15))], max_overlap=0.5)
    np.testing.assert_array_equal(placed.index, [0, 2])


def test_a_nucleus_that_the_border_would_cut_in_two_is_refused():
    legs = np.array([[0, 0], [20, 0], [20, 20], [15, 20], [15, 5], [5, 5], [5, 20], [0, 20]], dtype=np.float64)
    assert place([(legs, (5, -4))]).label.max() == 1
    assert place([(legs, (5, -10))]).label.max() == 0


def test_a_nucleus_of_the_neighbouring_patch_is_left_out_and_not_proposed_again():
    proposals = []

    def propose(waiting):
        proposals.append(waiting.tolist())
        return [box(5, 5) + offset for offset in ([-20, 10], [10, -20], [45, 10], [10, 45])]

    placed = place_nuclei([box(5, 5)] * 4, propose, (40, 40), 0.15, 1.0, tries=5)
    assert proposals == [[0, 1, 2, 3]]
    assert placed.label.max() == 0
    assert len(placed.index) == 0


@pytest.mark.parametrize(("x", "y", "seen"), [(-3, 10, 2 * 5), (38, 10, 2 * 5), (10, -4, 5), (37, 38, 3 * 2)])
def test_a_nucleus_on_the_border_shows_in_part(x, y, seen):
    assert (place([(box(5, 5), (x, y))]).label > 0).sum() == seen


def test_a_nucleus_that_does_not_fit_is_proposed_another_place():
    places = [[(0, 0), (0, 0), (0, 0)], [(0, 0), (20, 20)], [(20, 0)]]
    proposals = []

    def propose(waiting):
        proposals.append(waiting.tolist())
        return [box(8, 8) + offset for offset in places[len(proposals) - 1]]

    placed = place_nuclei([box(8, 8)] * 3, propose, (40, 40), 0.15, 1.0, tries=12)
    assert proposals == [[0, 1, 2], [1, 2], [1]]
    np.testing.assert_array_equal(placed.index, [0, 2, 1])
    assert (placed.label[0, 0], placed.label[20, 20], placed.label[0, 20]) == (1, 2, 3)


def test_after_all_tries_a_nucleus_is_left_out():
    asked = []

    def propose(waiting):
        asked.append(len(waiting))
        return [box(8, 8)] * len(waiting)

    assert place_nuclei([box(8, 8)] * 2, propose, (40, 40), 0.15, 1.0, tries=4).label.max() == 1
    assert asked == [2, 1, 1, 1]


def test_a_nucleus_under_the_smallest_area_is_refused():
    assert place([(box(3, 3), (5, 5))], min_area=9).label.max() == 1
    assert place([(box(3, 3), (5, 5))], min_area=10).label.max() == 0


@pytest.mark.parametrize("factor", [1e2, 1e5, 1e12, np.inf])
def test_a_place_that_stretches_a_nucleus_without_bound_is_refused(factor):
    sizes = iter([factor, 2.0])

    def propose(waiting):
        return [np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * 5.0 * np.minimum(next(sizes), 1e300)]

    placed = place_nuclei([box(6, 6)], propose, (40, 40), 0.15, 1.0, tries=3)
    assert placed.label.max() == 1
    assert (placed.label > 0).sum() == pytest.approx(100, abs=25)


@pytest.mark.parametrize(("area", "tolerance"), [(40.0, 0.06), (150.0, 0.02), (600.0, 0.02)])
def test_nuclei_cover_as_many_pixels_as_their_outline_is_large(area, tolerance):
    rng = np.random.RandomState(0)
    nuclei = NucleusDraw(np.full(200, area), np.full(200, 1.3), np.zeros(200, np.int64))
    outlines = draw_outlines(nuclei, rng.uniform(0, np.pi, 200), NucleusShape(), rng)
    covered = [own_area(outline + 40 + rng.uniform(size=2), (80, 80)) for outline in outlines]
    assert np.mean(covered) == pytest.approx(area, rel=tolerance)


def test_nothing_to_place_is_an_empty_patch():
    placed = place([], size=(12, 17))
    assert placed.label.shape == (12, 17)
    assert not placed.label.any()
    assert placed.index.dtype == np.int64


def test_limits_are_checked():
    with pytest.raises(ValueError, match=r"max_overlap must lie in \[0, 1\], got 1.5"):
        place([], max_overlap=1.5)
    with pytest.raises(ValueError, match="at most 65535 nuclei, got 65536"):
        place_nuclei([box(3, 3)] * 65536, lambda waiting: [], (8, 8), 0.1, 1.0, 1)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), max_overlap=st.floats(0, 1), count=st.integers(1, 60))
def test_ids_are_contiguous_each_nucleus_is_one_piece_and_shows_its_share(seed, max_overlap, count):
    rng = np.random.RandomState(seed)
    nuclei = NucleusDraw(rng.uniform(5, 400, count), rng.uniform(1, 3, count), np.zeros(count, np.int64))
    outlines = draw_outlines(nuclei, rng.uniform(0, np.pi, count), NucleusShape((3, 12), (0, 1), (0, 0.5)), rng)
    proposed = {}

    def propose(waiting):
        proposed.update({int(i): outlines[i] + rng.uniform(-5, 105, 2) for i in waiting})
        return [proposed[int(i)] for i in waiting]

    placed = place_nuclei(outlines, propose, (100, 100), max_overlap, 4.0, tries=6)
    areas = np.bincount(placed.label.ravel(), minlength=len(placed.index) + 1)[1:]
    assert len(areas) == len(placed.index) == len(set(placed.index.tolist()))
    assert (areas > 0).all()
    for number, index in enumerate(placed.index, 1):
        assert cv2.connectedComponents((placed.label == number).astype(np.uint8), connectivity=4)[0] == 2
        outline = proposed[int(index)]
        if (outline > 1).all() and (outline < 98).all():
            assert areas[number - 1] >= (1 - max_overlap) * own_area(outline, (100, 100)) - 1e-9
