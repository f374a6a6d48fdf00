"""The weights that are shipped: small, plain, and of the networks that the configurations describe."""

import numpy as np
import pytest
import torch

import nucleosynth
from nucleosynth.bundles import bundle_path
from nucleosynth.cli import main
from nucleosynth.data.images import read_image, read_label, write_png
from nucleosynth.data.phantom import PhantomSettings, generate_phantom
from nucleosynth.metrics import score_instances
from nucleosynth.networks import build_network, load_weights
from nucleosynth.slides.model import load_segmenter

WEIGHTS = [
    ("nuclei_segmentation", "model.pt", "network_def", 20),
    ("nuclei_segmentation", "model_research.pt", "network_def", 20),
    ("nuclei_synthesis", "model.pt", "network_def", 3),
    ("nuclei_synthesis", "discriminator.pt", "discriminator_def", 2),
]


@pytest.mark.parametrize(("bundle", "file", "key", "largest_mb"), WEIGHTS)
def test_weights_are_small_and_fit_their_network(bundle, file, key, largest_mb):
    path = bundle_path(bundle) / "models" / file
    assert path.stat().st_size < largest_mb * 1e6
    state = torch.load(path, weights_only=True)
    kinds = {value.dtype for value in state.values() if value.is_floating_point()}
    assert kinds == {torch.float16}
    network = load_weights(build_network(bundle_path(bundle) / "configs" / "inference.yaml", key), path)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())


@pytest.fixture(scope="module")
def phantom():
    return generate_phantom(PhantomSettings(width=512, height=512, tissue_share=1.0, seed=3))


def test_the_shipped_network_finds_nuclei_in_an_array(phantom):
    found = nucleosynth.segment(phantom.image, mpp=0.25)
    assert score_instances(phantom.labels.astype(np.int64), found.label).aji > 0.5


def test_the_command_needs_no_model(phantom, tmp_path, capsys):
    write_png(tmp_path / "tissue.png", phantom.image)
    assert main(["segment", str(tmp_path / "tissue.png"), "-o", str(tmp_path / "out"), "--mpp", "0.25"]) == 0
    assert (tmp_path / "out" / "tissue" / "nuclei.geojson").exists()
    assert int(capsys.readouterr().out.split()[0]) > 50


@pytest.mark.slow
def test_on_real_images_it_keeps_what_was_measured(shared_data):
    """Tissue that no image of its training is of; docs/training.md has the figures."""
    folder, segmenter, scores = shared_data / "monuseg" / "val", load_segmenter(), []
    for path in sorted((folder / "images").glob("*.png")):
        found = nucleosynth.segment(read_image(path), segmenter, mpp=0.25)
        truth = read_label(folder / "labels" / path.name).astype(np.int64)
        scores.append(score_instances(truth, found.label))
    assert np.mean([each.aji for each in scores]) > 0.51
    assert np.mean([each.pq for each in scores]) > 0.48
