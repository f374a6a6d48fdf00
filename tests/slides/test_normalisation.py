import json

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
import torch

from nucleosynth import cli
from nucleosynth.data.images import write_png
from nucleosynth.data.phantom import Phantom, PhantomSettings, generate_phantom, write_phantom
from nucleosynth.errors import InputError
from nucleosynth.postprocess import InstanceSettings
from nucleosynth.slides.normalisation import SlideStain, measure_stain, sample_tissue
from nucleosynth.slides.plan import PlanSettings
from nucleosynth.slides.reader import open_slide
from nucleosynth.slides.segmentation import SlideSegmenter, segment_slides
from nucleosynth.slides.settings import NORMALIZATIONS, SegmentSettings
from nucleosynth.transforms.stain import MACENKO_TARGET, STAIN_TARGETS, fit_macenko, rgb_to_od, scale_stains

# What scale_stains does to both a laboratory can do to one stain; and Reinhard undoes only what changes all tissue.
RESTAINED = {"macenko": (1.4, 0.75, 1.0), "reinhard": (1.35, 1.35, 1.35)}


@pytest.fixture(scope="module")
def phantom():
    return generate_phantom(PhantomSettings(width=512, height=512, seed=3))


@pytest.fixture(scope="module")
def slides(phantom, tmp_path_factory):
    """The phantom as a slide, and the same tissue restained for each method."""
    folder = tmp_path_factory.mktemp("slides")
    paths = {"none": write_phantom(phantom, folder, "original")[0]}
    for method, factors in RESTAINED.items():
        restained = Phantom(scale_stains(phantom.image, factors), phantom.labels, phantom.mpp)
        paths[method] = write_phantom(restained, folder, method)[0]
    return paths


class Darkness(torch.nn.Module):
    """A network that takes for nuclei what lets less red light pass than nuclei of the published stain do."""

    def forward(self, images):
        return ((0.1 - images[:, :1]) * 20).repeat(1, 2, 1, 1)


def segment(path, output, normalize, mpp=None):
    """Table and record of a slide that the network Darkness has segmented."""
    weights = output.parent / "model.pt"
    weights.write_bytes(b"darkness")
    plan = PlanSettings(core=300, halo=32, window=128, stride=96)
    # Nothing is dropped: how what is dark is parted does not matter here.
    settings = InstanceSettings(min_area_um2=0.1, min_probability=0)
    segmenter = SlideSegmenter(Darkness(), weights, settings, plan, bfloat16=False, workers=1)
    (report,) = segment_slides([path], output, segmenter, SegmentSettings(mpp=mpp, normalize=normalize))
    return pq.read_table(report.folder / "nuclei.parquet"), json.loads((report.folder / "run.json").read_text())


@pytest.mark.parametrize("method", ["reinhard", "macenko"])
def test_a_slide_of_another_stain_gets_nearly_the_original_s_colours(phantom, slides, method):
    colours = {}
    for name in ("none", method):
        with open_slide(slides[name]) as slide:
            stain = measure_stain(slide, method, 0.25)
            colours[name] = stain(slide.read_region((0, 0), 0, (512, 512))).astype(int)
    tissue = rgb_to_od(phantom.image).mean(axis=2) > 0.15
    before = np.abs(scale_stains(phantom.image, RESTAINED[method]).astype(int) - phantom.image)[tissue].mean()
    assert np.abs(colours[method] - colours["none"])[tissue].mean() < 0.25 * before


@pytest.mark.parametrize("method", ["reinhard", "macenko"])
def test_glass_around_tissue_and_in_it_does_not_count(tmp_path, phantom, method):
    # Twice as much glass around, and a lumen so small that it counts as tissue.
    glass = np.median(phantom.image[phantom.image.min(axis=2) > 225], axis=0).astype(np.uint8)
    larger = np.tile(glass, (512, 1024, 1))
    larger[:, :512] = phantom.image
    larger[200:240, 200:240] = glass
    sources = []
    for name, image in (("tissue", phantom.image), ("with_glass", larger)):
        write_png(tmp_path / f"{name}.png", image)
        with open_slide(tmp_path / f"{name}.png", mpp=0.25) as slide:
            sources.append(measure_stain(slide, method, 0.25).source)
    first, second = ([np.ravel(value) for value in vars(source).values()] for source in sources)
    np.testing.assert_allclose(np.concatenate(first), np.concatenate(second), rtol=0.05, atol=0.02)


def test_the_record_tells_source_and_target(slides):
    with open_slide(slides["none"]) as slide:
        stain, pixels = measure_stain(slide, "macenko", 0.25), sample_tissue(slide, 0.25)
    assert stain.source == fit_macenko(pixels)
    assert stain.target == MACENKO_TARGET
    assert rgb_to_od(pixels[None]).mean(axis=2).min() >= 0.15
    record = json.loads(json.dumps(stain.record()))
    assert set(record) == {"source", "target"}
    assert record["target"]["maxima"] == [1.9705, 1.0308]


def test_a_small_image_is_read_in_full(tmp_path, rng):
    # Odd sides: neither the mask's pixels nor its squares divide them.
    image = rng.integers(60, 200, (301, 437, 3), dtype=np.uint8)
    image[..., 1] //= 2  # Violet enough for the mask to be full.
    write_png(tmp_path / "tissue.png", image)
    with open_slide(tmp_path / "tissue.png", mpp=0.25) as slide:
        pixels = sample_tissue(slide, 0.25)
    np.testing.assert_array_equal(np.sort(pixels, axis=0), np.sort(image.reshape(-1, 3), axis=0))


