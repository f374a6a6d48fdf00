"""The bundles as MONAI runs them: trainings, baselines and ablations, segmentation, scores, refined data sets."""

import ast
import csv
import dataclasses
import math
import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from mlflow import MlflowClient
from PIL import Image

from nucleosynth.bundles import bundle_path
from nucleosynth.data.images import read_label, write_label, write_png
from nucleosynth.data.phantom import PhantomSettings, generate_phantom
from nucleosynth.engines import TrainingSettings, train_networks
from nucleosynth.metrics import score_instances
from nucleosynth.slides.model import load_segmenter
from nucleosynth.slides.segmentation import segment_slides
from nucleosynth.slides.settings import SegmentSettings

pytestmark = pytest.mark.slow

# Width and height: smaller than a window, no multiples of 16, one side of a window, more than a window.
SIZES = {"thin": (100, 75), "odd": (301, 65), "inner/same": (100, 75), "square": (256, 256)}
ABLATIONS = ("no_reference", "no_weights", "no_hard", "no_refinement")
BASELINES = ("supervised", "real_mix")


def run_bundle(folder, files, **options):
    """Run configurations of a bundle in a process of their own; returns what it printed."""
    paths = [str(folder / "configs" / file) if "/" not in file else file for file in files]
    command = [sys.executable, "-m", "monai.bundle", "run"]
    command += ["--config_file", paths[0] if len(paths) == 1 else str(paths), "--bundle_root", str(folder)]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stdout


@pytest.fixture(scope="module")
def trained(tiles, overlays, tmp_path_factory):
    """What ``nucleosynth train`` leaves."""
    output = tmp_path_factory.mktemp("trained") / "out put"
    return train_networks(tiles, output, TrainingSettings("quick", (overlays["nuclei_segmentation"],)))


@pytest.fixture(scope="module")
def tissue(tmp_path_factory):
    """Images and labels of many sizes, one without any tissue."""
    folder = tmp_path_factory.mktemp("tissue")
    for seed, (name, (width, height)) in enumerate(SIZES.items()):
        phantom = generate_phantom(PhantomSettings(width=width, height=height, seed=seed, tissue_share=1.0))
        write_png(folder / "images" / f"{name}.png", phantom.image)
        write_label(folder / "labels" / f"{name}.png", phantom.labels)
    write_png(folder / "images" / "white.png", np.full((33, 40, 3), 255, np.uint8))
    write_label(folder / "labels" / "white.png", np.zeros((33, 40), np.uint16))
    return folder


@pytest.fixture(scope="module")
def segmented(trained, tissue, tmp_path_factory):
    output = tmp_path_factory.mktemp("segmented")
    run_bundle(trained.segmentation, ["inference.yaml"], dataset_dir=tissue / "images", output_dir=output)
    return output


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_segmentation_leaves_a_label_image_of_each_image(segmented, tissue):
    assert files(segmented) == files(tissue / "images")
    for name in files(segmented):
        with Image.open(segmented / name) as label, Image.open(tissue / "images" / name) as image:
            assert label.mode.startswith("I;16")
            assert label.size == image.size


def test_ids_count_from_one_without_a_gap(segmented):
    for name in files(segmented):
        ids = np.unique(read_label(segmented / name))
        assert ids.tolist() in (list(range(len(ids))), list(range(1, len(ids) + 1)))


def test_an_image_of_one_colour_is_one_region_or_none(segmented):
    """A network without training says anything, but it has nothing to tell parts of the image apart by."""
    assert read_label(segmented / "white.png").max() <= 1


def test_slides_and_images_of_any_size_are_segmented_by_the_same_pipeline_as_by_the_command(trained, tissue, tmp_path):
    """Also at another scale than the network's."""
    run_bundle(
        trained.segmentation,
        ["slide_inference.yaml"],
        dataset_dir=tissue / "images",
        output_dir=tmp_path,
        slide_mpp=0.5,
    )
    assert len(list(tmp_path.glob("*/run.json"))) == len(SIZES) + 1
    settings = SegmentSettings(mpp=0.5)
    reports = segment_slides([tissue / "images"], tmp_path, load_segmenter(trained.segmentation), settings)
    for report in reports:
        assert report.nuclei == pq.read_metadata(report.folder / "nuclei.parquet").num_rows
        assert not report.failed


def test_a_trained_bundle_knows_its_scale(trained):
    config = yaml.safe_load((trained.segmentation / "configs" / "slide_inference.yaml").read_text())
    assert config["mpp"] == 0.25
    assert load_segmenter(trained.segmentation).instances.mpp == 0.25


