import numpy as np
import pytest
import torch

from nucleosynth.data.images import read_image, write_png
from nucleosynth.data.taught import TaughtPatches
from nucleosynth.data.tileset import Tile
from nucleosynth.errors import InputError


@pytest.fixture
def tiles(tmp_path):
    """Two tiles, one of them four times as large; red and green are their own targets, blue is the tile's number."""
    tiles = []
    for number, side in enumerate((64, 128)):
        image = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
        image[..., 2] = 100 * number
        tile = Tile(tmp_path / "tiles" / f"{number}.png", f"tiles/{number}.png", "a")
        write_png(tile.path, image)
        tiles.append(tile)
    return tiles


def its_colours(tile):
    return read_image(tile.path)[..., :2].transpose(2, 0, 1) / 255


def test_pixels_and_targets_lie_on_each_other_in_every_orientation(tiles):
    patches = TaughtPatches(tiles, its_colours, 32, seed=3)
    for number in range(20):
        example = patches[number]
        assert example["image"].dtype == torch.uint8
        assert example["image"].shape == (3, 32, 32)
        assert example["target"].dtype == torch.float32
        assert torch.equal(example["target"] * 255, example["image"][:2].float())


def test_an_example_is_a_function_of_seed_and_number(tiles):
    first, again, other = (TaughtPatches(tiles, its_colours, 32, seed) for seed in (3, 3, 4))
    assert torch.equal(first[5]["image"], again[5]["image"])
    assert not torch.equal(first[5]["image"], first[6]["image"])
    assert not torch.equal(first[5]["image"], other[5]["image"])


def test_a_large_tile_is_seen_more_often(tiles):
    patches = TaughtPatches(tiles, its_colours, 32)
    large = sum(int(patches[number]["image"][2, 0, 0]) == 100 for number in range(200))
    assert 140 < large < 180  # Four of five, within two and a half standard deviations.


def test_a_tile_that_is_gone_is_an_error(tiles):
    tiles[0].path.unlink()
    with pytest.raises(InputError, match=r"0\.png"):
        TaughtPatches(tiles, its_colours, 32)
