import csv
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from nucleosynth.data.images import read_label, write_label
from nucleosynth.errors import InputError
from nucleosynth.metrics import score_instances
from nucleosynth.postprocess import outline_nuclei
from nucleosynth.slides.evaluation import evaluate_folders, mean_auroc, mean_scores, read_prediction, write_scores

SQUARES = np.zeros((40, 60), np.int32)
SQUARES[5:15, 5:15] = 1
SQUARES[20:36, 30:50] = 2


def polygon(*ring, holes=()):
    rings = [[*each, each[0]] for each in (ring, *holes)]
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": rings}}


def write_geojson(path, *features):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}))


def pieces(mask):
    return cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1


def as_features(label):
    return [polygon(*map(tuple, np.asarray(each.exterior.coords)[:-1])) for each in outline_nuclei(label, 0.25, 0.4)]


@pytest.fixture
def truth(tmp_path):
    write_label(tmp_path / "truth" / "a.png", SQUARES)
    write_label(tmp_path / "truth" / "sub" / "b.png", SQUARES)
    return tmp_path / "truth"


def test_each_kind_of_prediction_is_found_and_scored(truth, tmp_path):
    found = tmp_path / "found"
    half = np.where(SQUARES == 1, 1, 0)
    write_geojson(found / "a" / "nuclei.geojson", *as_features(SQUARES))
    (found / "sub").mkdir()
    tifffile.imwrite(found / "sub" / "b.tif", half.astype(np.uint16))
    first, second = evaluate_folders(truth, found)
    assert (first.name, first.nuclei, first.predicted) == ("a", 2, 2)
    assert first.scores == score_instances(SQUARES, SQUARES)
    assert (second.name, second.nuclei, second.predicted) == ("sub/b", 2, 1)
    assert second.scores.aji == pytest.approx(100 / 420)
    assert second.scores.dq == pytest.approx(2 / 3)
    mean = mean_scores([first, second])
    assert mean.aji == pytest.approx((1 + 100 / 420) / 2)


def test_a_data_sets_folder_stands_for_its_labels(tmp_path):
    write_label(tmp_path / "data" / "labels" / "a.png", SQUARES)
    (each,) = evaluate_folders(tmp_path / "data", tmp_path / "data" / "labels")
    assert each.scores.pq == 1.0


def test_outlines_are_filled_with_holes_and_pieces_and_later_ones_on_top(tmp_path):
    outer = [(0, 0), (20, 0), (20, 20), (0, 20)]
    hole = [(5, 5), (15, 5), (15, 15), (5, 15)]
    pieces = {"type": "MultiPolygon", "coordinates": [[[(30, 2), (34, 2), (34, 6), (30, 6), (30, 2)]]] * 2}
    outside = polygon((-50, -50), (-40, -50), (-40, -40))
    beneath = polygon((8, 8), (12, 8), (12, 12), (8, 12))
    write_geojson(
        tmp_path / "a.geojson", beneath, polygon(*outer, holes=[hole]), outside, {"geometry": pieces, "type": "Feature"}
    )
    label = read_prediction(tmp_path, Path("a"), (40, 60)).label
    assert label[10, 10] == 1
    assert label[6, 6] == 0
    assert label[2, 2] == label[18, 18] == 2
    assert label[4, 32] == 4
    assert set(np.unique(label)) == {0, 1, 2, 4}


def with_probabilities(label, *values):
    features = as_features(label)
    for feature, value in zip(features, values, strict=True):
        feature["properties"] = {"measurements": {"Area µm^2": 1.0} | ({} if value is None else {"Probability": value})}
    return features


