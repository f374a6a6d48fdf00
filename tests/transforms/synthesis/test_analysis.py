import cv2
import numpy as np
import pytest

from nucleosynth.transforms.masks import NucleusPrior
from nucleosynth.transforms.stain import rgb_to_od, segment_nuclear_material
from nucleosynth.transforms.synthesis import FoundNuclei, analyze_tile
from nucleosynth.transforms.synthesis.pieces import _AREA_BIAS


def test_what_an_analysis_holds(tissue, tiles):
    for image, tile in zip(tissue, tiles, strict=True):
        np.testing.assert_array_equal(tile.image, image)
        assert tile.background.dtype == np.uint8
        assert tile.background.shape == image.shape
        assert tile.texture.dtype == np.float32
        assert tile.texture.shape == image.shape[:2]
        assert tile.chromatin.dtype == np.int8
        assert tile.chromatin.shape == image.shape
        assert tile.density_map.shape == (16, 16)  # cells of 4 µm
        assert tile.density_map.min() >= 0
        assert tile.density_map.mean() == pytest.approx(1, rel=1e-4)
        count = len(tile.colours.od)
        assert count > 0
        assert tile.colours.od.shape == (count, 3)
        assert len(tile.colours.contrast) == count
        assert tile.colours.hue.shape == tile.shade.shape == tile.lamp.shape == (3,)
        assert 0.6 <= tile.edge_sigma <= 5
        assert 0 < tile.prior.density < 20000
        assert tile.mpp == 0.25


def test_the_same_tile_gives_the_same_analysis(tissue, tiles):
    again, other = analyze_tile(tissue[0]), analyze_tile(tissue[0], seed=1)
    for name in ("background", "texture", "chromatin", "density_map", "shade"):
        np.testing.assert_array_equal(getattr(again, name), getattr(tiles[0], name))
    assert again.prior == tiles[0].prior == other.prior
    # The seed only says where the grain of the background comes from.
    assert not np.array_equal(other.background, tiles[0].background)
    np.testing.assert_array_equal(other.density_map, tiles[0].density_map)


def test_the_background_is_the_tile_away_from_nuclei(tissue, tiles):
    for image, tile in zip(tissue, tiles, strict=True):
        nuclei = segment_nuclear_material(image).super
        far = cv2.dilate(nuclei.astype(np.uint8), np.ones((17, 17), np.uint8)) == 0
        assert far.any()
        np.testing.assert_array_equal(tile.background[far], image[far])
        assert rgb_to_od(tile.background)[nuclei].mean() < 0.9 * rgb_to_od(image)[nuclei].mean()


def test_the_prior_of_discs(discs):
    image, truth = discs(4, radius=13)
    prior = analyze_tile(image).prior
    # Some more than Otsu's threshold finds are said to be there: it merges nuclei where they lie densely.
    assert 1 <= prior.density * (256 * 0.25e-3) ** 2 / 16 < 1.4
    # Otsu's threshold is taken to find nuclei larger than they are, so that these sharp discs come out smaller.
    assert prior.area * _AREA_BIAS == pytest.approx(truth.sum() / 16 * 0.25**2, rel=0.08)
    assert prior.elongation == pytest.approx(1, abs=0.05)
    assert prior.area_spread == 0.15  # the least
    assert prior.elongation_spread == 0.05


def test_the_prior_of_ellipses():
    image = np.full((256, 256, 3), (226, 160, 196), np.uint8)
    for y in range(24, 256, 42):
        for x in range(32, 256, 64):
            cv2.ellipse(image, (x, y), (20, 10), 0, 0, 360, (108, 74, 150), -1)
    prior = analyze_tile(cv2.GaussianBlur(image, (0, 0), 1)).prior
    assert prior.elongation == pytest.approx(2, rel=0.06)
    assert prior.area * _AREA_BIAS == pytest.approx(np.pi * 20 * 10 / 16, rel=0.08)


