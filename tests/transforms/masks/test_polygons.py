import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleosynth.transforms.masks import (
    NucleusClass,
    NucleusDraw,
    NucleusPrior,
    NucleusShape,
    draw_nuclei,
    draw_outlines,
    polygon_area,
    round_corners,
)

SQUARE = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])
EVEN = NucleusShape(vertices=(12, 12), irregularity=(0, 0), spikiness=(0, 0), smooth=0)

shapes = st.builds(
    lambda low, more, irregularity, spikiness, smooth: NucleusShape(
        vertices=(low, low + more),
        irregularity=(min(irregularity), max(irregularity)),
        spikiness=(min(spikiness), max(spikiness)),
        smooth=smooth,
    ),
    st.integers(3, 20),
    st.integers(0, 8),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.tuples(st.floats(0, 5), st.floats(0, 5)),
    st.sampled_from([0.0, 0.5, 1.0]),
)


def nuclei_of(area, elongation, count):
    return NucleusDraw(np.full(count, area), np.full(count, elongation), np.zeros(count, np.int64))


def moments_ratio(polygon):
    """Ratio of the axes of a polygon, from the second moments of its area about its centroid."""
    x, y = (polygon - polygon.mean(axis=0)).T
    following_x, following_y = np.roll(x, -1), np.roll(y, -1)
    cross = x * following_y - following_x * y
    xx = (cross * (x**2 + x * following_x + following_x**2)).sum() / 12
    yy = (cross * (y**2 + y * following_y + following_y**2)).sum() / 12
    xy = (cross * (x * following_y + 2 * x * y + 2 * following_x * following_y + following_x * y)).sum() / 24
    low, high = np.linalg.eigvalsh([[xx, xy], [xy, yy]])
    return np.sqrt(high / low)


def test_shoelace_of_known_polygons():
    assert polygon_area(SQUARE) == 16
    assert polygon_area(SQUARE[::-1]) == -16
    assert polygon_area(np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]])) == 6
    np.testing.assert_array_equal(polygon_area(np.stack([SQUARE, 2 * SQUARE, SQUARE + 7])), [16, 64, 16])


def test_chaikin_cuts_a_square_to_the_known_octagon():
    octagon = round_corners(SQUARE, rounds=1)
    np.testing.assert_array_equal(octagon, [[1, 0], [3, 0], [4, 1], [4, 3], [3, 4], [1, 4], [0, 3], [0, 1]])
    assert polygon_area(octagon) == 14
    assert round_corners(SQUARE, rounds=0) is SQUARE
    assert round_corners(np.stack([SQUARE] * 5), rounds=2).shape == (5, 16, 2)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    shape=shapes,
    area=st.floats(1, 5000),
    elongation=st.floats(1, 6),
    angle=st.floats(-10, 10),
    seed=st.integers(0, 2**32 - 1),
)
def test_outlines_have_exactly_the_area_asked_for_and_hold_their_centre(shape, area, elongation, angle, seed):
    nuclei = nuclei_of(area, elongation, 12)
    outlines = draw_outlines(nuclei, np.full(12, angle), shape, np.random.RandomState(seed))
    assert len(outlines) == 12
    low, high = shape.vertices
    for outline in outlines:
        assert outline.ndim == 2
        assert outline.shape[1] == 2
        assert np.isfinite(outline).all()
        assert len(outline) in range(low, high + 1) or len(outline) in range(4 * low, 4 * high + 1, 4)
        assert polygon_area(outline) == pytest.approx(area, rel=1e-6)
        if len(outline) <= high and shape.smooth == 0:
            # Seen from its centre every edge runs the same way: the polygon does not cross itself.
            x, y = outline.T
            assert (x * np.roll(y, -1) - np.roll(x, -1) * y > -1e-9).all()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(elongation=st.floats(1.0, 5.0), angle=st.floats(0, np.pi))
def test_an_even_outline_has_the_elongation_and_the_direction_asked_for(elongation, angle):
    (outline,) = draw_outlines(nuclei_of(100.0, elongation, 1), np.array([angle]), EVEN, np.random.RandomState(0))
    assert moments_ratio(outline) == pytest.approx(elongation, rel=1e-6)
    if elongation > 1.2:
        x, y = np.linalg.svd(outline - outline.mean(axis=0), full_matrices=False)[2][0]
        assert np.cos(2 * (np.arctan2(y, x) - angle)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("smooth", "corners"), [(0.0, 12), (1.0, 48)])
def test_smooth_nuclei_have_their_corners_rounded(smooth, corners):
    shape = NucleusShape(vertices=(12, 12), smooth=smooth)
    outlines = draw_outlines(nuclei_of(50.0, 1.2, 6), np.zeros(6), shape, np.random.RandomState(0))
    assert {len(outline) for outline in outlines} == {corners}


