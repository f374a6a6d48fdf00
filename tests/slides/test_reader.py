import pickle
import shutil

import numpy as np
import pytest
import tifffile
from PIL import Image

from nucleosynth.errors import InputError
from nucleosynth.slides import reader as reader_module
from nucleosynth.slides.backend import plausible_mpp
from nucleosynth.slides.cucim_reader import cucim_is_installed
from nucleosynth.slides.openslide_reader import OpenSlideBackend, _on_white
from nucleosynth.slides.reader import open_slide
from nucleosynth.slides.resample import plan_axis, resample

needs_cucim = pytest.mark.skipif(not cucim_is_installed(), reason="needs cuCIM: pip install 'nucleosynth[cucim]'")


def write_slide(path, pixels, mpp=0.5, factors=(1, 2, 4), compression="deflate"):
    """A pyramidal TIFF whose levels are exact means of blocks."""
    resolution = {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"} if mpp else {}
    with tifffile.TiffWriter(path) as tiff:
        for factor in factors:
            height, width = (side // factor for side in pixels.shape[:2])
            blocks = pixels[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
            level = np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)
            kind = {"tile": (64, 64), "photometric": "rgb", "compression": compression, "metadata": None}
            tiff.write(level, subfiletype=int(factor > 1), **kind, **resolution)
    return path


@pytest.fixture
def noise(rng):
    return rng.integers(0, 256, (300, 400, 3), np.uint8)


def test_a_slide_tells_its_size_scale_and_levels(tmp_path, noise):
    with open_slide(write_slide(tmp_path / "a.tif", noise)) as slide:
        assert slide.mpp == pytest.approx(0.5)
        assert slide.dimensions == (400, 300)
        assert slide.level_downsamples == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("kind", ["openslide", "cucim", "image"])
def test_pixels_come_as_they_are_and_white_beyond(tmp_path, noise, kind):
    if kind == "cucim" and not cucim_is_installed():
        pytest.skip("needs cuCIM: pip install 'nucleosynth[cucim]'")
    if kind == "image":
        Image.fromarray(noise).save(tmp_path / "a.png")
        slide = open_slide(tmp_path / "a.png", mpp=0.5)
    else:
        slide = open_slide(write_slide(tmp_path / "a.tif", noise), reader=kind)
    assert np.array_equal(slide.read_region((37, 12), 0, (100, 80)), noise[12:92, 37:137])
    assert np.array_equal(slide.read_at((37, 12), (100, 80), 0.5), noise[12:92, 37:137])
    for region in (slide.read_region((-10, 290), 0, (30, 20)), slide.read_at((-10, 290), (30, 20), 0.5)):
        assert np.array_equal(region[:10, 10:], noise[290:, :20])
        assert (region[10:] == 255).all()
        assert (region[:, :10] == 255).all()
    assert (slide.read_region((500, 0), 0, (5, 5)) == 255).all()
    assert (slide.read_at((0.5, -50), (5, 5), 0.25) == 255).all()
    slide.close()


@pytest.mark.parametrize("target", [0.1, 0.25, 0.4, 0.5, 0.61, 0.75, 1.0, 1.3, 2.0, 2.9])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_ramp_stays_the_same_ramp_at_every_scale(tmp_path, target, axis):
    """The value at level-0 position x is 20 + 2 x, whole at the centres of all levels' pixels."""
    pixels = np.tile((20 + 2 * (np.arange(112) + 0.5))[:, None, None], (1, 112, 3)).astype(np.uint8)
    pixels = pixels if axis == 0 else pixels.transpose(1, 0, 2)
    start, step = (10.7, 12.3)[axis], target / 0.5
    with open_slide(write_slide(tmp_path / "a.tif", pixels)) as slide:
        tile = slide.read_at((start, start), (14, 14), target)
    expected = 20 + 2 * (start + (np.arange(14) + 0.5) * step)
    profile = tile[:, 5, 1] if axis == 0 else tile[5, :, 1]
    assert np.abs(profile - expected).max() < 0.501  # The tile's own rounding: a quarter of a level-0 pixel.


@pytest.mark.parametrize(("start", "step"), [(10.0, 1.0), (10.25, 1.0), (7.3, 0.4), (3.9, 1.07), (5.5, 3.7)])
def test_weights_reproduce_linear_functions_exactly(start, step):
    plan = plan_axis(start, step, 20, 1000)
    positions = np.arange(plan.first, plan.last) + 0.5
    assert plan.weights.sum(axis=1) == pytest.approx(1.0)
    assert plan.weights @ positions == pytest.approx(start + (np.arange(20) + 0.5) * step, abs=1e-4)


def test_equal_scale_is_a_copy_and_half_scale_nearly_the_mean_of_two():
    assert _row(5, 1) == pytest.approx([0, 1, 0, 0])
    # Integrals of the Keys kernel from 0 to 1 and from 1 to 2: 13/24 and -1/24.
    assert _row(10, 2) == pytest.approx([-1 / 24, 13 / 24, 13 / 24, -1 / 24, 0])


def _row(start, step):
    return plan_axis(start, step, 1, 50).weights.toarray()[0]


def test_the_edge_is_repeated_and_centres_beyond_it_are_white():
    row = np.array([[[10, 20, 30], [50, 60, 70]]], np.uint8)
    rows, columns = plan_axis(0, 1, 1, 1), plan_axis(-1, 0.5, 8, 2)
    result = resample(row[rows.first : rows.last, columns.first : columns.last], rows, columns)
    assert (result[0, [0, 1, 6, 7]] == 255).all()
    assert (result[0, 2] <= [12, 22, 32]).all()
    assert (result[0, 5] >= [48, 58, 68]).all()


def test_tiles_join_without_a_seam(tmp_path, noise):
    slide = open_slide(write_slide(tmp_path / "a.tif", noise))
    whole = slide.read_at((20.2, 10.6), (100, 80), 0.37)
    step = 0.37 / 0.5
    right = slide.read_at((20.2 + 60 * step, 10.6 + 30 * step), (40, 50), 0.37)
    assert np.abs(whole[30:, 60:].astype(int) - right).max() <= 1


def test_a_plain_image_and_a_pyramid_give_nearly_the_same_thumbnail(tmp_path, noise, monkeypatch):
    smooth = np.asarray(Image.fromarray(noise[:15, :20]).resize((400, 300), Image.Resampling.BICUBIC))
    Image.fromarray(smooth).save(tmp_path / "a.png")
    flat = open_slide(tmp_path / "a.png", mpp=0.5).thumbnail(4.0)
    assert flat.shape == (38, 50, 3)
    pyramid = open_slide(write_slide(tmp_path / "a.tif", smooth)).thumbnail(4.0)
    assert np.abs(flat.astype(int) - pyramid)[:-1].mean() < 1.5
    monkeypatch.setattr(reader_module, "_BLOCK", 64)
    assert np.array_equal(open_slide(tmp_path / "a.png", mpp=0.5).thumbnail(4.0), flat)


def test_a_slide_travels_to_a_worker_by_being_opened_again(tmp_path, noise):
    slide = open_slide(write_slide(tmp_path / "a.tif", noise), mpp=0.7)
    copy = pickle.loads(pickle.dumps(slide))
    assert copy.mpp == 0.7
    assert np.array_equal(copy.read_at((1.5, 2.5), (20, 20), 0.5), slide.read_at((1.5, 2.5), (20, 20), 0.5))


@pytest.mark.parametrize("mpp", [None, 352.8])
def test_a_missing_or_impossible_scale_is_asked_for(tmp_path, noise, mpp):
    path = write_slide(tmp_path / "a.tif", noise, mpp=mpp)
    with pytest.raises(InputError, match=r"a.tif: .*--mpp"):
        open_slide(path)
    assert open_slide(path, mpp=0.5).mpp == 0.5


def test_an_image_has_no_scale_but_a_tiff_may(tmp_path, noise):
    Image.fromarray(noise).save(tmp_path / "a.png", dpi=(25400 / 0.5, 25400 / 0.5))
    with pytest.raises(InputError, match="--mpp"):
        open_slide(tmp_path / "a.png")
    Image.fromarray(noise).save(tmp_path / "a.tif", resolution=25400 / 0.5, resolution_unit="inch")
    assert open_slide(tmp_path / "a.tif").mpp == pytest.approx(0.5)
    Image.fromarray(noise).save(tmp_path / "b.tif", resolution=72, resolution_unit="inch")
    with pytest.raises(InputError, match="--mpp"):
        open_slide(tmp_path / "b.tif")


def test_scales_of_both_axes_must_agree():
    assert plausible_mpp(0.25, 0.252) == pytest.approx(0.251)
    assert plausible_mpp(0.25, 0.3) is None
    assert plausible_mpp(None, 0.25) is None
    assert plausible_mpp(0.01, 0.01) is None


def test_transparent_pixels_are_white():
    region = np.array([[[0, 0, 0, 0], [10, 20, 30, 255], [0, 0, 0, 128]]], np.uint8)
    assert _on_white(region).tolist() == [[[255, 255, 255], [10, 20, 30], [127, 127, 127]]]


class FakeSlide:
    """A canvas of which only (1000, 2000) to (1400, 2300) was scanned; red tells x / 10, green y / 10 of a read."""

    dimensions = (5000, 6000)
    level_dimensions = ((5000, 6000), (1250, 1500))
    level_downsamples = (1.0, 4.0)
    properties = {
        "openslide.mpp-x": "0.25",
        "openslide.mpp-y": "0.25",
        "openslide.bounds-x": "1000",
        "openslide.bounds-y": "2000",
        "openslide.bounds-width": "400",
        "openslide.bounds-height": "300",
    }

    def __init__(self, path):
        self.path = path

    def read_region(self, location, level, size):
        return Image.new("RGBA", size, (location[0] // 10, location[1] // 10, level, 255))


def test_a_slide_begins_at_the_corner_of_its_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr("nucleosynth.slides.openslide_reader.openslide.OpenSlide", FakeSlide)
    backend = OpenSlideBackend(tmp_path / "a.mrxs")
    assert backend.level_dimensions == [(400, 300), (100, 75)]
    assert backend.read(0, 50, 30, 1, 1).tolist() == [[[105, 203, 0]]]
    assert backend.read(1, 50, 30, 1, 1).tolist() == [[[120, 212, 1]]]


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_slide_is_refused_when_opened(tmp_path, noise, share):
    path = write_slide(tmp_path / "a.tif", noise)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"a.tif: (truncated|damaged)"):
        open_slide(path)


def test_a_slide_damaged_inside_is_refused_when_read(tmp_path, noise):
    path = write_slide(tmp_path / "a.tif", noise, factors=(1,))
    content = bytearray(path.read_bytes())
    content[60_000:70_000] = bytes(10_000)
    path.write_bytes(content)
    slide = open_slide(path, reader="openslide")
    with pytest.raises(InputError, match=r"a.tif: damaged slide"):
        slide.read_region((0, 0), 0, (400, 300))


def test_what_is_no_slide_is_refused(tmp_path):
    (tmp_path / "a.svs").write_text("text")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="damaged, or not a slide"):
        open_slide(tmp_path / "a.svs")
    with pytest.raises(InputError, match="no DICOM slide in this folder"):
        open_slide(tmp_path / "empty")
    with pytest.raises(InputError, match="no such file"):
        open_slide(tmp_path / "b.svs")
    with pytest.raises(ValueError, match="reader must be one of auto, cucim, openslide, got 'vips'"):
        open_slide(tmp_path / "a.svs", reader="vips")


def test_without_cucim_auto_falls_back_and_insisting_says_how_to_install(tmp_path, noise, monkeypatch):
    monkeypatch.setattr("nucleosynth.slides.cucim_reader._import", lambda: None)
    path = write_slide(tmp_path / "a.tif", noise)
    assert np.array_equal(open_slide(path).read_region((0, 0), 0, (9, 9)), noise[:9, :9])
    with pytest.raises(InputError, match=r"pip install 'nucleosynth\[cucim\]'"):
        open_slide(path, reader="cucim")


@needs_cucim
def test_cucim_and_openslide_read_equal_pixels(tmp_path, noise):
    path = write_slide(tmp_path / "a.tif", noise)
    first, second = (open_slide(path, reader=name) for name in ("cucim", "openslide"))
    assert first.mpp == pytest.approx(second.mpp)
    for level in range(3):
        regions = [slide.read_region((44, 20), level, (60, 50)) for slide in (first, second)]
        assert np.array_equal(*regions)
    for mpp in (0.25, 0.5, 0.8, 1.0, 2.0, 3.0):
        assert np.array_equal(*(slide.read_at((33.3, 21.9), (40, 30), mpp) for slide in (first, second)))


@needs_cucim
def test_cucim_regions_are_copies(tmp_path, noise):
    slide = open_slide(write_slide(tmp_path / "a.tif", noise), reader="cucim")
    first = slide.read_region((0, 0), 0, (50, 50))
    for offset in range(10, 100, 10):
        slide.read_region((offset, offset), 0, (50, 50))
    assert np.array_equal(first, noise[:50, :50])


@needs_cucim
@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize(("x", "y", "width", "height"), [(0, 0, 2500, 1300), (1023, 511, 1100, 30), (901, 7, 33, 1029)])
def test_regions_of_many_blocks_are_put_together_by_cucim(tmp_path, level, x, y, width, height):
    """Also where the last blocks reach beyond the slide."""
    image = np.random.default_rng(0).integers(0, 256, (2600, 5000, 3), np.uint8)
    path = write_slide(tmp_path / "large.tif", image)
    first, second = (open_slide(path, reader=name) for name in ("cucim", "openslide"))
    location = tuple(round(value * first.level_downsamples[level]) for value in (x, y))
    regions = [slide.read_region(location, level, (width, height)) for slide in (first, second)]
    assert np.array_equal(*regions)
    assert np.array_equal(regions[0], first.read_region(location, level, (width, height)))


def test_real_slides(shared_data):
    path = shared_data / "slides" / "CMU-1-Small-Region.svs"
    readers = ["openslide", "cucim"] if cucim_is_installed() else ["openslide"]
    slides = [open_slide(path, reader=name) for name in readers]
    tiles = [slide.read_at((700.3, 900.8), (256, 256), 0.25) for slide in slides]
    assert all(slide.mpp == 0.499 for slide in slides)
    assert np.array_equal(tiles[0], tiles[-1])
    assert np.array_equal(slides[0].thumbnail(8.0), slides[-1].thumbnail(8.0))
    without_scale = shared_data / "slides" / "TCGA-CR-7395-01A-01-TS1_reduced.svs"
    with pytest.raises(InputError, match="--mpp"):
        open_slide(without_scale)
    assert open_slide(without_scale, mpp=1.0).level_downsamples == [1.0, 2.0]


def test_a_dicom_folder_is_a_slide_with_the_colours_of_the_same_tissue_in_svs(shared_data, tmp_path):
    """Its frames are YCbCr, but declared as RGB."""
    folder = shared_data / "slides" / "CMU-1-Small-Region_dicom"
    location, size = (500, 900), (1000, 800)
    svs = open_slide(shared_data / "slides" / "CMU-1-Small-Region.svs").read_region(location, 0, size)
    for path in (folder, folder / "level-0-frames-0-30.dcm"):
        slide = open_slide(path)
        assert slide.mpp == pytest.approx(0.499)
        dicom = slide.read_region(location, 0, size)
        assert np.abs(dicom.mean(axis=(0, 1)) - svs.mean(axis=(0, 1))).max() < 2
        assert np.median(np.abs(dicom.astype(int) - svs)) <= 3
    alone = tmp_path / "one"
    alone.mkdir()
    shutil.copy(folder / "level-3-frames-0-1.dcm", alone)
    (alone / "level-3-frames-0-1.dcm").write_bytes((alone / "level-3-frames-0-1.dcm").read_bytes()[:9000])
    with pytest.raises(InputError):
        open_slide(alone).thumbnail(4.0)
