import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
import tifffile
import torch
import yaml

from nucleosynth.bundles import bundle_path
from nucleosynth.data.phantom import PhantomSettings, generate_phantom, write_phantom
from nucleosynth.postprocess import NucleusMeasures
from nucleosynth.slides.model import load_segmenter
from nucleosynth.slides.table import MEASUREMENTS, SCHEMA, nuclei_table

DARK = 0.1  # Of the red channel, in [-1, 1]: most of a nucleus of a phantom lies below, most else above.


def write_bundle(folder, sharpness=20.0):
    """A bundle whose network is one convolution: what is dark in red is a nucleus, all of it its core."""
    shutil.copytree(bundle_path("nuclei_segmentation"), folder, ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "configs" / "slide_inference.yaml"
    config = yaml.safe_load(path.read_text())
    config["network_def"] = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 2, "kernel_size": 5}
    config["network_def"] |= {"padding": 2, "padding_mode": "replicate"}
    config["device"] = "cpu"
    config["segmenter"] |= {"bfloat16": False}
    config["plan"]["core"] = 256
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    weight = torch.zeros(2, 3, 5, 5)
    weight[:, 0] = -sharpness / 25
    (folder / "models").mkdir(exist_ok=True)
    torch.save({"weight": weight, "bias": torch.full((2,), sharpness * DARK)}, folder / "models" / "model.pt")
    return folder


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("model") / "nuclei_segmentation")


@pytest.fixture(scope="session")
def phantom():
    return generate_phantom(PhantomSettings(width=1100, height=900, seed=3))


@pytest.fixture(scope="session")
def slide(phantom, tmp_path_factory):
    """A slide at 0.25 µm/px, some 0.06 mm²."""
    return write_phantom(phantom, tmp_path_factory.mktemp("slides"), "phantom")[0]


@pytest.fixture
def damaged(slide, tmp_path):
    """The slide, compressed, with zeros in place of a tile in the middle: x from 512 to 768, y from 256 to 512."""
    path = tmp_path / "damaged.tiff"
    with tifffile.TiffFile(slide) as tiff:
        image = tiff.pages[0].asarray()
    with tifffile.TiffWriter(path) as tiff:
        kind = {"tile": (256, 256), "photometric": "rgb", "compression": "deflate", "metadata": None}
        tiff.write(image, resolution=(40000, 40000), resolutionunit="CENTIMETER", **kind)
    with tifffile.TiffFile(path) as tiff:
        offset, length = tiff.pages[0].dataoffsets[7], tiff.pages[0].databytecounts[7]
    content = bytearray(path.read_bytes())
    content[offset : offset + length] = bytes(length)
    path.write_bytes(content)
    return path


@pytest.fixture
def segmenter(bundle):
    """Loads the bundle with changes of its configuration."""

    def load(**changes):
        return load_segmenter(bundle, {key.replace("__", "#"): value for key, value in changes.items()})

    return load


@pytest.fixture
def record():
    """Reads the record of a slide's folder, without what differs from run to run."""

    def read(folder):
        content = json.loads((folder / "run.json").read_text())
        return {key: value for key, value in content.items() if key not in ("started", "finished", "seconds")}

    return read


@pytest.fixture
def write_nuclei():
    """Write ``nuclei.parquet`` from parts, each a list of outlines in level-0 pixels; measurement k of nucleus i is
    100 k + i, its centroid that of its outline."""

    def write(path, parts, mpp=0.5):
        path.parent.mkdir(parents=True, exist_ok=True)
        first = 0
        with pq.ParquetWriter(path, SCHEMA) as writer:
            for part in parts:
                polygons = np.array([shapely.Polygon(outline) for outline in part])
                x, y = shapely.get_coordinates(shapely.centroid(polygons)).T
                number = np.arange(first, first + len(part), dtype=np.float32)
                values = {name: 100 * k + number for k, name in enumerate(MEASUREMENTS)}
                writer.write_table(nuclei_table(polygons, NucleusMeasures(x=x, y=y, **values), 1.0, mpp))
                first += len(part)
        return path

    return write
