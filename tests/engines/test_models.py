import json

import pytest
import torch
import yaml
from monai.bundle import ConfigParser

from nucleosynth.bundles import bundle_path
from nucleosynth.engines import export_bundle, models, save_models
from nucleosynth.networks import Discriminator, SegmentationCNN, build_network, load_weights

NAME = "nuclei_segmentation"
TARGET = {"_target_": "nucleosynth.networks.SegmentationCNN", "out_channels": 3}
JUDGE = {"_target_": "nucleosynth.networks.Discriminator", "widths": [2, 3, 4, 5, 6], "reference": False}
DEFINITIONS = {"network_def": TARGET, "discriminator_def": JUDGE}


@pytest.fixture
def weights(tmp_path):
    """Files of trained networks."""
    files = {"model.pt": tmp_path / "task.pt", "discriminator.pt": tmp_path / "judge.pt"}
    torch.save(SegmentationCNN(3).state_dict(), files["model.pt"])
    torch.save(Discriminator(JUDGE["widths"], False).state_dict(), files["discriminator.pt"])
    return files


def configs(folder):
    return {path.name: path.read_text(encoding="utf-8") for path in sorted((folder / "configs").glob("*.yaml"))}


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Networks as files.


def test_networks_are_saved_as_plain_state_dictionaries(make_trainer, tmp_path):
    trainer = make_trainer()
    written = save_models(trainer, tmp_path / "models")
    assert [path.name for path in written] == ["refiner.pt", "discriminator.pt", "model.pt"]
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == sorted(path.name for path in written)
    for name, file in (("refiner", "refiner.pt"), ("discriminator", "discriminator.pt"), ("task", "model.pt")):
        state = torch.load(tmp_path / "models" / file, weights_only=True)
        trained = trainer.learners[name].trained.state_dict()
        assert type(state) is dict
        assert list(state) == list(trained)
        for key, value in state.items():
            assert torch.equal(value, trained[key])
            assert value.is_contiguous()
            assert not value.requires_grad


def test_of_an_averaged_network_the_average_is_saved(make_trainer, tmp_path):
    trainer = make_trainer()
    task = trainer.learners["task"]
    with torch.no_grad():
        for parameter in task.network.parameters():
            parameter += 1
    save_models(trainer, str(tmp_path))
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    for name, parameter in task.network.named_parameters():
        torch.testing.assert_close(state[name], parameter.detach() - 1)


def test_the_main_network_is_model_pt(make_trainer, tmp_path):
    trainer = make_trainer()
    written = save_models(trainer, tmp_path, main="refiner")
    assert sorted(path.name for path in written) == ["discriminator.pt", "model.pt", "task.pt"]
    refiner = trainer.learners["refiner"].network.state_dict()
    assert set(torch.load(tmp_path / "model.pt", weights_only=True)) == set(refiner)


def test_a_calibration_is_saved_once_there_is_one(make_trainer, tmp_path):
    trainer = make_trainer()
    calibration = trainer.weighting.calibrate(torch.tensor([1.0, 1.0]), torch.tensor([-1.0, 0.0]))
    written = save_models(trainer, tmp_path)
    assert written[-1] == tmp_path / "calibration.json"
    assert json.loads(written[-1].read_text()) == {**vars(calibration), "clip": [0.1, 4.0]}


def test_without_weights_there_is_no_calibration(make_trainer, tmp_path):
    save_models(make_trainer(weighting=None), tmp_path)
    assert not (tmp_path / "calibration.json").exists()


def test_only_the_first_process_writes(make_trainer, tmp_path, monkeypatch):
    trainer = make_trainer()
    monkeypatch.setattr(models, "rank", lambda: 1)
    assert save_models(trainer, tmp_path / "models") == []
    assert not (tmp_path / "models").exists()


def test_a_saved_network_can_be_loaded_into_a_new_one(make_trainer, tmp_path):
    trainer = make_trainer()
    save_models(trainer, tmp_path)
    fresh = load_weights(Discriminator((4, 4, 4, 4, 4), batch_norm=True), tmp_path / "discriminator.pt")
    image = torch.rand(2, 3, 32, 32)
    trained = trainer.learners["discriminator"].network.eval()
    torch.testing.assert_close(fresh(image, image), trained(image, image))


# Bundles.


def test_a_bundle_is_the_shipped_one_with_the_trained_networks(weights, tmp_path):
    destination = tmp_path / "out" / "bundle"
    assert export_bundle(NAME, destination, DEFINITIONS, weights) == destination
    made, shipped = contents(destination), contents(bundle_path(NAME))
    assert made.pop("models/model.pt") == weights["model.pt"].read_bytes()
    assert made.pop("models/discriminator.pt") == weights["discriminator.pt"].read_bytes()
    shipped = {name: data for name, data in shipped.items() if not name.startswith("models/") and ".pyc" not in name}
    assert set(made) == set(shipped)
    # Of the weights, which are others, the shipped bundle's words do not hold.
    assert b"tiles that run.json beside it lists" in made.pop("docs/data_license.txt")
    assert made.pop("docs/README.md").endswith(b"its maker trained them.\n\n" + shipped["docs/README.md"])
    assert all(made[name] == shipped[name] for name in made if not name.endswith(".yaml"))
    assert [path.name for path in destination.parent.iterdir()] == ["bundle"]