def test_probabilities_of_nuclei_are_weighed_where_all_have_one(truth, tmp_path):
    """The second square is not where it was: the first, which is, has to have the higher probability."""
    found, label = tmp_path / "found", np.where(SQUARES == 1, 1, np.roll(np.where(SQUARES == 2, 2, 0), -14, 1))
    write_geojson(found / "a" / "nuclei.geojson", *with_probabilities(label, 0.9, 0.8))
    write_geojson(found / "sub" / "b" / "nuclei.geojson", *with_probabilities(label, 0.7, 0.8))
    images = evaluate_folders(truth, found)
    assert [each.auroc for each in images] == [1.0, 0.0]
    assert mean_auroc(images) == 0.5
    write_geojson(found / "sub" / "b" / "nuclei.geojson", *with_probabilities(label, 0.7, None))
    images = evaluate_folders(truth, found)
    assert [each.auroc for each in images] == [1.0, None]
    assert mean_auroc(images) == 1.0
    write_scores(tmp_path / "scores.csv", images)
    assert [row["auroc"] for row in csv.DictReader((tmp_path / "scores.csv").open())] == ["1.0000", "", "1.0000"]
    assert mean_auroc(evaluate_folders(truth, truth)) is None


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (None, None, r"no prediction for a; there should be a.png or a/nuclei.geojson"),
        ("a.geojson", b"{", "damaged, or not a GeoJSON of polygons"),
        ("a.geojson", b'{"features": [{"geometry": {"type": "Point", "coordinates": [1, 2]}}]}', "not a GeoJSON of"),
        ("a.geojson", b'{"features": [{"geometry": null}]}', "damaged, or not a GeoJSON of polygons"),
        ("a.geojson", b'{"features": [{"geometry": {"type": "Polygon", "coordinates": [["x"]]}}]}', "nucleus 1 has no"),
        ("a.geojson", b'{"features": [{"geometry": {"type": "Polygon", "coordinates": []}}]}', "nucleus 1 has no"),
        ("a.png", b"no image", "missing or damaged"),
        ("a.tif", b"no image", "damaged, or not a TIFF"),
    ],
)
def test_a_damaged_or_missing_prediction_is_one_line(tmp_path, file, content, message):
    write_label(tmp_path / "truth" / "a.png", SQUARES)
    (tmp_path / "found").mkdir()
    if file is not None:
        (tmp_path / "found" / file).write_bytes(content)
    with pytest.raises(InputError, match=message):
        evaluate_folders(tmp_path / "truth", tmp_path / "found")


def test_another_size_and_empty_folders_are_refused(truth, tmp_path):
    write_label(tmp_path / "found" / "a.png", SQUARES[:30])
    with pytest.raises(InputError, match=r"a\.png: differs in size from its prediction, 60x40 and 60x30 px"):
        evaluate_folders(truth, tmp_path / "found")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no label images"):
        evaluate_folders(tmp_path / "empty", truth)
    with pytest.raises(InputError, match="nowhere: no such folder"):
        evaluate_folders(truth, tmp_path / "nowhere")
    tifffile.imwrite(tmp_path / "empty" / "a.tif", np.zeros((40, 60), np.float32))
    with pytest.raises(InputError, match="ids in one channel, this is float32"):
        read_prediction(tmp_path / "empty", Path("a"), SQUARES.shape)


def test_the_file_holds_a_row_for_each_image_and_their_mean(truth, tmp_path):
    images = evaluate_folders(truth, truth)
    write_scores(tmp_path / "scores.csv", images)
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert [row["image"] for row in rows] == ["a", "sub/b", "mean"]
    assert [row["nuclei"] for row in rows] == ["2", "2", "4"]
    assert {row["aji"] for row in rows} == {"1.0000"}


def test_on_real_images_it_agrees_with_the_independent_scorer(shared_data, tmp_path):
    """Against a prediction that is off: every label moved by some pixels, some left out; as image and as outlines."""
    scorer = shared_data.parent / "tools" / "score.py"
    truth = shared_data / "monuseg" / "val" / "labels"
    found = tmp_path / "found"
    for number, path in enumerate(sorted(truth.glob("*.png"))):
        label = read_label(path).astype(np.int32)
        label[label % 7 == 0] = 0
        moved = np.roll(label, number, axis=number % 2)
        if number % 2:
            write_label(found / path.name, moved)
        else:
            ids = np.unique(moved, return_inverse=True)[1].reshape(moved.shape)
            whole = [each for each in range(1, ids.max() + 1) if pieces(ids == each) == 1]
            ids = np.where(np.isin(ids, whole), ids, 0)
            ids = np.unique(ids, return_inverse=True)[1].reshape(moved.shape)
            write_geojson(found / path.stem / "nuclei.geojson", *as_features(ids.astype(np.int32)))
    command = [sys.executable, str(scorer), str(truth), str(found), "--json"]
    expected = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    mean = mean_scores(evaluate_folders(truth, found))
    for name in ("dice", "dice2", "avg", "aji", "pq", "dq", "sq"):
        assert getattr(mean, name) == pytest.approx(expected[name], abs=5.1e-5)
    assert 0.2 < mean.aji < 0.95
