import shutil

import numpy as np
import pytest
import torch
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import UNet

from nucleosynth.networks import from_uint8
from nucleosynth.slides.plan import PlanSettings, TissueMap, plan_slide
from nucleosynth.slides.prediction import TilePredictor, gains_from_bfloat16

PLAN = PlanSettings(core=100, halo=10, window=64, stride=48)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return UNet(2, 3, 2, [4, 8], [2], num_res_units=1, norm="instance").eval()


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (150, 230, 3), np.uint8)


def whole_map(image, tissue, plan, predictor):
    """Maps of a slide that is all in memory, tile by tile, each core's own part."""
    size = image.shape[1::-1]
    result = np.zeros((2, *image.shape[:2]), np.float32)
    for tile in plan_slide(size, tissue, plan):
        maps = predictor(image[tile.frame.top : tile.frame.bottom, tile.frame.left : tile.frame.right], tile)
        assert maps.shape == (2, *tile.region.size[::-1])
        assert maps.dtype == np.float32
        core = (tile.core.top, tile.core.bottom), (tile.core.left, tile.core.right)
        result[:, slice(*core[0]), slice(*core[1])] = maps[(slice(None), *tile.core.within(tile.region))]
    return result


def test_maps_are_those_of_monai(network, image):
    """On an image that is one tile, the same as MONAI's inferer, which the bundle's inference.yaml has."""
    predictor = TilePredictor(network, "cpu", 64, bfloat16=False, turns=1)
    maps = whole_map(image, None, PlanSettings(core=500, halo=0, window=64, stride=48), predictor)
    inferer = SlidingWindowInferer(64, overlap=0.25, mode="gaussian")
    with torch.inference_mode():
        expected = inferer(from_uint8(torch.from_numpy(image.transpose(2, 0, 1))[None]), network).sigmoid()[0]
    np.testing.assert_allclose(maps, expected, atol=1e-3)


@pytest.mark.parametrize(("core", "batch_size"), [(30, 8), (100, 1), (100, 5)])
def test_maps_depend_neither_on_tiles_nor_on_batches(network, image, core, batch_size):
    """Though the network normalises by all of its window."""
    whole = whole_map(image, None, PlanSettings(500, 0, 64, 48), TilePredictor(network, "cpu", 64, bfloat16=False))
    predictor = TilePredictor(network, "cpu", 64, batch_size, bfloat16=False)
    np.testing.assert_allclose(whole_map(image, None, PlanSettings(core, 10, 64, 48), predictor), whole, atol=2e-3)


@pytest.fixture
def threads():
    """PyTorch has three, whatever the tests were started with."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


def test_tiles_that_are_looked_at_together_have_the_maps_of_each_alone(network, image, threads):
    predictor = TilePredictor(network, "cpu", 64, batch_size=2, bfloat16=False)
    tiles = plan_slide(image.shape[1::-1], None, PLAN)
    frames = [image[tile.frame.top : tile.frame.bottom, tile.frame.left : tile.frame.right] for tile in tiles]
    pending = [predictor.start(frame, tile) for frame, tile in zip(frames, tiles, strict=True)]
    together = [each.result() for each in pending]
    assert all(each.ready() for each in pending)
    torch.set_num_threads(1)
    alone = TilePredictor(network, "cpu", 64, batch_size=2, bfloat16=False)
    for frame, tile, maps in zip(frames, tiles, together, strict=True):
        np.testing.assert_allclose(alone.start(frame, tile).result(), maps, atol=2e-3)


def test_what_goes_wrong_in_a_lane_arrives_with_the_maps(network, image, threads):
    (tile,) = plan_slide((64, 64), None, PLAN)
    network.register_forward_pre_hook(lambda module, inputs: 1 / 0)
    pending = TilePredictor(network, "cpu", 64).start(image[:64, :64], tile)
    with pytest.raises(ZeroDivisionError):
        pending.result()


def test_nothing_is_seen_where_there_is_no_tissue(network, image):
    tissue = TissueMap(np.array([[True, False, False]]), (230, 150))
    predictor = TilePredictor(network, "cpu", 64, bfloat16=False)
    everywhere, inside = whole_map(image, None, PLAN, predictor), whole_map(image, tissue, PLAN, predictor)
    # Tissue ends at 76.7; the last window that begins before it does so at 48.
    np.testing.assert_allclose(inside[..., :77], everywhere[..., :77], atol=2e-3)
    assert (inside[..., 112:] == 0).all()


def test_bfloat16_changes_little(network, image):
    maps = [whole_map(image, None, PLAN, TilePredictor(network, "cpu", 64, bfloat16=each)) for each in (True, False)]
    difference = np.abs(maps[0].astype(float) - maps[1])
    assert 0 < difference.max() < 0.05


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler, with which PyTorch compiles networks")
def test_a_compiled_network_sees_the_same(image):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 1))
    maps = [
        whole_map(image, None, PLAN, TilePredictor(network, "cpu", 64, bfloat16=False, compiled=compiled))
        for compiled in (False, True)
    ]
    np.testing.assert_allclose(maps[1], maps[0], atol=2e-3)


@pytest.mark.parametrize(("turns", "quarters"), [(1, [0]), (2, [0, 2]), (4, [0, 1, 2, 3])])
def test_logits_are_the_mean_over_all_orientations(network, image, turns, quarters):
    windows = torch.from_numpy(np.stack([image[:64, :64], image[60:124, 90:154]]))
    found = TilePredictor(network, "cpu", 64, bfloat16=False, turns=turns).logits(windows)
    with torch.inference_mode():
        looks = [network(from_uint8(torch.rot90(windows, each, (1, 2)).permute(0, 3, 1, 2))) for each in quarters]
    expected = sum(torch.rot90(look, -each, (2, 3)) for look, each in zip(looks, quarters, strict=True)) / turns
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_maps_of_a_tile_turn_with_it(network, image):
    """Seen from all sides, whichever side is up."""
    (tile,) = plan_slide((64, 64), None, PLAN)
    predictor = TilePredictor(network, "cpu", 64, bfloat16=False, turns=4)
    window = image[:64, :64]
    turned = predictor(np.ascontiguousarray(np.rot90(window)), tile)
    np.testing.assert_allclose(np.rot90(turned, -1, (1, 2)), predictor(window, tile), atol=1e-5)


def test_a_device_is_known_to_gain_or_not():
    assert isinstance(TilePredictor(torch.nn.Conv2d(3, 2, 1), "cpu", 64).bfloat16, bool)
    assert gains_from_bfloat16(torch.device("cpu")) == any(
        torch.cpu.get_capabilities().get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16")
    )


def test_a_batch_of_no_windows_is_refused(network):
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        TilePredictor(network, "cpu", 64, batch_size=0)


@pytest.mark.parametrize("turns", [0, 3, 8])
def test_other_numbers_of_orientations_are_refused(network, turns):
    with pytest.raises(ValueError, match=f"turns must be one of 1, 2, 4, got {turns}"):
        TilePredictor(network, "cpu", 64, turns=turns)
