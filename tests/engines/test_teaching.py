import numpy as np
import pytest

from nucleosynth.data.images import read_image, write_png
from nucleosynth.data.phantom import PhantomSettings, generate_phantom
from nucleosynth.data.tileset import Tile
from nucleosynth.data.tilestore import TileStore
from nucleosynth.engines import Teacher
from nucleosynth.errors import InputError
from nucleosynth.metrics import score_instances


@pytest.fixture(scope="module")
def phantom():
    return generate_phantom(PhantomSettings(width=160, height=192, seed=3, tissue_share=1.0))


@pytest.fixture
def tile(tmp_path, phantom):
    write_png(tmp_path / "tiles" / "a.png", phantom.image)
    return Tile(tmp_path / "tiles" / "a.png", "tiles/a.png", "t")


@pytest.fixture
def teacher(tmp_path, tile):
    teacher = Teacher(None, tmp_path / "taught")
    teacher.look([tile], 0.25)
    return teacher


def test_the_shipped_network_teaches_where_nuclei_are(teacher, tile, phantom):
    targets = teacher.targets(tile)
    assert targets.shape == (2, *phantom.labels.shape)
    inside, outside = phantom.labels > 0, phantom.labels == 0
    assert targets[1][inside].mean() > 0.6
    assert targets[1][outside].mean() < 0.1
    assert 0.1 < targets[0][inside].mean() < targets[1][inside].mean()


def test_what_it_saw_is_a_picture(teacher, tile, phantom):
    picture = read_image(teacher.picture(tile))
    assert picture.shape == phantom.image.shape
    assert np.abs(picture[..., 1] / 255 - teacher.nuclei(tile).probability).max() < 1e-6
    assert not picture[..., 2].any()


def test_patches_are_made_from_its_nuclei(teacher, tile, phantom):
    found = teacher.nuclei(tile)
    assert score_instances(phantom.labels, found.label).aji > 0.5
    by_teacher, by_otsu = (TileStore([tile], 0.25, finder=finder).analysis(0) for finder in (teacher, None))
    assert len(by_teacher.colours.od) <= found.label.max()
    assert not np.array_equal(by_teacher.colours.od, by_otsu.colours.od)


def test_what_is_there_is_kept(tile, tmp_path):
    teacher = Teacher(None, tmp_path / "taught")
    write_png(teacher.picture(tile), np.zeros((192, 160, 3), np.uint8))
    teacher.look([tile], 0.25)
    assert not teacher.targets(tile).any()


def test_a_teacher_of_another_scale_and_none_at_all_are_errors(tile, tmp_path):
    with pytest.raises(InputError, match=r"that is shipped: works at 0.25 µm/px, the tiles are at 0.5; sample them at"):
        Teacher(None, tmp_path / "taught").look([tile], 0.5)
    with pytest.raises(InputError, match="no bundle that segments slides"):
        Teacher(tmp_path, tmp_path / "taught").look([tile], 0.25)
    assert not (tmp_path / "taught").exists()


def test_a_picture_that_is_gone_is_an_error(teacher, tile):
    teacher.picture(tile).unlink()
    with pytest.raises(InputError, match=r"a\.png\.png"):
        teacher.nuclei(tile)