def test_the_same_tissue_at_half_the_resolution_has_the_same_prior(discs):
    image, _ = discs(4, radius=14)
    fine = analyze_tile(image, 0.25).prior
    coarse = analyze_tile(cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA), 0.5).prior
    assert coarse.density == pytest.approx(fine.density, rel=0.01)
    assert coarse.area == pytest.approx(fine.area, rel=0.08)


def test_nuclei_on_the_border_count_half(discs):
    image, _ = discs(2, radius=13, size=256)
    cut = image[64:]  # the upper two discs lose their upper half
    # Three nuclei on three quarters of the tile.
    assert analyze_tile(cut).prior.density == pytest.approx(analyze_tile(image).prior.density, rel=0.01)


def test_one_nucleus_has_the_default_sizes(discs):
    image, _ = discs(1)
    tile = analyze_tile(image)
    default = NucleusPrior()
    assert tile.prior.density * (256 * 0.25e-3) ** 2 == pytest.approx(1, rel=0.05)
    assert tile.prior.area * _AREA_BIAS == pytest.approx(default.area)
    assert tile.prior.elongation == default.elongation
    assert len(tile.colours.od) == 1


def test_colours_are_those_of_the_nuclei_from_pale_to_dark():
    image = np.full((200, 200, 3), (226, 160, 196), np.uint8)
    colours = [(90, 60, 140), (120, 90, 160), (105, 75, 150)]
    for (x, y), colour in zip([(50, 50), (150, 50), (100, 150)], colours, strict=True):
        cv2.circle(image, (x, y), 15, colour, -1)
    tile = analyze_tile(cv2.GaussianBlur(image, (0, 0), 0.8))
    expected = rgb_to_od(np.array([[colours[1], colours[2], colours[0]]], np.uint8))[0]
    np.testing.assert_allclose(tile.colours.od, expected, atol=0.01)
    assert tile.colours.contrast.max() < 0.02


def test_colours_are_those_of_the_nuclei_that_a_network_found():
    """Otsu's threshold takes all three discs for nuclei; one of them is none, for the network."""
    image = np.full((200, 200, 3), (226, 160, 196), np.uint8)
    label = np.zeros((200, 200), np.int32)
    nuclei = [((50, 50), (90, 60, 140)), ((100, 150), (105, 75, 150))]
    for number, (centre, colour) in enumerate(nuclei, 1):
        cv2.circle(image, centre, 15, colour, -1)
        cv2.circle(label, centre, 15, number, -1)
    cv2.circle(image, (150, 50), 15, (60, 20, 60), -1)
    image = cv2.GaussianBlur(image, (0, 0), 0.8)
    tile = analyze_tile(image, found=FoundNuclei(label, (label > 0).astype(np.float32)))
    assert len(analyze_tile(image).colours.od) == 3
    expected = rgb_to_od(np.array([[nuclei[1][1], nuclei[0][1]]], np.uint8))[0]
    np.testing.assert_allclose(tile.colours.od, expected, atol=0.01)
    # What may be a nucleus all the same does not stay in the background, where it would have no label.
    assert rgb_to_od(tile.background)[50, 150].mean() < 0.5 * rgb_to_od(image)[50, 150].mean()


@pytest.mark.parametrize("lamp", [1.0, 0.6])
def test_the_lamp_is_what_glass_shows(discs, lamp):
    image, _ = discs(3)
    image = image.copy()
    image[:, 200:] = 250
    image = np.rint(image * np.array([lamp, lamp, 0.9 * lamp])).astype(np.uint8)
    expected = rgb_to_od(image[:1, -1:])[0, 0]
    np.testing.assert_allclose(analyze_tile(image).lamp, expected, atol=0.005)


def test_the_density_map_is_high_where_nuclei_are():
    image = np.full((256, 256, 3), (226, 160, 196), np.uint8)
    for y in range(20, 256, 36):
        for x in (20, 56, 92):
            cv2.circle(image, (x, y), 12, (108, 74, 150), -1)
    density = analyze_tile(cv2.GaussianBlur(image, (0, 0), 0.8)).density_map
    assert density[:, :6].mean() > 3 * density[:, -6:].mean() > 0


