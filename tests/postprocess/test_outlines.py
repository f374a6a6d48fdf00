import cv2
import numpy as np
import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import binary_fill_holes
from skimage.measure import label as connected_pieces

from nucleosynth.postprocess import outline_nuclei


def polygon(*vertices):
    return shapely.normalize(shapely.Polygon(vertices))


def pixels_inside(outline, shape):
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    return shapely.contains_xy(outline, columns, rows)


@st.composite
def labels(draw):
    """Nuclei of all shapes, touching, with holes, one pixel wide, across the border; ids in no order of place."""
    pieces = connected_pieces(draw(arrays(np.uint8, (9, 11), elements=st.integers(0, 3))), background=0, connectivity=1)
    return np.append(0, draw(st.permutations(range(1, pieces.max() + 1)))).astype(np.int32)[pieces]


def test_the_outline_of_one_pixel_is_a_diamond_around_its_centre():
    label = np.zeros((4, 5), np.int32)
    label[1, 2] = 1
    expected = polygon((2.5, 1), (3, 1.5), (2.5, 2), (2, 1.5))
    assert shapely.normalize(outline_nuclei(label)[0]) == expected


def test_an_outline_runs_halfway_to_the_pixels_outside():
    """Two by three pixels, worked out by hand: straight along the sides, cut across the corners."""
    label = np.zeros((5, 6), np.int32)
    label[1:3, 2:5] = 1
    expected = polygon((2.5, 1), (4.5, 1), (5, 1.5), (5, 2.5), (4.5, 3), (2.5, 3), (2, 2.5), (2, 1.5))
    assert shapely.normalize(outline_nuclei(label)[0]) == expected


@given(labels())
def test_an_unsimplified_outline_holds_the_nucleus_its_holes_and_no_other_pixel(label):
    outlines = outline_nuclei(label, tolerance=0)
    assert len(outlines) == label.max()
    for number, outline in enumerate(outlines, 1):
        np.testing.assert_array_equal(pixels_inside(outline, label.shape), binary_fill_holes(label == number))


@given(labels(), st.sampled_from([0, 0.25]))
def test_outlines_are_valid(label, tolerance):
    assert shapely.is_valid(outline_nuclei(label, tolerance)).all()


# Around pixel (7, 8) the vertex at which the outline begins is dropped after its neighbours.
BEGINS_AT_A_CORNER = np.ones((9, 11), np.int32)
BEGINS_AT_A_CORNER[6:, 8] = BEGINS_AT_A_CORNER[7, 7:] = 0
BEGINS_AT_A_CORNER[8, 6] = 0
BEGINS_AT_A_CORNER[7, 8] = BEGINS_AT_A_CORNER[8, 7:] = 2


@given(labels())
@example(BEGINS_AT_A_CORNER)
def test_no_vertex_moves_by_more_than_the_tolerance(label):
    exact, simple = outline_nuclei(label, tolerance=0), outline_nuclei(label, tolerance=0.25)
    assert (shapely.hausdorff_distance(exact, simple) <= 0.25).all()
    assert (shapely.get_num_coordinates(simple) <= shapely.get_num_coordinates(exact)).all()


def test_touching_nuclei_share_their_edge():
    label = np.zeros((8, 12), np.int32)
    label[1:7, 1:6], label[1:7, 6:11] = 2, 1
    left, right = outline_nuclei(label)[::-1]
    assert left.intersection(right).area == 0
    assert left.intersection(right).length == 5


@given(labels(), st.sampled_from([0.1, 0.4]))
def test_an_outline_that_reaches_less_far_is_filled_as_the_nucleus(label, reach):
    """OpenCV, in sixteenths of a pixel, fills the pixels of the nucleus and its holes, and none beside."""
    for number, outline in enumerate(outline_nuclei(label, tolerance=0, reach=reach), 1):
        drawn = np.zeros(label.shape, np.uint8)
        vertices = np.rint((shapely.get_coordinates(outline) - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(drawn, [vertices], 1, shift=4)
        np.testing.assert_array_equal(drawn, binary_fill_holes(label == number))


def test_a_shorter_reach_worked_out_by_hand():
    label = np.zeros((4, 5), np.int32)
    label[1, 2] = 1
    expected = polygon((2.5, 1.25), (2.75, 1.5), (2.5, 1.75), (2.25, 1.5))
    assert shapely.normalize(outline_nuclei(label, tolerance=0, reach=0.25)[0]) == expected


@pytest.mark.parametrize("reach", [0, 0.6])
def test_a_reach_out_of_range_is_refused(reach):
    with pytest.raises(ValueError, match=r"reach must lie in \(0, 0.5\]"):
        outline_nuclei(np.zeros((4, 4), int), reach=reach)


def test_an_image_without_nuclei_has_no_outlines():
    assert outline_nuclei(np.zeros((4, 4), np.uint16)).shape == (0,)


def test_a_nucleus_in_two_pieces_is_refused():
    label = np.zeros((5, 5), np.int32)
    label[0, 0], label[2, 2], label[4, 4] = 1, 2, 2
    with pytest.raises(ValueError, match="each in one piece: nucleus 2 is in 2"):
        outline_nuclei(label)


def test_ids_with_a_gap_are_refused():
    with pytest.raises(ValueError, match="each in one piece: nucleus 1 is in 0"):
        outline_nuclei(np.full((3, 3), 2))


@pytest.mark.parametrize("label", [np.zeros(4, int), np.zeros((1, 4, 4), int)])
def test_other_than_two_dimensions_are_refused(label):
    with pytest.raises(ValueError, match=r"label must have shape \(H, W\)"):
        outline_nuclei(label)


def test_a_negative_tolerance_is_refused():
    with pytest.raises(ValueError, match="tolerance must not be negative, got -1"):
        outline_nuclei(np.zeros((4, 4), int), tolerance=-1)
