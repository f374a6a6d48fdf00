import dataclasses
import json
import shutil

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
import tifffile

from nucleosynth.data.images import write_png
from nucleosynth.errors import InputError
from nucleosynth.metrics import score_instances
from nucleosynth.slides.prediction import TilePredictor
from nucleosynth.slides.segmentation import SlideSegmenter, segment_slides
from nucleosynth.slides.settings import SegmentSettings
from nucleosynth.slides.store import PartStore

FILES = ("nuclei.parquet", "nuclei.geojson", "overview.png")


def contents(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


def outlines(folder):
    table = pq.read_table(folder / "nuclei.parquet")
    return table, shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False))


def segment(path, output, segmenter, **settings):
    (report,) = segment_slides([path], output, segmenter, SegmentSettings(**settings))
    return report


@pytest.fixture(scope="session")
def finished(slide, bundle, tmp_path_factory):
    """A slide segmented in tiles of 512 px, without interruption."""
    from nucleosynth.slides.model import load_segmenter

    output = tmp_path_factory.mktemp("finished")
    return segment(slide, output, load_segmenter(bundle, {"plan#core": 512, "segmenter#workers": 1}))


def test_the_nuclei_of_a_phantom_are_found_where_they_are(finished, phantom, record):
    label = np.zeros(phantom.labels.shape, np.int32)
    for number, outline in enumerate(outlines(finished.folder)[1], 1):
        cv2.fillPoly(label, [np.rint((shapely.get_coordinates(outline) - 0.5) * 16).astype(np.int32)], number, shift=4)
    inside, truth = label > 0, phantom.labels > 0
    assert 2 * (inside & truth).sum() / (inside.sum() + truth.sum()) > 0.75
    assert score_instances(phantom.labels, label).pq > 0.3
    content = record(finished.folder)
    assert content["nuclei"] == finished.nuclei == len(outlines(finished.folder)[0])
    assert content["dimensions"] == [1100, 900]
    assert content["tiles"] == 6
    assert content["failed"] == []
    assert not (finished.folder / "parts").exists()


def test_outlines_are_valid_lie_in_the_slide_and_agree_with_their_measurements(finished):
    table, polygons = outlines(finished.folder)
    assert shapely.is_valid(polygons).all()
    left, top, right, bottom = shapely.bounds(polygons).T
    assert (left.min(), top.min()) >= (0, 0)
    assert (right.max(), bottom.max()) <= (1100, 900)
    centroids = shapely.centroid(polygons)
    assert np.abs(shapely.get_x(centroids) - table["x_px"].to_numpy()).max() < 1
    area = table["area_um2"].to_numpy()
    assert np.median(np.abs(shapely.area(polygons) / 16 / area - 1)) < 0.05
    assert (area >= 6).all()


@pytest.mark.parametrize("change", [{"plan__core": 2048}, {"plan__core": 300}, {"segmenter__batch_size": 3}])
def test_the_result_depends_neither_on_tiles_nor_on_batches(finished, slide, segmenter, tmp_path, change):
    other = segment(slide, tmp_path, segmenter(**{"plan__core": 512, **change}))
    rows = [
        {(round(x, 1), round(y, 1), round(area, 2)) for x, y, area in zip(*columns, strict=True)}
        for columns in (
            [outlines(each.folder)[0][name].to_pylist() for name in ("x_px", "y_px", "area_um2")]
            for each in (finished, other)
        )
    ]
    assert len(rows[0] ^ rows[1]) <= 0.001 * 2 * finished.nuclei


def test_processes_find_what_a_thread_finds(finished, slide, segmenter, tmp_path):
    segment(slide, tmp_path, segmenter(plan__core=512, segmenter__workers=2))
    assert contents(tmp_path / "phantom") == contents(finished.folder)


def test_no_nucleus_is_there_twice(finished):
    polygons = outlines(finished.folder)[1]
    first, second = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    apart = first < second
    shared = shapely.area(shapely.intersection(polygons[first[apart]], polygons[second[apart]]))
    assert (
        shared < 0.2 * np.minimum(shapely.area(polygons[first[apart]]), shapely.area(polygons[second[apart]]))
    ).all()