def test_evaluation_prints_the_scores_of_the_labels_that_it_writes(trained, tissue, segmented, tmp_path):
    printed = run_bundle(
        trained.segmentation, ["inference.yaml", "evaluate.yaml"], dataset_dir=tissue, output_dir=tmp_path
    )
    scores = ast.literal_eval(printed.strip().splitlines()[-1])
    assert set(scores) == {"aji", "avg", "dice", "dice2", "pq"}
    assert files(tmp_path) == files(tissue / "labels")
    each = []
    for name in files(tmp_path):
        label = read_label(tmp_path / name)
        np.testing.assert_array_equal(label, read_label(segmented / name))
        each.append(dataclasses.asdict(score_instances(read_label(tissue / "labels" / name), label)))
    assert scores == {name: pytest.approx(np.mean([one[name] for one in each]), abs=6e-5) for name in scores}


def test_refined_patches_come_with_weights(trained, tiles, tmp_path):
    output = tmp_path / "patches"
    printed = run_bundle(
        trained.synthesis, ["inference.yaml"], dataset_dir=tiles, output_dir=output, count=3, workers=1
    )
    assert "SynthesisReport(patches=3" in printed
    with (output / "weights.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["000000.png", "000001.png", "000002.png"]
    low, high = yaml.safe_load((bundle_path("nuclei_synthesis") / "configs" / "train.yaml").read_text())["train"][
        "weighting"
    ]["clip"]
    assert all(low <= float(row["weight"]) <= high and math.isfinite(float(row["logit"])) for row in rows)
    assert (output / "run.json").exists()
    with Image.open(output / "images" / "000000.png") as image:
        assert image.size == (64, 64)


def recorded(database):
    """The one run in a tracking database, and its metrics."""
    client = MlflowClient(f"sqlite:///{database}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    (run,) = client.search_runs(experiments)
    assert run.info.status == "FINISHED"
    return run.data.metrics


def state_dicts(folder):
    return {path.name: torch.load(path, weights_only=True) for path in folder.glob("*.pt")}


def test_a_plain_run_of_the_segmentation_bundle_is_tracked_by_monai_too(tiles, overlays, tmp_path):
    configs = ["train.yaml", "preset_quick.yaml", overlays["nuclei_segmentation"]]
    run_bundle(bundle_path("nuclei_segmentation"), configs, dataset_dir=tiles, output_dir=tmp_path, tracking="mlflow")
    models = state_dicts(tmp_path / "models")
    assert set(models) == {"model.pt", "refiner.pt", "discriminator.pt"}
    assert all(value.isfinite().all() for state in models.values() for value in state.values())
    assert {"loss/task", "loss/refiner", "loss/discriminator"} <= set(recorded(tmp_path / "mlflow.db"))
    assert "train_loss" in recorded(tmp_path / "mlruns.db")


def test_a_plain_run_of_the_synthesis_bundle_leaves_its_networks(tiles, overlays, tmp_path):
    configs = ["train.yaml", "preset_quick.yaml", overlays["nuclei_synthesis"]]
    run_bundle(bundle_path("nuclei_synthesis"), configs, dataset_dir=tiles, output_dir=tmp_path)
    models = state_dicts(tmp_path / "models")
    assert set(models) == {"model.pt", "discriminator.pt"}
    assert all(value.isfinite().all() for state in models.values() for value in state.values())


@pytest.mark.parametrize("name", [*ABLATIONS, *BASELINES])
def test_every_ablation_and_baseline_trains(name, tiles, labelled, overlays, tmp_path):
    folder = labelled if name in BASELINES else None
    overlay = (overlays["nuclei_segmentation"], name)
    report = train_networks(tiles, tmp_path / "out", TrainingSettings("quick", overlay, labelled=folder))
    state = torch.load(report.segmentation / "models" / "model.pt", weights_only=True)
    assert all(value.isfinite().all() for value in state.values())
    assert (report.synthesis is None) == (name in ("supervised", "no_refinement", "no_weights"))
    assert set(report.metrics) == (set() if name == "supervised" else {"synthetic_aji", "synthetic_pq"})
    metrics = recorded(tmp_path / "out" / "mlflow.db")
    steps = {"task"}
    if name != "supervised":
        steps |= {"discriminator"} | ({"refiner"} if name != "no_refinement" else set())
    assert {key for key in metrics if key.startswith("loss/")} == {f"loss/{network}" for network in steps}