def test_there_are_no_nuclei_on_glass(discs):
    image, _ = discs(3)
    image = image.copy()
    image[:, 128:] = 255
    density = analyze_tile(image).density_map
    assert not density[:, 9:].any()
    assert density[:, :8].min() > 0


@pytest.mark.parametrize("noise", [0, 7])
@pytest.mark.parametrize("blur", [1.0, 2.0, 3.0])
def test_the_blur_of_the_boundaries_is_measured_through_noise(blur, noise):
    image = np.full((200, 200, 3), (226, 160, 196), np.uint8)
    for x in (40, 100, 160):
        for y in (40, 100, 160):
            cv2.circle(image, (x, y), 15, (108, 74, 150), -1)
    soft = cv2.GaussianBlur(image, (0, 0), blur) + np.random.default_rng(0).normal(0, noise, image.shape)
    tile = analyze_tile(np.clip(np.rint(soft), 0, 255).astype(np.uint8))
    assert tile.edge_sigma == pytest.approx(blur, rel=0.3)


def test_a_gap_that_nuclei_enclose_is_no_chromatin():
    """Between four discs there is a bright gap, of some 19 µm², which is a hole in their mask."""
    image = np.full((192, 192, 3), (226, 160, 196), np.uint8)
    for x, y in ((73, 73), (119, 73), (73, 119), (119, 119)):
        cv2.circle(image, (x, y), 24, (108, 74, 150), -1)
    tile = analyze_tile(cv2.GaussianBlur(image, (0, 0), 1.0))
    assert np.abs(tile.chromatin.astype(int)).max() < 30


def test_pale_halos_and_dark_cytoplasm_are_told_apart():
    def shade(colour):
        image = np.full((200, 200, 3), (226, 160, 196), np.uint8)
        for x in (40, 100, 160):
            for y in (40, 100, 160):
                cv2.circle(image, (x, y), 20, colour, -1)
                cv2.circle(image, (x, y), 13, (108, 74, 150), -1)
        return analyze_tile(cv2.GaussianBlur(image, (0, 0), 0.8)).shade.mean()

    assert shade((245, 215, 235)) < shade((226, 160, 196)) < shade((195, 120, 175))


@pytest.mark.parametrize("shape", [(16, 16), (17, 33), (201, 300), (300, 40)])
@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (180, 180, 180), (226, 160, 196)])
def test_tiles_of_one_colour(shape, colour):
    image = np.empty((*shape, 3), np.uint8)
    image[:] = colour
    tile = analyze_tile(image)
    assert tile.prior.density == 0
    assert len(tile.colours.od) == 0
    np.testing.assert_array_equal(tile.background, tile.image)
    assert not tile.texture.any()
    assert np.isfinite(tile.density_map).all()
    # A nucleus may lie on pink and on black, not on white or grey glass.
    assert tile.density_map.any() == (colour[0] != colour[1] or colour[0] == 0)
    assert not tile.shade.any()


def test_a_tile_of_noise_does_not_fail():
    noise = np.random.default_rng(0).integers(0, 256, (101, 150, 3), dtype=np.uint8)
    for mpp in (0.25, 0.5, 2.0):
        tile = analyze_tile(noise, mpp)
        assert np.isfinite(tile.colours.od).all()
        assert np.isfinite(tile.edge_sigma)


@pytest.mark.parametrize(
    ("tile", "message"),
    [
        (np.zeros((32, 32), np.uint8), r"a tile must be uint8 with shape \(H, W, 3\), got uint8 \(32, 32\)"),
        (np.zeros((32, 32, 4), np.uint8), r"got uint8 \(32, 32, 4\)"),
        (np.zeros((32, 32, 3), np.float32), r"got float32 \(32, 32, 3\)"),
    ],
)
def test_what_is_no_tile_is_refused(tile, message):
    with pytest.raises(ValueError, match=message):
        analyze_tile(tile)


@pytest.mark.parametrize("mpp", [0, -1])
def test_a_scale_that_is_none_is_refused(plain, mpp):
    with pytest.raises(ValueError, match=f"mpp must be positive, got {mpp}"):
        analyze_tile(plain, mpp)
