"""The files of a phantom open in the readers that slides are read with, and hold what was made."""

import dataclasses

import numpy as np
import openslide
import pytest
from PIL import Image

from nucleosynth.data.phantom import Phantom, PhantomSettings, generate_phantom, pyramid, write_phantom
from nucleosynth.errors import InputError


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return generate_phantom(PhantomSettings(width=1100, height=600, mpp=0.46, seed=1))


@pytest.fixture(scope="module")
def files(phantom, tmp_path_factory):
    return write_phantom(phantom, tmp_path_factory.mktemp("phantom"), "tissue")


def test_only_the_two_files_are_left(files):
    assert [path.name for path in files] == ["tissue.tiff", "tissue_labels.png"]
    assert sorted(files[0].parent.iterdir()) == sorted(files)


def test_openslide_reads_the_pixels_the_scale_and_the_levels(phantom, files):
    with openslide.OpenSlide(files[0]) as slide:
        assert slide.level_dimensions == ((1100, 600), (550, 300), (275, 150), (137, 75))
        for axis in "xy":
            assert float(slide.properties[f"openslide.mpp-{axis}"]) == pytest.approx(0.46, rel=1e-4)
        pixels = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., :3]
        small = np.asarray(slide.read_region((0, 0), 2, slide.level_dimensions[2]))[..., :3]
    np.testing.assert_array_equal(pixels, phantom.image)
    np.testing.assert_allclose(small.mean(axis=(0, 1)), phantom.image.mean(axis=(0, 1)), atol=1)


def test_cucim_reads_the_pixels_the_scale_and_the_levels(phantom, files):
    clara = pytest.importorskip("cucim.clara")
    slide = clara.CuImage(str(files[0]))
    assert slide.resolutions["level_dimensions"] == ((1100, 600), (550, 300), (275, 150), (137, 75))
    assert slide.spacing()[:2] == pytest.approx([0.46, 0.46], rel=1e-4)
    assert slide.spacing_units()[:2] == ["micrometer", "micrometer"]
    np.testing.assert_array_equal(np.asarray(slide.read_region((0, 0), (1100, 600), level=0)), phantom.image)
    np.testing.assert_array_equal(
        np.asarray(slide.read_region((300, 200), (256, 300), level=0)), phantom.image[200:500, 300:556]
    )


def test_the_labels_survive_as_16_bit_ids(phantom, files):
    with Image.open(files[1]) as labels:
        np.testing.assert_array_equal(np.asarray(labels), phantom.labels)


def test_equal_phantoms_give_equal_files_also_over_old_ones(phantom, files, tmp_path):
    (tmp_path / "tissue.tiff").write_bytes(b"old")
    for path, twin in zip(files, write_phantom(phantom, tmp_path, "tissue"), strict=True):
        assert path.read_bytes() == twin.read_bytes()


def test_more_nuclei_than_16_bits_can_count_are_refused(phantom, tmp_path):
    labels = phantom.labels.copy()
    labels[0, 0] = 65_536
    with pytest.raises(ValueError, match="at most 65535 nuclei, got 65536"):
        write_phantom(dataclasses.replace(phantom, labels=labels), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named(phantom, tmp_path):
    with pytest.raises(InputError, match="absent: no such folder"):
        write_phantom(phantom, tmp_path / "absent")


def test_a_failed_write_leaves_no_part_of_a_file(phantom, tmp_path, monkeypatch):
    def full_disk(path, image, mpp):
        path.write_bytes(b"half a slide")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pyramid, "_write_pyramid", full_disk)
    with pytest.raises(InputError, match=r"phantom\.tiff: cannot be written \(No space left on device\)"):
        write_phantom(phantom, tmp_path)
    assert not list(tmp_path.iterdir())
