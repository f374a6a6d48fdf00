import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleosynth.transforms.stain import (
    MACENKO_TARGET,
    MacenkoStatistics,
    apply_macenko,
    fit_macenko,
    rgb_to_od,
    scale_stains,
)

HAEMATOXYLIN, EOSIN = (0.65, 0.70, 0.29), (0.20, 0.86, 0.47)


def unit(vector):
    return np.asarray(vector) / np.linalg.norm(vector)


def mix(haematoxylin, eosin, amounts):
    """Light through two stains, uint8, shape (N, 3): amounts of shape (N, 2) along the unit vectors."""
    od = amounts @ np.stack([unit(haematoxylin), unit(eosin)])
    return np.rint(255 * np.exp(-od)).astype(np.uint8)


def amounts_of_tissue(seed, count=20000):
    """Nuclei that are almost haematoxylin alone, a ground that is almost eosin alone, and mixtures of both."""
    rng = np.random.default_rng(seed)
    nuclei = np.column_stack([rng.uniform(0.3, 1.2, count), np.zeros(count)])
    ground = np.column_stack([np.zeros(count), rng.uniform(0.3, 0.9, count)])
    both = rng.uniform(0.2, 0.6, (count, 2))
    return np.concatenate([nuclei, ground, both])


vectors = st.tuples(
    st.tuples(st.floats(0.5, 0.75), st.just(0.7), st.floats(0.25, 0.45)),
    st.tuples(st.floats(0.05, 0.25), st.just(0.85), st.floats(0.3, 0.55)),
)


def test_two_pixels_by_hand():
    # Each is one stain alone: the vectors are their directions, the maxima (no interpolation at 0 %) their lengths.
    pixels = np.array([[100, 90, 170], [220, 120, 160]] * 200, np.uint8)
    found = fit_macenko(pixels, alpha=0)
    od = -np.log(pixels[:2] / 255)
    np.testing.assert_allclose(found.stains, [unit(od[0]), unit(od[1])], atol=1e-5)
    np.testing.assert_allclose(found.maxima, np.linalg.norm(od, axis=1), rtol=1e-4)


@settings(deadline=None, max_examples=25)
@given(stains=vectors, seed=st.integers(0, 1000))
def test_stains_of_a_mixture_are_found_haematoxylin_first(stains, seed):
    amounts = amounts_of_tissue(seed)
    found = fit_macenko(np.random.default_rng(seed).permutation(mix(*stains, amounts)))
    for vector, truth in zip(found.stains, stains, strict=True):
        assert np.dot(vector, unit(truth)) > np.cos(np.deg2rad(1.0))
    np.testing.assert_allclose(found.maxima, np.percentile(amounts, 99, axis=0), rtol=0.03)


def test_the_order_does_not_depend_on_how_much_of_each_there_is():
    for shares in ((10, 1), (1, 10)):
        pixels = np.concatenate(
            [
                np.repeat(mix(HAEMATOXYLIN, EOSIN, np.array([[0.8, 0.0]])), 100 * shares[0], axis=0),
                np.repeat(mix(HAEMATOXYLIN, EOSIN, np.array([[0.0, 0.8]])), 100 * shares[1], axis=0),
            ]
        )
        found = fit_macenko(pixels)
        np.testing.assert_allclose(found.stains, [unit(HAEMATOXYLIN), unit(EOSIN)], atol=0.01)


