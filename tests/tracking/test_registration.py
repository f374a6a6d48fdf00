"""Bundles in MLflow's registry: what is kept with them, and who becomes the champion."""

import json
import re
import shutil
from dataclasses import asdict
from importlib import metadata

import pytest
import torch
from mlflow.artifacts import download_artifacts

from nucleosynth.bundles import bundle_path
from nucleosynth.cli import main
from nucleosynth.errors import InputError
from nucleosynth.slides.evaluation import evaluate_folders, mean_scores
from nucleosynth.slides.model import find_weights, load_segmenter
from nucleosynth.slides.segmentation import segment_slides
from nucleosynth.slides.settings import SegmentSettings
from nucleosynth.tracking.card import read_training, shorten_card
from nucleosynth.tracking.registration import RegisterSettings, register_bundle

pytestmark = pytest.mark.registry

NAME = "nuclei-segmentation"


@pytest.fixture(scope="module")
def blind(tmp_path_factory):
    """A bundle whose network sees no nucleus anywhere."""
    folder = tmp_path_factory.mktemp("blind") / NAME.replace("-", "_")
    shutil.copytree(bundle_path("nuclei_segmentation"), folder, ignore=shutil.ignore_patterns("__pycache__"))
    state = torch.load(folder / "models" / "model.pt", weights_only=True)
    torch.save({key: torch.zeros_like(value) for key, value in state.items()}, folder / "models" / "model.pt")
    return folder


def versions(registry):
    return len(registry.client.search_model_versions(f"name = '{NAME}'"))


def refused(capsys, *arguments):
    """The one line of an error."""
    assert main(["register", *map(str, arguments)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert line.startswith("nucleosynth: error: ")
    return line


def test_figures_are_those_of_segment_and_evaluate(registry, labelled, tmp_path):
    segment_slides([labelled / "images"], tmp_path, load_segmenter(), SegmentSettings(mpp=0.25))
    expected = asdict(mean_scores(evaluate_folders(labelled, tmp_path)))
    assert {name: registry.made.means[name] for name in expected} == expected
    assert expected["aji"] > 0.3
    version = registry.champion()
    (model,) = registry.client.search_logged_models([registry.client.get_run(version.run_id).info.experiment_id])
    kept = {metric.key: metric.value for metric in model.metrics}
    assert kept == pytest.approx(registry.made.means)
    assert float(version.tags["evaluation.aji"]) == pytest.approx(expected["aji"], abs=1e-4)


def test_the_card_says_what_it_learnt_from_and_what_for(registry):
    card = registry.champion().description
    (round_, *_) = json.loads((bundle_path("nuclei_segmentation") / "models" / "model.json").read_text())
    digest = round_["mlflow_run"]["tags"]["data.sha256"]
    assert f"| training tiles, SHA-256 | {digest} |" in card
    assert "| intended use | Research on histology; not for diagnosis |" in card
    assert "| licence | Apache-2.0 |" in card
    assert f"| aji | {registry.made.means['aji']:.4f} |" in card
    assert "CC BY 4.0" in card  # of the tiles
    assert registry.champion().tags["data.sha256"] == digest


def test_signature_example_and_requirements(registry, tmp_path):
    place = registry.client.get_model_version_download_uri(NAME, "1")
    model = download_artifacts(artifact_uri=place, dst_path=str(tmp_path))
    required = (tmp_path / model / "requirements.txt").read_text().split()
    assert {"nucleosynth", "mlflow", "monai", "torch"} <= {line.partition("==")[0] for line in required}
    for line in required:
        name, _, version = line.partition("==")
        assert metadata.version(name).partition("+")[0] == version
    about = (tmp_path / model / "MLmodel").read_text()
    assert "mpp" in about
    assert "label_png" in about
    assert (tmp_path / model / "input_example.json").is_file()
    assert "model_research" not in str(list(tmp_path.rglob("*")))


def test_a_worse_model_does_not_become_champion(own_registry, blind, labelled, capsys):
    line = refused(capsys, blind, "--alias", "champion", "--evaluate", labelled)
    theirs = own_registry.made.means["aji"]
    assert f"AJI 0.0000 against {theirs:.4f} on {labelled}; nothing was registered" in line
    assert versions(own_registry) == 1


def test_unless_it_is_told_to(own_registry, blind, labelled):
    forced = register_bundle(blind, RegisterSettings(alias="champion", evaluate=labelled, force=True))
    assert (forced.version, forced.replaced) == ("2", "1")
    assert str(own_registry.champion().version) == "2"
    # Now the shipped one is the better one, and needs no force.
    register_bundle(None, RegisterSettings(alias="champion", evaluate=labelled))
    assert str(own_registry.champion().version) == "3"


def test_without_images_to_compare_on_nobody_is_replaced(own_registry, capsys):
    assert "version 1 is the champion; give --evaluate DIR" in refused(capsys, "--alias", "champion")
    assert versions(own_registry) == 1


def test_a_model_may_be_registered_without_an_alias_or_a_score(own_registry, capsys):
    assert main(["register"]) == 0
    assert f"{NAME} version 2: " in capsys.readouterr().out
    assert str(own_registry.champion().version) == "1"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nowhere"], "nowhere: no bundle that segments slides"),
        (["research"], "research: weights for research only are not registered"),
        (["--name", "a/b"], "--name must consist of"),
        (["--alias", "v1"], "--alias must consist of"),
        (["--mpp", "-1"], "--mpp must be positive, got -1"),
        (["--evaluate", "nowhere"], "no such folder"),
    ],
)
def test_what_cannot_be_registered(own_registry, capsys, arguments, reason):
    assert reason in refused(capsys, *arguments)
    assert versions(own_registry) == 1


