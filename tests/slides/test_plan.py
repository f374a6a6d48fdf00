import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.utils import dense_patch_slices

from nucleosynth.slides.plan import Box, PlanSettings, TissueMap, owned, plan_slide

SMALL = PlanSettings(core=10, halo=3, window=8, stride=6)

# Tiles of one pixel with windows a pixel apart are many.
unhurried = settings(deadline=None)
sizes = st.tuples(st.integers(1, 60), st.integers(1, 60))


@st.composite
def plans(draw):
    window = draw(st.integers(1, 20))
    return PlanSettings(
        core=draw(st.integers(1, 30)), halo=draw(st.integers(0, 9)), window=window, stride=draw(st.integers(1, window))
    )


def test_a_tile_worked_out_by_hand():
    """Windows of 8 px start at multiples of 6, the last at 22 and 12, and those that touch [7, 23) x [0, 13) count."""
    tile = plan_slide((30, 20), None, SMALL)[1]
    assert tile.core == Box(10, 0, 20, 10)
    assert tile.region == Box(7, 0, 23, 13)
    assert [window for window in tile.windows if window.top == 0] == [Box(x, 0, x + 8, 8) for x in (0, 6, 12, 18, 22)]
    assert sorted({window.top for window in tile.windows}) == [0, 6, 12]
    assert tile.frame == Box(0, 0, 30, 20)
    assert tile.frame.size == (30, 20)


@unhurried
@given(sizes, plans())
def test_cores_cover_the_slide_once(size, plan):
    count = np.zeros(size[::-1], int)
    for tile in plan_slide(size, None, plan):
        count[tile.core.top : tile.core.bottom, tile.core.left : tile.core.right] += 1
    assert (count == 1).all()


@unhurried
@given(sizes, plans(), st.data())
def test_each_centroid_has_one_owner(size, plan, data):
    positions = [data.draw(st.floats(0, side, exclude_max=True)) for side in size]
    x, y = (np.array([position]) for position in positions)
    assert sum(int(owned(x, y, tile.core)[0]) for tile in plan_slide(size, None, plan)) == 1


@unhurried
@given(sizes, plans())
def test_windows_of_all_tiles_are_one_lattice_that_covers_the_slide(size, plan):
    """No pixel of a region is unseen; a window that one tile has is another's too where it touches its region."""
    tiles = plan_slide(size, None, plan)
    lattice = {window for tile in tiles for window in tile.windows}
    for tile in tiles:
        seen = np.zeros(size[::-1], bool)
        for window in tile.windows:
            assert window.size == (plan.window, plan.window)
            assert min(window.left, window.top) >= 0
            assert all(
                end <= max(side, plan.window) for end, side in zip((window.right, window.bottom), size, strict=True)
            )
            seen[window.top : window.bottom, window.left : window.right] = True
        assert seen[tile.region.top : tile.region.bottom, tile.region.left : tile.region.right].all()
        assert set(tile.windows) == {window for window in lattice if overlap(window, tile.region)}
        assert tile.frame.left == min(window.left for window in tile.windows)
        assert tile.frame.bottom == max(window.bottom for window in tile.windows)


def overlap(one, other):
    return one.left < other.right and other.left < one.right and one.top < other.bottom and other.top < one.bottom


@unhurried
@given(sizes, plans(), st.integers(0, 10**6))
def test_only_windows_without_tissue_are_left_out(size, plan, seed):
    rng = np.random.default_rng(seed)
    tissue = TissueMap(rng.random(rng.integers(1, 6, 2)) < 0.3, size)
    every = {tile.core: tile for tile in plan_slide(size, None, plan)}
    for tile in plan_slide(size, tissue, plan):
        whole = every[tile.core]
        assert (tile.region, tile.frame) == (whole.region, whole.frame)
        assert tile.windows == tuple(window for window in whole.windows if tissue.touches(window))


def test_windows_are_those_of_monai():
    """Its inferer takes the same windows of an image that is one tile."""
    plan = PlanSettings(core=1000, halo=0, window=64, stride=48)
    (tile,) = plan_slide((300, 200), None, plan)
    slices = dense_patch_slices((200, 300), (64, 64), (48, 48))
    assert [(window.top, window.left) for window in tile.windows] == [(y.start, x.start) for y, x in slices]


def test_a_slide_smaller_than_a_window_has_one_window():
    (tile,) = plan_slide((5, 30), None, SMALL.__class__(core=50, halo=3, window=8, stride=6))
    assert tile.region == Box(0, 0, 5, 30)
    assert {window.left for window in tile.windows} == {0}
    assert tile.frame == Box(0, 0, 8, 30)


def test_where_tissue_is():
    """A mask of 3 x 2 pixels over a slide of 30 x 20: a pixel of the mask is 10 x 10 of the slide."""
    tissue = TissueMap(np.array([[True, False, False], [False, False, True]]), (30, 20))
    x, y = np.array([0.0, 9.9, 10.0, 29.9, 31.0, -1.0]), np.array([0.0, 9.9, 5.0, 19.9, 25.0, 0.0])
    assert tissue.contains(x, y).tolist() == [True, True, False, True, True, True]
    assert tissue.touches(Box(9, 0, 12, 4))
    assert not tissue.touches(Box(10, 0, 30, 10))
    assert tissue.touches(Box(-5, -5, 1, 1))
    assert tissue.touches(Box(10, 10, 21, 11))
    assert tissue.touches(Box(25, 15, 64, 64))


def test_tiles_without_tissue_are_left_out_and_the_others_numbered_without_gaps():
    tissue = np.zeros((2, 3), bool)
    tissue[0, 0] = tissue[1, 2] = True
    tiles = plan_slide((30, 20), TissueMap(tissue, (30, 20)), SMALL)
    assert [(tile.number, tile.core.left, tile.core.top) for tile in tiles] == [(0, 0, 0), (1, 20, 10)]


@unhurried
@given(sizes, plans(), st.integers(0, 10**6))
def test_every_pixel_of_tissue_lies_in_a_core(size, plan, seed):
    rng = np.random.default_rng(seed)
    tissue = rng.random(rng.integers(1, 12, 2)) < 0.3
    covered = np.zeros(size[::-1], bool)
    for tile in plan_slide(size, TissueMap(tissue, size), plan):
        covered[tile.core.top : tile.core.bottom, tile.core.left : tile.core.right] = True
    # The slide's pixel whose area the mask's pixel shows.
    rows = np.arange(size[1]) * tissue.shape[0] // size[1]
    columns = np.arange(size[0]) * tissue.shape[1] // size[0]
    assert covered[tissue[np.ix_(rows, columns)]].all()


def test_a_slide_without_tissue_has_no_tiles():
    assert plan_slide((30, 20), TissueMap(np.zeros((4, 4), bool), (30, 20)), SMALL) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"core": 0}, "core must be positive, got 0"),
        ({"window": 0}, "window must be positive, got 0"),
        ({"stride": 0}, "stride must be positive, got 0"),
        ({"halo": -1}, "halo must not be negative, got -1"),
        ({"window": 128, "stride": 129}, "stride must be at most the window of 128 px, got 129"),
    ],
)
def test_settings_out_of_range_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        PlanSettings(**values)


def test_a_slide_without_pixels_is_refused():
    with pytest.raises(ValueError, match="a slide must have pixels, got 0x20"):
        plan_slide((0, 20), None, SMALL)


@pytest.mark.parametrize("shape", [(4,), (0, 3), (1, 4, 4)])
def test_a_mask_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"mask must have shape \(h, w\)"):
        TissueMap(np.zeros(shape, bool), (30, 20))
