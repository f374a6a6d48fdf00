import json
import shutil

import numpy as np
import pytest
from PIL import Image

from nucleosynth.data.images import write_png
from nucleosynth.data.tileset import load_tiles
from nucleosynth.errors import InputError


def test_every_image_of_a_folder_is_a_tile_of_its_folders_type(phantom_tiles):
    tiles = load_tiles(phantom_tiles, size=128)
    assert [tile.name for tile in tiles.tiles] == [
        "liver/0.png", "liver/1.png", "liver/2.png", "skin/0.png", "skin/1.png",
    ]  # fmt: skip
    assert {tile.type for tile in tiles.tiles} == {"liver", "skin"}
    assert tiles.mpp == 0.25
    assert tiles.blank == ()


def test_images_right_in_the_folder_are_of_its_own_type(phantom_tiles):
    assert {tile.type for tile in load_tiles(phantom_tiles / "skin", size=128).tiles} == {"skin"}


@pytest.fixture
def sampled(tmp_path, phantom_tiles):
    """A folder as ``nucleosynth tiles`` writes it, at 0.5 µm/px."""
    shutil.copytree(phantom_tiles, tmp_path / "tiles")
    (tmp_path / "tiles.csv").write_text("file,type,slide\ntiles/skin/1.png,S,a\ntiles/liver/0.png,L,b\n")
    (tmp_path / "run.json").write_text(json.dumps({"settings": {"target_mpp": 0.5}}))
    return tmp_path


def test_the_table_says_which_tiles_there_are_and_the_record_their_scale(sampled):
    tiles = load_tiles(sampled, size=128)
    assert [(tile.name, tile.type) for tile in tiles.tiles] == [("tiles/liver/0.png", "L"), ("tiles/skin/1.png", "S")]
    assert tiles.mpp == 0.5
    assert load_tiles(sampled, size=128, mpp=0.3).mpp == 0.3


def test_the_folder_of_tiles_inside_is_the_same_set(sampled):
    whole, inside = load_tiles(sampled, 96), load_tiles(sampled / "tiles", 96)
    assert inside == whole
    assert len({tile.type for tile in inside.tiles}) == 2


def test_tiles_of_an_unfinished_run_are_refused(sampled):
    (sampled / "run.json").unlink()
    with pytest.raises(InputError, match="did not finish here; run it again"):
        load_tiles(sampled, size=128)


@pytest.mark.parametrize("text", ["", "file,type\n", "path,kind\na.png,b\n"])
def test_a_table_that_is_none_is_refused(sampled, text):
    (sampled / "tiles.csv").write_text(text)
    with pytest.raises(InputError, match=r"tiles\.csv: .*make it again"):
        load_tiles(sampled, size=128)


def test_a_missing_or_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        load_tiles(tmp_path / "nowhere", size=128)
    with pytest.raises(InputError, match="no images in this folder"):
        load_tiles(tmp_path, size=128)


def test_a_tile_smaller_than_the_patch_is_refused_with_the_size_that_fits(phantom_tiles):
    with pytest.raises(InputError, match=r"0\.png: 160x160 px, smaller than the patch of 200 px; use --size 160"):
        load_tiles(phantom_tiles, size=200)


@pytest.mark.parametrize(
    ("mode", "reason"), [("L", "grayscale"), ("RGBA", "RGBA"), ("P", "palette"), ("I;16", "16-bit")]
)
def test_an_image_that_is_not_8_bit_rgb_is_refused(tmp_path, mode, reason):
    pixels = np.zeros((200, 200), np.uint16) if mode == "I;16" else np.zeros((200, 200, 3), np.uint8)
    image = Image.fromarray(pixels)
    (image if mode == "I;16" else image.convert(mode)).save(tmp_path / "tile.png")
    with pytest.raises(InputError, match=rf"tile\.png: is .*{reason}"):
        load_tiles(tmp_path, size=128)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_tile_is_refused(tmp_path, phantom_tiles, share):
    content = (phantom_tiles / "skin" / "0.png").read_bytes()
    (tmp_path / "tile.png").write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"tile\.png: .*damaged"):
        load_tiles(tmp_path, size=128)


def test_blank_tiles_are_left_out_and_named(tmp_path, phantom_tiles):
    shutil.copy(phantom_tiles / "skin" / "0.png", tmp_path / "tissue.png")
    for name, value in (("white", 255), ("grey", 200)):
        write_png(tmp_path / f"{name}.png", np.full((160, 160, 3), value, np.uint8))
    tiles = load_tiles(tmp_path, size=128)
    assert [tile.name for tile in tiles.tiles] == ["tissue.png"]
    assert tiles.blank == ("grey.png", "white.png")
    (tmp_path / "tissue.png").unlink()
    with pytest.raises(InputError, match="all 2 tiles are blank"):
        load_tiles(tmp_path, size=128)
