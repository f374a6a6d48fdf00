import numpy as np
import pytest

from nucleosynth.transforms.texture import Distractors, DistractorSettings, draw_distractors, paint_distractors

MUCH = DistractorSettings(debris_per_mm2=(3000, 3000), shadows=3)


def draw(settings=MUCH, seed=0, size=(128, 200)):
    return draw_distractors(size, settings, np.random.RandomState(seed))


def test_nothing_is_drawn_where_nothing_is_asked_for():
    drawn = draw(DistractorSettings(debris_per_mm2=(0, 0), shadows=0))
    assert drawn.outlines == drawn.opacity == drawn.sigma == ()
    mask = np.zeros((20, 20), np.float32)
    assert paint_distractors(mask, drawn) is mask


def test_counts_follow_the_area():
    settings = DistractorSettings(debris_per_mm2=(2000, 2000), shadows=0)
    rng = np.random.RandomState(0)
    counts = [len(draw_distractors((200, 400), settings, rng).outlines) for _ in range(100)]
    assert np.mean(counts) == pytest.approx(2000 * 0.05 * 0.1, rel=0.1)


def test_shadows_are_up_to_the_largest_number():
    settings = DistractorSettings(debris_per_mm2=(0, 0), shadows=3)
    counts = {len(draw(settings, seed).outlines) for seed in range(60)}
    assert counts == {0, 1, 2, 3}


@pytest.mark.parametrize("mpp", [0.25, 0.5])
def test_sizes_are_in_micrometres(mpp):
    settings = DistractorSettings((20000, 20000), debris_radius_um=(1.0, 1.4), shadows=0, mpp=mpp)
    drawn = draw(settings)
    radius = [np.linalg.norm(outline - outline.mean(axis=0), axis=1).max() * mpp for outline in drawn.outlines]
    assert 0.6 < min(radius) < max(radius) < 1.4 * 1.2 + 0.6
    assert np.mean(radius) == pytest.approx(1.2, abs=0.3)


def test_painting_only_adds():
    mask = np.random.default_rng(0).uniform(0, 1, (128, 200)).astype(np.float32)
    before = mask.copy()
    painted = paint_distractors(mask, draw())
    assert painted.dtype == np.float32
    assert painted.shape == mask.shape
    assert (painted >= mask).all()
    assert painted.max() <= 1
    assert (painted > mask).any()
    np.testing.assert_array_equal(mask, before)


def test_one_square_by_hand():
    square = np.array([[8.0, 5.0], [12.0, 5.0], [12.0, 9.0], [8.0, 9.0]])
    painted = paint_distractors(np.zeros((20, 30), np.float32), Distractors((square,), (0.6,), (0.3,)))
    assert painted[7, 10] == pytest.approx(0.6, abs=0.01)
    assert painted.sum() == pytest.approx(0.6 * 25, rel=0.01)
    assert not painted[:, 16:].any()


@pytest.mark.parametrize("shift", [(-10, 0), (25, 0), (0, -8), (0, 15), (-1000, 1000)])
def test_distractors_on_and_beyond_the_border(shift):
    square = np.array([[8.0, 5.0], [12.0, 5.0], [12.0, 9.0], [8.0, 9.0]]) + shift
    painted = paint_distractors(np.zeros((20, 30), np.float32), Distractors((square,), (0.6,), (1.0,)))
    assert painted.shape == (20, 30)
    assert painted.max() <= 0.6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"debris_per_mm2": (-1, 5)}, r"debris_per_mm2 must be a range of non-negative values, got \(-1, 5\)"),
        ({"debris_per_mm2": (9, 5)}, "debris_per_mm2 must be a range of non-negative values"),
        ({"debris_radius_um": (0, 1)}, r"debris_radius_um must be a range of positive values, got \(0, 1\)"),
        ({"shadow_radius_um": (3, 2)}, r"shadow_radius_um must be a range of positive values, got \(3, 2\)"),
        ({"shadows": -1}, "shadows must not be negative, got -1"),
        ({"mpp": 0.0}, "mpp must be positive, got 0.0"),
    ],
)
def test_settings_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DistractorSettings(**arguments)