def test_of_a_large_slide_a_fixed_choice_of_bounded_size_is_read(tmp_path, rng):
    tile = rng.integers(60, 200, (512, 512, 3), dtype=np.uint8)
    tile[..., 1] //= 2
    image = np.tile(tile, (8, 8, 1))
    image[:2048] = image[:2048] // 2  # The upper half is darker: both halves must be in the choice.
    with tifffile.TiffWriter(tmp_path / "large.tif") as tiff:
        for step in (1, 4, 16):
            resolution = {"resolution": (2e4 / step, 2e4 / step), "resolutionunit": "CENTIMETER"}
            level = cv2.resize(image, None, fx=1 / step, fy=1 / step, interpolation=cv2.INTER_AREA)
            tiff.write(level, tile=(256, 256), photometric="rgb", subfiletype=int(step > 1), **resolution)
    with open_slide(tmp_path / "large.tif") as slide:
        assert slide.mpp == pytest.approx(0.5)
        pixels, again = sample_tissue(slide, 0.5), sample_tissue(slide, 0.5)
    assert len(pixels) == 2**22
    np.testing.assert_array_equal(pixels, again)
    dark = image[:2048].reshape(-1, 3).mean(axis=0), image[2048:].reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(pixels.mean(axis=0), np.mean(dark, axis=0), rtol=0.03)


@pytest.mark.parametrize("method", ["reinhard", "macenko"])
@pytest.mark.parametrize("value", [255, 0])
def test_an_image_without_stain_stays_as_it_is_and_says_why(tmp_path, method, value):
    image = np.full((200, 300, 3), value, np.uint8)
    write_png(tmp_path / "plain.png", image)
    with open_slide(tmp_path / "plain.png", mpp=0.25) as slide:
        stain = measure_stain(slide, method, 0.25)
    assert stain.source is None
    assert stain(image) is image
    assert set(stain.record()) == {"reason"}


def test_nothing_is_read_where_nothing_is_normalised():
    assert measure_stain(None, "none", 0.25) == SlideStain()
    assert SlideStain().record() == {}


def test_damaged_places_are_left_out(slides, monkeypatch):
    with open_slide(slides["none"]) as slide:
        whole, read_at = sample_tissue(slide, 0.25), slide.read_at

        def damaged(location, size, mpp):
            if mpp == 0.25 and location[1] < 256:
                raise InputError("damaged")
            return read_at(location, size, mpp)

        monkeypatch.setattr(slide, "read_at", damaged)
        rest = sample_tissue(slide, 0.25)
    assert 0 < len(rest) < len(whole)


@pytest.mark.parametrize("method", ["reinhard", "macenko"])
def test_the_network_sees_the_normalised_slide_and_nuclei_are_measured_on_the_original(slides, tmp_path, method):
    # The network finds the same in both slides; what is measured is still the stain of each.
    original, record = segment(slides["none"], tmp_path / "original", method)
    restained, _ = segment(slides[method], tmp_path / "restained", method)
    unchanged, _ = segment(slides[method], tmp_path / "unchanged", "none")
    assert len(original) > 20
    area, again, raw = (sum(table["area_um2"].to_pylist()) for table in (original, restained, unchanged))
    assert again == pytest.approx(area, rel=0.05)
    assert abs(raw - area) > 2 * abs(again - area)
    # Weighted by area, since small pieces come and go.
    means = [np.average(t["haematoxylin_mean"], weights=t["area_um2"]) for t in (original, restained)]
    assert means[1] / means[0] == pytest.approx(RESTAINED[method][0], rel=0.05)
    with open_slide(slides["none"]) as slide:
        expected = json.loads(json.dumps(measure_stain(slide, method, 0.25).record()))
    assert record["stain"] == expected
    assert set(expected) == {"source", "target"}
    assert record["settings"]["normalize"] == method
    assert record["seconds"]["normalize"] > 0


def test_by_default_nothing_is_normalised(slides, tmp_path):
    _, record = segment(slides["none"], tmp_path / "out", SegmentSettings().normalize)
    assert record["settings"]["normalize"] == "none"
    assert record["stain"] == {}


def test_a_finished_run_is_not_taken_for_one_of_another_normalisation(slides, tmp_path):
    segment(slides["none"], tmp_path / "out", "none")
    with pytest.raises(InputError, match=r"normalize was none, now macenko"):
        segment(slides["none"], tmp_path / "out", "macenko")


def test_glass_is_segmented_without_a_stain(tmp_path):
    write_png(tmp_path / "glass.png", np.full((300, 300, 3), 240, np.uint8))
    table, record = segment(tmp_path / "glass.png", tmp_path / "out", "macenko", mpp=0.25)
    assert len(table) == 0
    assert "there are no pixels" in record["stain"]["reason"]


def test_names_of_settings_and_methods_agree():
    assert ("none", *STAIN_TARGETS) == NORMALIZATIONS
    with pytest.raises(ValueError, match="normalize must be one of none, reinhard, macenko, got 'Macenko'"):
        SegmentSettings(normalize="Macenko")
    with pytest.raises(ValueError, match="method must be one of none, reinhard, macenko, got 'Macenko'"):
        measure_stain(None, "Macenko", 0.25)


def test_a_wrong_name_on_the_command_line_is_one_line(capsys):
    assert cli.main(["segment", "slide.svs", "-o", "out", "--model", "model", "--normalize", "vahadane"]) == 2
    message = "--normalize must be one of none, reinhard, macenko, got 'vahadane'"
    assert capsys.readouterr().err == f"nucleosynth: error: {message}\n"