def test_its_networks_can_be_built_and_loaded(weights, tmp_path):
    bundle = export_bundle(NAME, tmp_path / "bundle", DEFINITIONS, weights)
    network = build_network(bundle / "configs" / "inference.yaml", "network_def")
    load_weights(network, bundle / "models" / "model.pt")
    assert network(torch.zeros(1, 3, 16, 16)).shape == (1, 3, 16, 16)
    judge = build_network(bundle / "configs" / "train.yaml", "discriminator_def")
    load_weights(judge, bundle / "models" / "discriminator.pt")


@pytest.mark.parametrize("name", ["nuclei_segmentation", "nuclei_synthesis"])
def test_definitions_are_replaced_in_every_configuration_and_nothing_else_is(name, weights, tmp_path):
    bundle = export_bundle(name, tmp_path / "bundle", DEFINITIONS, weights)
    replaced = set()
    for file, text in configs(bundle).items():
        before, after = yaml.safe_load(configs(bundle_path(name))[file]), yaml.safe_load(text)
        assert list(after) == list(before), file
        for key, value in before.items():
            assert after[key] == DEFINITIONS.get(key, value), (file, key)
            if key in DEFINITIONS:
                replaced.add((file, key))
    assert {("inference.yaml", "network_def"), ("train.yaml", "network_def"), ("train.yaml", "discriminator_def")} <= (
        replaced
    )


@pytest.mark.parametrize("name", ["nuclei_segmentation", "nuclei_synthesis"])
def test_monai_reads_each_configuration(name, weights, tmp_path):
    bundle = export_bundle(name, tmp_path / "bundle", DEFINITIONS, weights)
    for file in configs(bundle):
        base = "inference.yaml" if file in ("evaluate.yaml", "operator.yaml") else "train.yaml"
        files = [file] if file in ("train.yaml", "inference.yaml") else [base, file]
        parser = ConfigParser()
        parser.read_config([str(bundle / "configs" / each) for each in files])
        if file in ("train.yaml", "inference.yaml"):
            assert parser.get("network_def") == TARGET


@pytest.mark.parametrize("name", ["nuclei_segmentation", "nuclei_synthesis"])
def test_comments_survive_but_for_those_within_what_is_replaced(name, weights, tmp_path):
    bundle = export_bundle(name, tmp_path / "bundle", DEFINITIONS, weights)
    for file, text in configs(bundle).items():
        lines = configs(bundle_path(name))[file].splitlines()
        comments = [line for line in lines if line.startswith("#")]
        assert [line for line in text.splitlines() if line.startswith("#")] == comments, file
        assert comments, file


def test_without_definitions_every_configuration_stays_as_it_is(weights, tmp_path):
    bundle = export_bundle(NAME, tmp_path / "bundle", {}, weights)
    assert configs(bundle) == configs(bundle_path(NAME))


@pytest.mark.parametrize("value", [None, 7, "words: and # signs", [1, [2]], {"deep": {"er": [{"a": 1}]}}, "@network"])
def test_a_definition_may_be_any_plain_value(value, weights, tmp_path):
    bundle = export_bundle(NAME, tmp_path / "bundle", {"network_def": value, "patch_size": 64}, weights)
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "train.yaml"))
    assert parser.get("network_def", "missing") == value
    assert parser.get("patch_size") == 64
    assert parser.get("batch_size") == 8


def test_a_bundle_that_was_there_is_replaced_as_a_whole(weights, tmp_path):
    destination = tmp_path / "bundle"
    (destination / "models").mkdir(parents=True)
    (destination / "models" / "old.pt").write_text("old")
    export_bundle(NAME, destination, DEFINITIONS, weights)
    assert sorted(path.name for path in (destination / "models").iterdir()) == ["discriminator.pt", "model.pt"]


@pytest.mark.parametrize("there", [False, True])
def test_an_error_in_the_middle_leaves_no_half_bundle(weights, tmp_path, there):
    destination = tmp_path / "out" / "bundle"
    if there:
        export_bundle(NAME, destination, DEFINITIONS, weights)
    before = contents(destination)
    lost = {**weights, "lost.pt": tmp_path / "lost.pt"}
    with pytest.raises(FileNotFoundError, match=r"lost\.pt"):
        export_bundle(NAME, destination, {}, lost)
    assert destination.exists() == there
    assert contents(destination) == before
    # What is left under a hidden name does not hinder the next attempt, which cleans it up.
    export_bundle(NAME, destination, DEFINITIONS, weights)
    assert [path.name for path in destination.parent.iterdir()] == ["bundle"]


def test_a_bundle_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(KeyError, match="no bundle 'nuclei'"):
        export_bundle("nuclei", tmp_path / "bundle", {}, {})
    assert list(tmp_path.iterdir()) == []
