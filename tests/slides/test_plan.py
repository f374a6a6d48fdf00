import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleosynth.slides.plan import Box, PlanSettings, owned, plan_slide

SMALL = PlanSettings(core=10, halo=3, window=8, stride=6)

sizes = st.tuples(st.integers(1, 60), st.integers(1, 60))


@st.composite
def plans(draw):
    window = draw(st.integers(1, 20))
    return PlanSettings(
        core=draw(st.integers(1, 30)), halo=draw(st.integers(0, 9)), window=window, stride=draw(st.integers(1, window))
    )


def test_a_tile_worked_out_by_hand():
    """Windows of 8 px start at multiples of 6; those that touch [7, 23) start at 0 (up to 8), 6, 12 and 18."""
    tile = plan_slide((30, 20), None, SMALL)[1]
    assert tile.core == Box(10, 0, 20, 10)
    assert tile.region == Box(7, 0, 23, 13)
    assert tile.windows == Box(0, -6, 26, 20)
    assert tile.windows.size == (26, 26)


@given(sizes, plans())
def test_cores_cover_the_slide_once(size, settings):
    count = np.zeros(size[::-1], int)
    for tile in plan_slide(size, None, settings):
        count[tile.core.top : tile.core.bottom, tile.core.left : tile.core.right] += 1
    assert (count == 1).all()


@given(sizes, plans(), st.data())
def test_each_centroid_has_one_owner(size, settings, data):
    positions = [data.draw(st.floats(0, side, exclude_max=True)) for side in size]
    x, y = (np.array([position]) for position in positions)
    assert sum(int(owned(x, y, tile.core)[0]) for tile in plan_slide(size, None, settings)) == 1


@given(sizes, plans())
def test_windows_are_all_that_touch_the_region_and_lie_on_one_lattice(size, settings):
    for tile in plan_slide(size, None, settings):
        for begin, end, start, stop in (
            (tile.windows.left, tile.windows.right, tile.region.left, tile.region.right),
            (tile.windows.top, tile.windows.bottom, tile.region.top, tile.region.bottom),
        ):
            starts = range(-settings.window * settings.stride, stop + settings.window, settings.stride)
            touching = [each for each in starts if each < stop and each + settings.window > start]
            assert (begin, end) == (touching[0], touching[-1] + settings.window)
            assert (end - begin - settings.window) % settings.stride == 0


def test_tiles_without_tissue_are_left_out_and_the_others_numbered_without_gaps():
    tissue = np.zeros((2, 3), bool)
    tissue[0, 0] = tissue[1, 2] = True
    tiles = plan_slide((30, 20), tissue, SMALL)
    assert [(tile.number, tile.core.left, tile.core.top) for tile in tiles] == [(0, 0, 0), (1, 20, 10)]


@given(sizes, plans(), st.integers(0, 10**6))
def test_every_pixel_of_tissue_lies_in_a_core(size, settings, seed):
    rng = np.random.default_rng(seed)
    tissue = rng.random(rng.integers(1, 12, 2)) < 0.3
    covered = np.zeros(size[::-1], bool)
    for tile in plan_slide(size, tissue, settings):
        covered[tile.core.top : tile.core.bottom, tile.core.left : tile.core.right] = True
    # The slide's pixel whose area the mask's pixel shows.
    rows = np.arange(size[1]) * tissue.shape[0] // size[1]
    columns = np.arange(size[0]) * tissue.shape[1] // size[0]
    assert covered[tissue[np.ix_(rows, columns)]].all()


def test_a_slide_without_tissue_has_no_tiles():
    assert plan_slide((30, 20), np.zeros((4, 4), bool), SMALL) == []


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
    with pytest.raises(ValueError, match=r"tissue must have shape \(h, w\)"):
        plan_slide((30, 20), np.zeros(shape, bool), SMALL)
