import numpy as np
import pytest

from nucleosynth.data.images import read_image, write_png
from nucleosynth.data.phantom import PhantomSettings, generate_phantom
from nucleosynth.data.taught import target_file
from nucleosynth.data.tileset import Tile
from nucleosynth.data.tilestore import TileStore
from nucleosynth.engines import teach
from nucleosynth.errors import InputError


@pytest.fixture(scope="module")
def phantom():
    return generate_phantom(PhantomSettings(width=160, height=192, seed=3, tissue_share=1.0))


@pytest.fixture
def store(tmp_path, phantom):
    write_png(tmp_path / "tiles" / "a.png", phantom.image)
    return TileStore([Tile(tmp_path / "tiles" / "a.png", "a.png", "t")], 0.25)


def test_the_shipped_network_teaches_where_nuclei_are(store, phantom, tmp_path):
    patches = teach(store, None, tmp_path / "taught", 64)
    targets = read_image(target_file(tmp_path / "taught", store.tiles[0])) / 255
    assert targets.shape == phantom.image.shape
    inside, outside = phantom.labels > 0, phantom.labels == 0
    assert targets[..., 1][inside].mean() > 0.6
    assert targets[..., 1][outside].mean() < 0.1
    assert 0.1 < targets[..., 0][inside].mean() < targets[..., 1][inside].mean()
    assert not targets[..., 2].any()
    assert patches[0]["target"].shape == (2, 64, 64)


def test_what_is_there_is_kept(store, tmp_path):
    path = target_file(tmp_path / "taught", store.tiles[0])
    write_png(path, np.zeros((192, 160, 3), np.uint8))
    assert not teach(store, "no such teacher is needed", tmp_path / "taught", 64)[0]["target"].any()


def test_a_teacher_of_another_scale_and_none_at_all_are_errors(store, tmp_path):
    coarse = TileStore(store.tiles, 0.5)
    with pytest.raises(InputError, match=r"that is shipped: works at 0.25 µm/px, the tiles are at 0.5; sample them at"):
        teach(coarse, None, tmp_path / "taught", 64)
    with pytest.raises(InputError, match="no bundle that segments slides"):
        teach(store, tmp_path, tmp_path / "taught", 64)
    assert not (tmp_path / "taught").exists()