def test_vertex_counts_take_the_whole_range():
    shape = NucleusShape(vertices=(5, 8), smooth=0)
    outlines = draw_outlines(nuclei_of(50.0, 1.2, 200), np.zeros(200), shape, np.random.RandomState(0))
    assert {len(outline) for outline in outlines} == {5, 6, 7, 8}


def test_spikes_and_unevenness_make_outlines_differ_from_ellipses():
    def departure(shape):
        outlines = draw_outlines(nuclei_of(np.pi, 1.0, 100), np.zeros(100), shape, np.random.RandomState(0))
        return np.mean([np.linalg.norm(outline, axis=1).std() for outline in outlines])

    calm = departure(NucleusShape(irregularity=(0, 0), spikiness=(0.02, 0.02), smooth=0))
    spiky = departure(NucleusShape(irregularity=(0, 0), spikiness=(0.2, 0.2), smooth=0))
    assert departure(EVEN) < 1e-9 < calm < 0.2 * spiky


def test_no_nuclei_give_no_outlines():
    nuclei = draw_nuclei(0, NucleusPrior(), 0.25, np.random.RandomState(0))
    assert len(nuclei.area) == len(nuclei.elongation) == len(nuclei.category) == 0
    assert draw_outlines(nuclei, np.zeros(0), NucleusShape(), np.random.RandomState(0)) == []


@pytest.mark.parametrize("mpp", [0.25, 0.5])
def test_without_spread_every_nucleus_is_the_median(mpp):
    prior = NucleusPrior(area=40, area_spread=0, elongation=1.5, elongation_spread=0)
    nuclei = draw_nuclei(20, prior, mpp, np.random.RandomState(0))
    np.testing.assert_allclose(nuclei.area, 40 / mpp**2)
    np.testing.assert_allclose(nuclei.elongation, 1.5)
    np.testing.assert_array_equal(nuclei.category, 0)


def test_sizes_are_log_normal_and_half_their_variance_is_shared():
    prior = NucleusPrior(area=40, area_spread=0.4)
    rng = np.random.RandomState(0)
    alone = np.log(draw_nuclei(20000, prior, 1.0, rng).area)
    assert np.exp(np.median(alone)) == pytest.approx(40, rel=0.02)
    assert alone.std() == pytest.approx(0.4, rel=0.03)
    field = rng.standard_normal(20000)
    clustered = np.log(draw_nuclei(20000, prior, 1.0, rng, field).area)
    assert clustered.std() == pytest.approx(0.4, rel=0.03)
    assert np.corrcoef(field, clustered)[0, 1] ** 2 == pytest.approx(0.5, abs=0.03)


def test_no_nucleus_is_shorter_than_wide():
    nuclei = draw_nuclei(1000, NucleusPrior(elongation=1.0, elongation_spread=0.5), 0.25, np.random.RandomState(0))
    assert nuclei.elongation.min() == 1
    assert nuclei.elongation.max() > 1.5


def test_classes_have_their_shares_and_follow_their_rules():
    classes = (
        NucleusClass("lymphocyte", share=0.3, diameter_um=(6.9, 7.1), roundness=(0.9, 1.0)),
        NucleusClass("fibroblast", share=0.5, diameter_um=(9.0, 12.0), roundness=(0.2, 0.4)),
    )
    nuclei = draw_nuclei(20000, NucleusPrior(), 0.25, np.random.RandomState(0), classes=classes)
    shares = np.bincount(nuclei.category, minlength=3) / 20000
    np.testing.assert_allclose(shares, [0.2, 0.3, 0.5], atol=0.015)
    diameter = 2 * np.sqrt(nuclei.area * 0.25**2 / np.pi)
    for number, rule in enumerate(classes, 1):
        chosen = nuclei.category == number
        assert diameter[chosen].min() >= rule.diameter_um[0] - 1e-9
        assert diameter[chosen].max() <= rule.diameter_um[1] + 1e-9
        assert 1 / nuclei.elongation[chosen].max() >= rule.roundness[0] - 1e-9
        assert 1 / nuclei.elongation[chosen].min() <= rule.roundness[1] + 1e-9


def test_classes_may_take_all_nuclei_and_not_more():
    half = NucleusClass("half", share=0.5, diameter_um=(5, 6))
    nuclei = draw_nuclei(500, NucleusPrior(), 0.25, np.random.RandomState(0), classes=(half, half))
    assert set(nuclei.category) == {1, 2}
    with pytest.raises(ValueError, match=r"must not add up to more than 1, got 1\.5"):
        draw_nuclei(5, NucleusPrior(), 0.25, np.random.RandomState(0), classes=(half, half, half))
