import csv
import json
import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tifffile

from nucleosynth.data.images import read_image, write_png
from nucleosynth.errors import InputError
from nucleosynth.slides.settings import TileSettings
from nucleosynth.slides.sources import find_sources
from nucleosynth.slides.tiles import COLUMNS, sample_tiles, slide_positions, spread

SMALL = TileSettings(size=128, mpp=0.25)


def tissue(height, width, seed=0):
    """Something that all checks take for tissue in focus at 0.25 µm/px: pink fibres and violet discs."""
    rng = np.random.default_rng(seed)
    eosin = np.clip(0.7 + 1.3 * cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), 1.5), 0.1, None)
    nuclei = np.zeros((height, width))
    for x, y in rng.uniform(0, 1, (height * width // 1700 + 1, 2)):
        cv2.circle(nuclei, (int(x * width), int(y * height)), 12, 1.0, -1, cv2.LINE_AA)
    density = eosin[..., None] * (0.05, 0.6, 0.12) + nuclei[..., None] * (0.9, 1.0, 0.4)
    return np.rint(250 * np.exp(-density)).astype(np.uint8)


def write_slide(path, pixels, mpp=0.25):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path) as tiff:
        for factor in (1, 4):
            level = cv2.resize(pixels, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
            resolution = (1e4 / mpp / factor, 1e4 / mpp / factor)
            kind = {"tile": (256, 256), "photometric": "rgb", "compression": "deflate", "metadata": None}
            tiff.write(level, subfiletype=int(factor > 1), resolution=resolution, resolutionunit="CENTIMETER", **kind)
    return path


def rows_of(folder):
    with (folder / "tiles.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def files_of(folder):
    return {path.name: path.read_bytes() for path in [*folder.glob("tiles/*"), folder / "tiles.csv"]}


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    """1024 x 1024 pixels: tissue on the left, glass on the right, and a blurred tile at (128, 256)."""
    pixels = np.full((1024, 1024, 3), 245, np.uint8)
    pixels[:, :512] = tissue(1024, 512)
    pixels[256:384, 128:256] = cv2.GaussianBlur(pixels, (0, 0), 4)[256:384, 128:256]
    return write_slide(tmp_path_factory.mktemp("slide") / "case 1.tif", pixels)


def test_tiles_of_a_slide_are_its_pixels_and_lie_in_its_tissue(tmp_path, slide):
    report = sample_tiles([slide], tmp_path, TileSettings(size=128, per_slide=100))
    rows = rows_of(tmp_path)
    assert tuple(rows[0]) == COLUMNS
    assert report.kept == len(rows) == 31
    assert report.refused == {"blurred": 1}
    pixels = tifffile.imread(slide)
    for row in rows:
        x, y = int(row["x"]), int(row["y"])
        assert x + 128 <= 512
        assert row["file"] == f"tiles/case_1__{x}_{y}.png"
        assert (row["type"], row["slide"], row["source_mpp"]) == ("case_1", "case_1", "0.25")
        assert float(row["tissue_share"]) > 0.9
        assert np.array_equal(read_image(tmp_path / row["file"]), pixels[y : y + 128, x : x + 128])
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["settings"]["size"] == 128
    assert record["kept"] == 31
    assert not (tmp_path / "unfinished.json").exists()


def test_the_seed_decides_and_refused_tiles_are_replaced(tmp_path, slide):
    choices = {}
    for seed in (0, 0, 1):
        folder = tmp_path / f"{seed}-{len(choices)}"
        report = sample_tiles([slide], folder, TileSettings(size=128, per_slide=20, seed=seed))
        assert report.kept == 20
        choices[folder.name] = files_of(folder)
    first, *_, other = choices.values()
    assert first.keys() != other.keys()
    sample_tiles([slide], tmp_path / "again", TileSettings(size=128, per_slide=20))
    assert files_of(tmp_path / "again") == first


def test_a_20x_slide_is_magnified(tmp_path):
    pixels = tissue(512, 512)
    half = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    sample_tiles([write_slide(tmp_path / "a.tif", half, mpp=0.5)], tmp_path / "out", TileSettings(size=256))
    rows = rows_of(tmp_path / "out")
    assert {(row["x"], row["y"]) for row in rows} == {("0", "0"), ("128", "0"), ("0", "128"), ("128", "128")}
    for row in rows:
        x, y = 2 * int(row["x"]), 2 * int(row["y"])
        tile = read_image(tmp_path / "out" / row["file"])
        assert tile.shape == (256, 256, 3)
        assert np.abs(tile.astype(int) - pixels[y : y + 256, x : x + 256]).mean() < 6


def test_images_are_covered_and_small_ones_kept_whole(tmp_path):
    large, small = tissue(200, 300), tissue(100, 90, seed=1)
    write_png(tmp_path / "in" / "kidney" / "large.png", large)
    write_png(tmp_path / "in" / "liver" / "small.png", small)
    sample_tiles([tmp_path / "in"], tmp_path / "out", SMALL)
    rows = rows_of(tmp_path / "out")
    positions = [(int(row["x"]), int(row["y"])) for row in rows if row["type"] == "kidney"]
    assert positions == [(0, 0), (86, 0), (172, 0), (0, 72), (86, 72), (172, 72)]
    for x, y in positions:
        tile = read_image(tmp_path / "out" / "tiles" / f"kidney__large__{x}_{y}.png")
        assert np.array_equal(tile, large[y : y + 128, x : x + 128])
    assert np.array_equal(read_image(tmp_path / "out" / "tiles" / "liver__small__0_0.png"), small)


def test_bad_images_are_counted_by_reason(tmp_path):
    good = tissue(128, 128)
    for name, pixels in {
        "good": good,
        "white": np.full_like(good, 255),
        "blurred": cv2.GaussianBlur(good, (0, 0), 4),
        "tiny": good[:40, :40],
    }.items():
        write_png(tmp_path / "in" / f"{name}.png", pixels)
    report = sample_tiles([tmp_path / "in"], tmp_path / "out", SMALL)
    assert report.kept == 1
    assert report.refused == {"blurred": 1, "images below 64 px": 1, "too little tissue": 1}


def test_when_nothing_is_kept_the_reasons_are_told_and_the_folder_is_free(tmp_path):
    write_png(tmp_path / "in" / "a.png", np.full((128, 128, 3), 255, np.uint8))
    write_slide(tmp_path / "in" / "b.tif", np.full((512, 512, 3), 250, np.uint8))
    with pytest.raises(InputError, match=r"no tile was good enough.*1 too little tissue"):
        sample_tiles([tmp_path / "in"], tmp_path / "out", SMALL)
    assert not list((tmp_path / "out").iterdir())


def test_same_names_do_not_collide(tmp_path):
    for folder in ("a/brain", "b/brain"):
        write_png(tmp_path / folder / "x.png", tissue(64, 64, seed=len(folder)))
        cv2.imwrite(str(tmp_path / folder / "x.jpg"), tissue(64, 64, seed=3))
    write_slide(tmp_path / "a" / "s.tif", tissue(256, 256))
    write_slide(tmp_path / "b" / "S.tif", tissue(256, 256, seed=9))
    inputs = [tmp_path / "a" / "brain", tmp_path / "b" / "brain", tmp_path / "a" / "s.tif", tmp_path / "b" / "S.tif"]
    sources = find_sources([*inputs, inputs[0]], "folder", tmp_path / "out")
    assert [(source.type, source.name) for source in sources] == [
        ("brain", "brain__x"),
        ("brain", "brain__x-2"),
        ("brain-2", "brain-2__x"),
        ("brain-2", "brain-2__x-2"),
        ("s", "s"),
        ("S-2", "S-2"),
    ]
    by_image = find_sources(inputs[:1], "image", tmp_path / "out")
    assert [source.type for source in by_image] == ["x", "x-2"]


def test_a_folder_is_searched_for_slides_and_images_but_not_the_output(tmp_path):
    write_slide(tmp_path / "deep" / "er" / "s.tiff", tissue(256, 256))
    write_png(tmp_path / "flat.png", tissue(64, 64))
    write_png(tmp_path / "out" / "tiles" / "old.png", tissue(64, 64))
    (tmp_path / "notes.txt").write_text("")
    sources = find_sources([tmp_path], "folder", tmp_path / "out" / "tiles")
    assert [(source.path.name, source.is_slide) for source in sources] == [("s.tiff", True), ("flat.png", False)]
    assert sources[1].type == tmp_path.name.replace(" ", "_")


@pytest.mark.parametrize(
    "damage", ["truncated image", "truncated slide", "no scale", "text as slide", "missing", "empty"]
)
def test_a_bad_input_is_named_before_anything_is_written(tmp_path, damage):
    good, bad = tmp_path / "in" / "good.png", tmp_path / "in" / "bad.png"
    write_png(good, tissue(128, 128))
    settings = SMALL
    if damage == "truncated image":
        bad.write_bytes(good.read_bytes()[:5000])
    elif damage == "truncated slide":
        bad = write_slide(tmp_path / "in" / "bad.tif", tissue(512, 512))
        bad.write_bytes(bad.read_bytes()[:100_000])
    elif damage == "no scale":
        bad, settings = good, TileSettings(size=128)
    elif damage == "text as slide":
        bad = tmp_path / "in" / "bad.svs"
        bad.write_text("text")
    elif damage == "missing":
        bad = tmp_path / "nowhere"
    else:
        bad = tmp_path / "bare"
        bad.mkdir()
    with pytest.raises(InputError, match=bad.name) as caught:
        sample_tiles([tmp_path / "in", bad], tmp_path / "out", settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_output_of_other_settings_is_refused_and_strangers_are_left_alone(tmp_path, slide):
    (tmp_path / "notes.txt").write_text("mine")
    sample_tiles([slide], tmp_path, TileSettings(size=256))
    before = files_of(tmp_path)
    with pytest.raises(InputError, match=r"another run .*size was 256, now 128"):
        sample_tiles([slide], tmp_path, TileSettings(size=128))
    assert files_of(tmp_path) == before
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_damaged_tile_is_made_again(tmp_path, slide):
    sample_tiles([slide], tmp_path, TileSettings(size=256))
    before = files_of(tmp_path)
    tile = next((tmp_path / "tiles").iterdir())
    tile.write_bytes(tile.read_bytes()[:1000])
    sample_tiles([slide], tmp_path, TileSettings(size=256))
    assert files_of(tmp_path) == before


def test_a_killed_run_continues_to_the_same_bytes(tmp_path, slide, run_until_killed):
    images = tmp_path / "in"
    for index in range(40):
        write_png(images / f"{index}.png", tissue(512, 512, seed=index))
    arguments = ["tiles", str(slide), str(images), "--mpp", "0.25", "--size", "256", "-o"]
    run_until_killed([*arguments, tmp_path / "killed"], ".png", 20)
    tiles = tmp_path / "killed" / "tiles"
    assert not (tmp_path / "killed" / "tiles.csv").exists()
    assert not (tmp_path / "killed" / "run.json").exists()
    old = {path: path.stat().st_mtime_ns for path in tiles.glob("[!.]*.png")}
    assert len(old) == 19
    for output in ("killed", "whole"):
        command = [sys.executable, "-m", "nucleosynth", *arguments, str(tmp_path / output)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert {path: path.stat().st_mtime_ns for path in old} == old
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")
    assert not [name for name in os.listdir(tiles) if name.startswith(".")]


def test_pieces_are_spread_evenly():
    assert spread(100, 128) == [0]
    assert spread(256, 128) == [0, 128]
    assert spread(257, 128) == [0, 64, 129]


def test_cells_need_their_share_of_tissue():
    mask = np.zeros((8, 12), bool)
    mask[:4, :4] = True
    mask[4:, 4:6] = True
    assert slide_positions(mask, (3, 2), 0.5).tolist() == [[0, 0], [1, 1]]
    assert slide_positions(mask, (3, 2), 0.51).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 10}, "size must be at least 64 px, got 10"),
        ({"mpp": 0}, "mpp must be positive, got 0"),
        ({"target_mpp": float("nan")}, "target_mpp must be positive, got nan"),
        ({"per_slide": 0}, "per_slide must be at least 1, got 0"),
        ({"seed": -1}, "seed must not be negative, got -1"),
        ({"reader": "x"}, "reader must be one of auto, cucim, openslide, got 'x'"),
        ({"type_by": "x"}, "type_by must be one of folder, image, got 'x'"),
    ],
)
def test_settings_are_validated(wrong, message):
    with pytest.raises(ValueError, match=message):
        TileSettings(**wrong)


def test_real_slides_give_tiles(shared_data, tmp_path):
    slides = shared_data / "slides"
    svs, dicom = slides / "CMU-1-Small-Region.svs", slides / "CMU-1-Small-Region_dicom"
    report = sample_tiles([svs, dicom], tmp_path, TileSettings(size=512, per_slide=8))
    assert report.kept == 16
    assert {row["source_mpp"] for row in rows_of(tmp_path)} == {"0.499"}
    shutil.rmtree(tmp_path / "tiles")
