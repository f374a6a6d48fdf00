import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nucleosynth.transforms.targets import nucleus_targets

# Grains of single pixels, and blocks of four pixels a side, which have an inside where they touch.
grains = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3))
blocks = hnp.arrays(np.uint8, st.tuples(st.integers(1, 4), st.integers(1, 4)), elements=st.integers(0, 3))
labels = st.one_of(grains, blocks.map(lambda small: np.kron(small, np.ones((4, 4), np.uint8))))
cores = st.sampled_from([0.2, 0.5, 0.8, 1.0])


def disc(radius, size=101, centre=50):
    y, x = np.mgrid[:size, :size] - centre
    return (x**2 + y**2 <= radius**2).astype(np.int32)


def on_a_seam(label):
    """Pixels that have a pixel of another nucleus above, below, left or right."""
    padded = np.pad(label.astype(int), 1)
    middle = padded[1:-1, 1:-1]
    beside = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return (middle > 0) & np.any([(other > 0) & (other != middle) for other in beside], axis=0)


def test_a_square_by_hand():
    label = np.zeros((7, 7), np.int32)
    label[1:6, 1:6] = 4
    # Distances to the background are 1, 2 and 3 from the rim to the centre.
    for core, begin in ((0.3, 1), (0.5, 2), (0.6, 2), (0.7, 3), (1.0, 3)):
        expected = np.zeros((7, 7), np.uint8)
        expected[begin : 7 - begin, begin : 7 - begin] = 1
        targets = nucleus_targets(label, core)
        assert np.array_equal(targets[0], expected), core
        assert np.array_equal(targets[1], label > 0)
    assert targets.dtype == np.uint8


@pytest.mark.parametrize("radius", [10, 20, 40])
@pytest.mark.parametrize("core", [0.25, 0.5, 0.75])
def test_the_core_of_a_disc_is_a_disc_of_the_rest_of_its_radius(radius, core):
    detection = nucleus_targets(disc(radius), core)[0]
    assert np.sqrt(detection.sum() / np.pi) == pytest.approx((1 - core) * radius, abs=0.75)
    y, x = np.nonzero(detection)
    assert (y.mean(), x.mean()) == pytest.approx((50, 50))
    assert np.hypot(y - 50, x - 50).max() <= (1 - core) * radius + 1.5


def test_an_elongated_nucleus_has_an_elongated_core():
    label = np.zeros((40, 100), np.int32)
    label[10:30, 10:90] = 1
    y, x = np.nonzero(nucleus_targets(label)[0])
    assert (np.ptp(y) + 1, np.ptp(x) + 1) == pytest.approx((10, 70), abs=2)


def test_a_small_nucleus_has_a_core_of_its_own_scale():
    """The threshold is a share of each nucleus' own largest distance, not of the largest one in the patch."""
    label = disc(30)
    label[:8, :8] = 9
    detection = nucleus_targets(label)[0]
    assert detection[:8, :8].sum() > 4


def test_cores_of_touching_nuclei_stay_apart():
    label = np.zeros((30, 50), np.int32)
    label[5:25, 5:25], label[5:25, 25:45] = 1, 2
    targets = nucleus_targets(label, core=0.5)
    count, pieces = cv2.connectedComponents(targets[0], connectivity=8)
    assert count == 3
    assert {*np.unique(label[pieces == 1]), *np.unique(label[pieces == 2])} == {1, 2}
    # Without the boundary between them both would be one nucleus, with one core right where they touch.
    assert cv2.connectedComponents(nucleus_targets((label > 0).astype(int))[0])[0] == 2
    assert targets[0, :, 24:26].sum() == 0
    assert targets[1, 5:25, 5:45].all()


def test_the_border_of_the_patch_is_no_boundary():
    """Cut through its centre, a nucleus has the core that it would have as a whole."""
    whole = disc(20)
    targets = nucleus_targets(whole)
    for cut in ((slice(50, None), slice(None)), (slice(None), slice(50, None)), (slice(0, 51), slice(0, 51))):
        part = nucleus_targets(np.ascontiguousarray(whole[cut]))
        assert np.array_equal(part, targets[(slice(None), *cut)])
    assert nucleus_targets(np.ascontiguousarray(whole[50:]))[0, 0].any()


def test_a_nucleus_larger_than_the_patch_is_all_core():
    assert nucleus_targets(np.full((5, 8), 3, np.int32)).all()


def test_without_a_nucleus_both_maps_are_empty():
    targets = nucleus_targets(np.zeros((5, 8), np.uint16))
    assert targets.shape == (2, 5, 8)
    assert not targets.any()


@pytest.mark.parametrize(
    "label",
    [
        [[0, 0, 0], [0, 7, 0], [0, 0, 0]],
        [[1, 2], [3, 4]],
        [[0, 0, 0, 0], [5, 5, 5, 5], [0, 0, 0, 0]],
        [[1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]],
    ],
    ids=["one pixel", "four single pixels that touch", "a line", "lines that touch"],
)
@pytest.mark.parametrize("core", [0.5, 1.0])
def test_nuclei_as_thin_as_a_pixel_are_their_own_cores(label, core):
    label = np.array(label)
    targets = nucleus_targets(label, core)
    assert np.array_equal(targets[0], label > 0)
    assert np.array_equal(targets[1], label > 0)


@settings(deadline=None, derandomize=True)
@given(labels, cores)
def test_every_nucleus_has_a_core_within_itself(label, core):
    detection, segmentation = nucleus_targets(label, core)
    assert np.array_equal(segmentation, label > 0)
    assert not (detection & ~segmentation & 1).any()
    assert set(label[detection > 0]) == set(label[label > 0])


@settings(deadline=None, derandomize=True)
@given(labels, cores)
def test_cores_touch_only_where_nuclei_are_nothing_but_seam(label, core):
    seam = on_a_seam(label)
    thick = np.isin(label, np.unique(label[(label > 0) & ~seam]))
    detection = nucleus_targets(label, core)[0] > 0
    assert not (detection & seam & thick).any()


@settings(deadline=None, derandomize=True)
@given(labels, cores)
def test_turning_and_mirroring_the_label_turns_and_mirrors_the_maps(label, core):
    targets = nucleus_targets(label, core)
    for move in (np.rot90, np.fliplr, np.transpose):
        moved = nucleus_targets(np.ascontiguousarray(move(label)), core)
        assert np.array_equal(moved, np.stack([move(each) for each in targets]))


@settings(deadline=None, derandomize=True)
@given(labels, cores, st.permutations([1, 2, 3]), st.integers(0, 60_000))
def test_which_ids_the_nuclei_have_does_not_matter(label, core, order, offset):
    numbers = np.array([0, *(offset + number for number in order)])
    assert np.array_equal(nucleus_targets(numbers[label], core), nucleus_targets(label, core))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_any_type_of_integer_will_do(dtype):
    label = disc(20) * 200
    assert np.array_equal(nucleus_targets(label.astype(dtype)), nucleus_targets(label))


@pytest.mark.parametrize("core", [0, -0.5, 1.01, float("nan")])
def test_a_core_out_of_range_is_refused(core):
    with pytest.raises(ValueError, match=rf"core must lie in \(0, 1\], got {core}"):
        nucleus_targets(disc(5), core)