def test_an_image_is_a_slide_of_one_level(finished, phantom, segmenter, tmp_path):
    write_png(tmp_path / "phantom.png", phantom.image)
    report = segment(tmp_path / "phantom.png", tmp_path / "out", segmenter(plan__core=512), mpp=0.25)
    # Glass counts as well in an image, but there is nothing.
    assert abs(report.nuclei - finished.nuclei) <= 0.02 * finished.nuclei


def test_a_slide_at_another_scale_has_its_nuclei_at_its_own_pixels(finished, phantom, segmenter, tmp_path):
    half = cv2.resize(phantom.image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    write_png(tmp_path / "half.png", half)
    report = segment(tmp_path / "half.png", tmp_path / "out", segmenter(), mpp=0.5)
    here, there = (outlines(each.folder)[0] for each in (report, finished))
    assert 0.7 * len(there) < len(here) < 1.3 * len(there)
    for axis in "xy":
        assert here[f"{axis}_px"].to_numpy().max() == pytest.approx(there[f"{axis}_px"].to_numpy().max() / 2, abs=20)
        assert here[f"{axis}_um"].to_numpy().max() == pytest.approx(there[f"{axis}_um"].to_numpy().max(), abs=10)
    medians = [np.median(table["area_um2"].to_numpy()) for table in (here, there)]
    assert medians[0] == pytest.approx(medians[1], rel=0.2)


@pytest.mark.parametrize("side", [1, 30])
def test_an_image_smaller_than_a_window(segmenter, tmp_path, side):
    image = np.full((side, side, 3), 235, np.uint8)
    image[side // 5 : 4 * side // 5, side // 5 : 4 * side // 5] = (60, 40, 120)
    write_png(tmp_path / "small.png", image)
    report = segment(tmp_path / "small.png", tmp_path / "out", segmenter(), mpp=0.25)
    assert report.nuclei == (1 if side == 30 else 0)
    assert json.loads((report.folder / "nuclei.geojson").read_text())["type"] == "FeatureCollection"


def test_a_finished_slide_is_left_alone(finished, slide, segmenter):
    before = {path: path.stat().st_mtime_ns for path in finished.folder.iterdir()}
    assert segment(slide, finished.folder.parent, segmenter(plan__core=512)) == finished
    assert before == {path: path.stat().st_mtime_ns for path in finished.folder.iterdir()}


def test_an_interrupted_run_continues_and_ends_with_the_same_bytes(finished, slide, segmenter, tmp_path, monkeypatch):
    """Interrupted in the middle; then a part and the table are damaged by something else."""
    calls = []

    def interrupt(self, image, tile, predict=TilePredictor.start):
        calls.append(tile.number)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return predict(self, image, tile)

    monkeypatch.setattr(TilePredictor, "start", interrupt)
    with pytest.raises(KeyboardInterrupt):
        segment(slide, tmp_path, segmenter(plan__core=512))
    monkeypatch.undo()
    folder = tmp_path / "phantom"
    assert not (folder / "run.json").exists()
    store = PartStore(folder / "parts")
    assert store.has(0)
    store.path(0).write_bytes(b"damaged")
    (folder / "nuclei.parquet").write_bytes(b"half")
    segment(slide, tmp_path, segmenter(plan__core=512))
    assert contents(folder) == contents(finished.folder)


def test_a_device_that_works_on_gets_its_next_tile_before_it_is_waited_for(
    finished, slide, segmenter, tmp_path, monkeypatch
):
    """As a GPU does, whose maps come later; the nuclei are the same."""
    events = []

    class Later:
        def __init__(self, number):
            self.number = number

        def query(self):
            return False

        def synchronize(self):
            events.append(("waited for", self.number))

    def start(self, image, tile, predict=TilePredictor.start):
        events.append(("started", tile.number))
        return dataclasses.replace(predict(self, image, tile), arrived=Later(tile.number))

    monkeypatch.setattr(TilePredictor, "start", start)
    segment(slide, tmp_path, segmenter(plan__core=512))
    assert contents(tmp_path / "phantom") == contents(finished.folder)
    count = sum(event == "started" for event, _ in events)
    assert [number for event, number in events if event == "waited for"] == list(range(count))
    for number in range(count - 1):
        assert events.index(("started", number + 1)) < events.index(("waited for", number))


def test_other_settings_or_another_model_do_not_mix(finished, slide, segmenter, bundle, tmp_path):
    output = shutil.copytree(finished.folder, tmp_path / "out" / "phantom").parent
    with pytest.raises(InputError, match=r"holds the output of another run .*plan was"):
        segment(slide, output, segmenter(plan__core=600))
    with pytest.raises(InputError, match=r"holds the output of another run .*whole was False, now True"):
        segment(slide, output, segmenter(plan__core=512), whole=True)
    other = shutil.copytree(bundle, tmp_path / "other")
    path = other / "models" / "model.pt"
    path.write_bytes(path.read_bytes() + b" ")
    changed = SlideSegmenter(
        segmenter().predictor.network, path, segmenter().instances, segmenter(plan__core=512).plan, bfloat16=False
    )
    with pytest.raises(InputError, match=r"holds the output of another run .*model_sha256 was"):
        segment(slide, output, changed)


def test_a_tile_that_cannot_be_read_is_recorded_and_the_others_finished(finished, damaged, segmenter, tmp_path, record):
    report = segment(damaged, tmp_path / "out", segmenter(plan__core=300), reader="openslide")
    content = record(report.folder)
    assert 0 < report.nuclei < finished.nuclei
    assert 0 < len(report.failed) < content["tiles"]
    assert content["failed"] == list(report.failed)
    boxes = [each["box"] for each in report.failed]
    assert any(x0 <= 600 < x1 and y0 <= 400 < y1 for x0, y0, x1, y1 in boxes)
    assert all("damaged slide" in each["reason"] for each in report.failed)
    # Of the tiles that were read, every nucleus is there.
    table = outlines(finished.folder)[0]
    x, y = table["x_px"].to_numpy(), table["y_px"].to_numpy()
    missing = sum(((x >= x0) & (x < x1) & (y >= y0) & (y < y1)).sum() for x0, y0, x1, y1 in boxes)
    assert abs(report.nuclei + missing - finished.nuclei) <= 0.01 * finished.nuclei
    # Once more, and only what failed is tried again.
    parts = {path: path.stat().st_mtime_ns for path in (report.folder / "parts").iterdir()}
    before = contents(report.folder)
    assert segment(damaged, tmp_path / "out", segmenter(plan__core=300), reader="openslide") == report
    assert {path: path.stat().st_mtime_ns for path in (report.folder / "parts").iterdir()} == parts
    assert contents(report.folder) == before


def write_glass(path):
    with tifffile.TiffWriter(path) as tiff:
        image = np.full((600, 600, 3), 240, np.uint8)
        tiff.write(image, tile=(256, 256), photometric="rgb", resolution=(40000, 40000), resolutionunit="CENTIMETER")


def test_glass_is_an_error_that_says_what_to_do(segmenter, tmp_path):
    write_glass(tmp_path / "glass.tiff")
    with pytest.raises(InputError, match=r"glass.tiff: no tissue found; with --whole glass is segmented as well"):
        segment(tmp_path / "glass.tiff", tmp_path / "out", segmenter())
    assert segment(tmp_path / "glass.tiff", tmp_path / "out", segmenter(), whole=True).nuclei == 0


def test_inputs_are_all_looked_at_before_any_is_segmented(slide, segmenter, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(InputError, match=r"broken.png: damaged"):
        segment_slides([slide, tmp_path / "broken.png"], tmp_path / "out", segmenter(), SegmentSettings(mpp=0.25))
    assert not (tmp_path / "out").exists()


def test_a_slide_of_glass_does_not_keep_the_others_from_being_segmented(slide, finished, segmenter, tmp_path):
    write_glass(tmp_path / "glass.tiff")
    both = [tmp_path / "glass.tiff", slide]
    with pytest.raises(InputError, match=r"glass.tiff: no tissue found; .* \(the other 1 are done\)"):
        segment_slides(both, tmp_path / "out", segmenter(plan__core=512), SegmentSettings())
    assert contents(tmp_path / "out" / "phantom") == contents(finished.folder)


def test_no_workers_are_refused(segmenter):
    with pytest.raises(InputError, match="workers must be at least 1, got 0"):
        segmenter(segmenter__workers=0)


def test_cucim_and_openslide_give_the_same_nuclei(finished, slide, segmenter, tmp_path):
    pytest.importorskip("cucim", reason="needs cuCIM: pip install 'nucleosynth[cucim]'")
    for reader in ("cucim", "openslide"):
        report = segment(slide, tmp_path / reader, segmenter(plan__core=512), reader=reader)
        assert outlines(report.folder)[0].equals(outlines(finished.folder)[0])
