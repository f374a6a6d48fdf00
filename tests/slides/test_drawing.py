import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import binary_fill_holes
from skimage.measure import label as connected_pieces

from nucleosynth.postprocess import outline_nuclei
from nucleosynth.slides.drawing import fill_outlines, outline_edges


def drawn(rings, shape):
    vertices = np.concatenate([np.array(ring, float) for ring in rings])
    offsets = np.cumsum([0] + [len(ring) for ring in rings])
    edges, owner = outline_edges(vertices, offsets)
    return fill_outlines(edges, owner + 1, shape)


def test_a_triangle_by_hand():
    """Centres on an edge count as inside where it begins, from the left."""
    label = drawn([[(0, 3), (3, 0), (3, 3), (0, 3)]], (3, 4))
    assert label.tolist() == [[0, 0, 1, 0], [0, 1, 1, 0], [1, 1, 1, 0]]


def test_what_lies_outside_is_cut_and_the_later_covers_the_earlier():
    left = [(-5, -5), (2, -5), (2, 9), (-5, 9), (-5, -5)]
    right = [(1, 1), (9, 1), (9, 2), (1, 2), (1, 1)]
    assert drawn([left, right], (3, 4)).tolist() == [[1, 1, 0, 0], [1, 2, 2, 2], [1, 1, 0, 0]]


def test_no_outlines_are_background():
    assert not fill_outlines(np.empty((0, 4)), np.empty(0, np.int64), (2, 3)).any()


@given(arrays(np.uint8, (9, 11), elements=st.integers(0, 3)), st.sampled_from([0.1, 0.4]))
def test_outlines_of_a_label_image_draw_it_again(values, reach):
    """All shapes of nuclei, but for holes, which outlines do not have."""
    label = connected_pieces(values, background=0, connectivity=1)
    outlines = outline_nuclei(label, tolerance=0, reach=reach)
    for number, outline in enumerate(outlines, 1):
        again = drawn([outline.exterior.coords], label.shape)
        np.testing.assert_array_equal(again > 0, binary_fill_holes(label == number))