def test_a_server_that_is_down_is_said_to_be(monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert "the MLflow tracking server cannot be reached" in refused(capsys)


def test_an_address_in_the_registry_is_a_model(own_registry):
    for address in (f"models:/{NAME}@champion", f"models:/{NAME}/1", f"models:/{NAME}/latest"):
        assert load_segmenter(address).model_sha256 == load_segmenter().model_sha256
    assert find_weights(f"models:/{NAME}@champion").read_bytes() == find_weights().read_bytes()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (f"models:/{NAME}@best", "Registered model alias best not found"),
        (f"models:/{NAME}/9", "version=9"),
        ("models:/nothing@champion", "nothing"),
        ("models:/nothing/latest", "nothing"),
    ],
)
def test_an_address_that_the_registry_does_not_know(own_registry, address, reason):
    with pytest.raises(InputError, match=f"^{re.escape(address)}: not in the registry .*{reason}"):
        load_segmenter(address)


def test_a_model_of_another_program_is_refused(own_registry):
    own_registry.client.create_registered_model("other")
    own_registry.client.create_model_version("other", str(own_registry.folder))
    with pytest.raises(InputError, match=r"^models:/other/1: its bundle cannot be fetched"):
        load_segmenter("models:/other/1")


def test_segment_takes_the_champion(own_registry, labelled, tmp_path):
    image, out = labelled / "images" / "0.png", tmp_path / "out"
    assert main(["segment", str(image), "-o", str(out), "--mpp", "0.25", "--model", f"models:/{NAME}@champion"]) == 0
    record = json.loads((out / "0" / "run.json").read_text())
    assert record["settings"]["model_sha256"] == load_segmenter().model_sha256
    assert record["nuclei"] > 0


def test_the_record_of_a_training_is_found_beside_its_bundle(tmp_path):
    bundle = tmp_path / "nuclei_segmentation"
    bundle.mkdir()
    assert read_training(bundle) is None
    tile, teacher = {"path": "a/0.png", "sha256": "1"}, {"path": "model.pt", "sha256": "2"}
    (tmp_path / "run.json").write_text(json.dumps({"command": "train", "inputs": [tile, teacher]}))
    assert read_training(bundle)["inputs"] == [tile]
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run.json: damaged, or not the record of a training"):
        read_training(bundle)


def test_a_card_that_no_database_takes_is_cut():
    assert shorten_card("x" * 5000) == "x" * 5000
    cut = shorten_card("x" * 5001)
    assert len(cut) == 5000
    assert cut.endswith("(The whole card is model_card.md of the source run.)\n")
