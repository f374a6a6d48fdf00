"""Damaged slides and images: an error in one line or a finished run, never a hang, a traceback or half a result."""

import json
import shutil
import signal
from contextlib import contextmanager

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile

from nucleosynth.errors import InputError
from nucleosynth.slides.segmentation import segment_slides
from nucleosynth.slides.settings import SegmentSettings

pytestmark = pytest.mark.slow

CASES = 50  # Of each kind of file.
SECONDS = 120  # After which a case counts as hanging; most take a fifth of one.
KINDS = {
    "jpeg.tiff": {"compression": "jpeg"},
    "deflate.tiff": {"compression": "deflate"},
    "plain.tiff": {},
    "aperio.svs": {
        "compression": "jpeg",
        "description": "Aperio Image Library v1\r\n320x300 (128x128) JPEG/RGB Q=70|AppMag = 40|MPP = 0.25",
    },
}


def write_slide(path, pixels, **options):
    with tifffile.TiffWriter(path) as tiff:
        for factor in (1, 2):
            level = pixels[::factor, ::factor]
            kind = {"tile": (128, 128), "photometric": "rgb", "subfiletype": int(factor > 1), "metadata": None}
            kind |= {"resolution": (40000, 40000), "resolutionunit": "CENTIMETER", **options}
            if options.get("compression") == "jpeg":
                kind |= {"photometric": "ycbcr", "subsampling": (2, 2), "shape": level.shape, "dtype": np.uint8}
                level = jpeg_tiles(level)
            tiff.write(level, **kind)


def jpeg_tiles(pixels, side=128):
    for top in range(0, pixels.shape[0], side):
        for left in range(0, pixels.shape[1], side):
            tile = pixels[top : top + side, left : left + side]
            missing = ((0, side - tile.shape[0]), (0, side - tile.shape[1]), (0, 0))
            yield cv2.imencode(".jpg", np.pad(tile, missing)[..., ::-1])[1].tobytes()


@pytest.fixture(scope="module")
def whole(phantom, tmp_path_factory):
    """Whole files of each kind, small: most of a file is then headers, where damage does most harm."""
    folder = tmp_path_factory.mktemp("whole")
    pixels = phantom.image[300:600, 400:720]
    for name, options in KINDS.items():
        write_slide(folder / name, pixels, **options)
    for name in ("image.png", "image.jpg", "flat.tif"):
        cv2.imwrite(str(folder / name), pixels[..., ::-1])
    return folder


def damage(content, rng):
    """Cut it short, flip some bits, overwrite a stretch, or change numbers among the tags at its beginning or end."""
    data = bytearray(content)
    how = rng.integers(5)
    if how == 0:
        return bytes(data[: rng.integers(0, len(data))])
    if how == 1:
        for place in rng.integers(0, len(data), rng.integers(1, 40)):
            data[place] ^= 1 << rng.integers(8)
    elif how == 2:
        begin = rng.integers(0, len(data))
        stretch = slice(begin, min(begin + rng.integers(1, 4000), len(data)))
        data[stretch] = rng.bytes(len(data[stretch]))
    else:
        # Tags stand at the beginning or, as tifffile writes them, before each level's pixels.
        region = 600 if how == 3 else len(data)
        for place in rng.integers(4, region - 4, rng.integers(1, 6)):
            data[place : place + 4] = int(rng.choice([0, 1, 255, 65535, 2**31 - 1, 2**32 - 1])).to_bytes(4, "little")
    return bytes(data)


@contextmanager
def limited(what):
    def give_up(*_):
        pytest.fail(f"{what} hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def check_finished(folder):
    """A folder that says it is whole is."""
    record = json.loads((folder / "run.json").read_text())
    assert pq.read_table(folder / "nuclei.parquet").num_rows == record["nuclei"]
    assert len(json.loads((folder / "nuclei.geojson").read_text())["features"]) == record["nuclei"]
    assert cv2.imread(str(folder / "overview.png")) is not None


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs SIGALRM")
@pytest.mark.parametrize("kind", [*KINDS, "image.png", "image.jpg", "flat.tif"])
def test_damaged_files_end_in_an_error_or_a_finished_run(kind, whole, segmenter, tmp_path):
    # Outlined in a thread: to start a process for each of hundreds of files would take minutes.
    loaded = segmenter(segmenter__workers=1)
    content, rng = (whole / kind).read_bytes(), np.random.default_rng(len(kind))
    outcomes = {"finished": 0, "refused": 0}
    for case in range(CASES):
        settings = SegmentSettings(mpp=0.25, reader=("auto", "openslide")[case % 2])
        path, output = tmp_path / kind, tmp_path / "out"
        path.write_bytes(damage(content, rng))
        shutil.rmtree(output, ignore_errors=True)
        with limited(f"case {case} of {kind}"):
            try:
                (report,) = segment_slides([path], output, loaded, settings)
            except (InputError, OSError):
                assert not list(output.glob("*/run.json"))
                outcomes["refused"] += 1
            else:
                check_finished(report.folder)
                outcomes["finished"] += 1
    # Neither was all damage found harmless, nor was anything refused for being there.
    assert outcomes["refused"] > 0
    assert kind == "image.png" or outcomes["finished"] > 0