def test_glass_does_not_turn_the_stains():
    pixels = mix(HAEMATOXYLIN, EOSIN, amounts_of_tissue(0))
    glass = np.random.default_rng(0).integers(235, 256, (60000, 3)).astype(np.uint8)
    found = fit_macenko(np.concatenate([pixels, glass]))
    np.testing.assert_allclose(found.stains, fit_macenko(pixels).stains, atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(stains=vectors, seed=st.integers(0, 1000))
def test_its_own_statistics_change_nothing(stains, seed):
    own = MacenkoStatistics(stains, (1.2, 0.8))
    image = np.random.default_rng(seed).integers(1, 256, (40, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(apply_macenko(image, own, own), image)


@settings(deadline=None, max_examples=25)
@given(stains=vectors, seed=st.integers(0, 1000))
def test_statistics_become_the_target_s(stains, seed):
    pixels = mix(*stains, amounts_of_tissue(seed))
    result = fit_macenko(apply_macenko(pixels, fit_macenko(pixels)))
    np.testing.assert_allclose(result.stains, MACENKO_TARGET.stains, atol=0.02)
    np.testing.assert_allclose(result.maxima, MACENKO_TARGET.maxima, rtol=0.03)


def test_one_tissue_in_the_stains_of_two_laboratories_becomes_the_same():
    amounts = amounts_of_tissue(1)
    one, other = mix(HAEMATOXYLIN, EOSIN, amounts), mix((0.55, 0.7, 0.4), (0.1, 0.85, 0.35), amounts * (0.8, 1.3))
    one, other = (apply_macenko(pixels, fit_macenko(pixels)).astype(int) for pixels in (one, other))
    assert np.abs(one - other).mean() < 2
    assert np.abs(one - other).max() < 12


def test_phantom_tissue_in_two_stains_comes_together(tissue):
    restained = scale_stains(tissue[0], (1.25, 0.8, 1.0))
    one, other = (apply_macenko(each, fit_macenko(each.reshape(-1, 3))) for each in (tissue[0], restained))
    before = np.abs(restained.astype(int) - tissue[0]).mean()
    assert np.abs(one.astype(int) - other).mean() < 0.25 * before


@settings(deadline=None)
@given(cut=st.integers(1, 255), stains=vectors)
def test_a_piece_becomes_what_it_becomes_in_the_whole(tissue, cut, stains):
    source = MacenkoStatistics(stains, (1.3, 0.7))
    whole = apply_macenko(tissue[0], source)
    for part in (np.s_[:cut], np.s_[cut:], np.s_[:, :cut], np.s_[:, cut:], np.s_[cut // 2 : cut, ::3]):
        np.testing.assert_array_equal(apply_macenko(tissue[0][part], source), whole[part])


def test_concentrations_are_scaled_and_what_is_neither_stain_is_kept():
    source, target = MacenkoStatistics((HAEMATOXYLIN, EOSIN), (1.0, 1.0)), MACENKO_TARGET
    normal = source.basis()[:, 2]
    image = np.rint(255 * np.exp(-(0.5 * unit(HAEMATOXYLIN) + 0.4 * unit(EOSIN) + 0.1 * normal))).astype(np.uint8)
    od = rgb_to_od(apply_macenko(image[None, None], source, target))[0, 0]
    expected = np.linalg.solve(target.basis(), od)
    np.testing.assert_allclose(expected, [0.5 * 1.9705, 0.4 * 1.0308, 0.1], atol=0.03)


def test_white_stays_white():
    white = np.full((3, 5, 3), 255, np.uint8)
    np.testing.assert_array_equal(apply_macenko(white, MacenkoStatistics((HAEMATOXYLIN, EOSIN), (0.3, 2.0))), white)


def test_the_published_target():
    # Its columns, in the authors' program, are unit vectors to four digits.
    matrix = np.array([[0.5626, 0.2159], [0.7201, 0.8012], [0.4062, 0.5581]])
    np.testing.assert_allclose(np.transpose(MACENKO_TARGET.stains), matrix, atol=1e-4)
    assert MACENKO_TARGET.maxima == (1.9705, 1.0308)


@pytest.mark.parametrize("pixels", [np.zeros((0, 3), np.uint8), np.full((50, 3), 240, np.uint8)])
def test_no_tissue_is_refused(pixels):
    with pytest.raises(ValueError, match=r"there are no pixels of an optical density of 0.15"):
        fit_macenko(pixels)


@pytest.mark.parametrize("colour", [(0, 0, 0), (100, 100, 100), (180, 120, 160)])
def test_a_single_colour_is_refused(colour):
    with pytest.raises(ValueError, match="one colour only"):
        fit_macenko(np.tile(np.array(colour, np.uint8), (100, 1)))


def test_one_stain_in_many_strengths_is_refused():
    amounts = np.column_stack([np.linspace(0.3, 2, 500), np.zeros(500)])
    with pytest.raises(ValueError, match="one colour only"):
        fit_macenko(mix(HAEMATOXYLIN, EOSIN, amounts))


@pytest.mark.parametrize("alpha", [-1, 50])
def test_a_percentile_out_of_range_is_refused(alpha):
    with pytest.raises(ValueError, match=r"alpha must lie in \[0, 50\), got"):
        fit_macenko(np.zeros((5, 3), np.uint8), alpha=alpha)


def test_vectors_are_made_unit_and_lists_tuples():
    found = MacenkoStatistics([[2, 0, 0], [0, 3, 4]], [1, 2])
    assert found.stains == ((1.0, 0.0, 0.0), (0.0, 0.6, 0.8))
    assert found.maxima == (1.0, 2.0)
    np.testing.assert_allclose(found.basis(), [[1, 0, 0], [0, 0.6, -0.8], [0, 0.8, 0.6]])


@pytest.mark.parametrize(
    ("stains", "maxima", "message"),
    [
        (((1, 0, 0),), (1, 1), "stains must be two vectors of three finite values"),
        (((1, 0, 0), (0, 0, 0)), (1, 1), "stains must be two vectors of three finite values, not all 0"),
        (((1, 0, 0), (0, float("nan"), 0)), (1, 1), "stains must be two vectors of three finite values"),
        (((1, 1, 1), (2, 2, 2)), (1, 1), "stains must be two that differ"),
        (((1, 0, 0), (0, 1, 0)), (1, 0), "maxima must be two positive values"),
        (((1, 0, 0), (0, 1, 0)), (1,), "maxima must be two positive values"),
    ],
)
def test_statistics_that_are_none_are_refused(stains, maxima, message):
    with pytest.raises(ValueError, match=message):
        MacenkoStatistics(stains, maxima)
