"""Experiments: what is read, what is run, and what the table says."""

import csv

import mlflow
import numpy as np
import pytest
import yaml

from nucleosynth.bundles import bundle_path
from nucleosynth.cli import main
from nucleosynth.data.images import write_label, write_png
from nucleosynth.data.phantom import PhantomSettings, generate_phantom
from nucleosynth.engines.training import read_configuration
from nucleosynth.errors import InputError
from nucleosynth.experiment import ExperimentSettings, read_experiment, run_experiment

SHIPPED = sorted(path.stem for path in (bundle_path("nuclei_segmentation") / "experiments").glob("*.yaml"))
TINY = {
    "patch_size": 64,
    "batch_size": 2,
    "num_workers": 0,
    "phases": [{"task": 1, "iterations": 6}],
    "network_def#channels": [4, 8, 8, 8, 8],
    "train#schedule#skip": ["refiner", "discriminator"],
    "train#refiner": None,
    "train#discriminator": None,
    "train#weighting": None,
    "train#history#capacity": 4,
    "train#held_out#count": 4,
    "validate#dataset#indices": "$range(2)",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Labelled phantom tissue: three images to train on, two to score."""
    folder = tmp_path_factory.mktemp("data")
    for number, name in enumerate(("train/a1", "train/a2", "train/b1", "val/a3", "val/b2")):
        phantom = generate_phantom(PhantomSettings(width=96, height=96, tissue_share=1.0, seed=number))
        part, _, stem = name.partition("/")
        write_png(folder / part / "images" / f"{stem}.png", phantom.image)
        write_label(folder / part / "labels" / f"{stem}.png", phantom.labels)
    return {part: folder / part for part in ("train", "val")}


def describe(path, *trials, **changes):
    content = {"title": "Small", "data": {"train": "to learn", "val": "to score"}, "test": "val", "trials": [*trials]}
    path.write_text(yaml.safe_dump(content | changes))
    return str(path)


@pytest.mark.parametrize("name", SHIPPED)
def test_those_that_are_shipped_can_be_run(name):
    """Their overlays exist and can be laid over every preset."""
    experiment = read_experiment(name)
    for trial in experiment.trials:
        for preset in ("quick", "default"):
            if trial.method == "train":
                read_configuration(
                    ExperimentSettings(preset).training(trial, 0, labelled=bundle_path("nuclei_synthesis"))
                )


@pytest.mark.slow
def test_trials_are_trained_scored_and_tabulated_and_repeating_adds_nothing(data, tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    folds = [{"without": ["a*"], "only": ["a*"]}, {"without": ["b*"], "only": ["b*"]}]
    name = describe(
        tmp_path / "small.yaml",
        {"name": "Otsu + watershed", "method": "otsu"},
        {"name": "Label-free, all", "tiles": "train"},
        {"name": "folds", "tiles": "train", "labelled": "train", "overlays": ["supervised"], "folds": folds},
    )
    output = tmp_path / "out"
    command = ["experiment", name, "-o", str(output), "--preset", "quick", "--seeds", "2"]
    command += ["--overlay", str(tmp_path / "tiny.yaml"), *(f"--data={key}={folder}" for key, folder in data.items())]
    assert main(command) == 0
    table = capsys.readouterr().out
    assert table == (output / "table.md").read_text()
    lines = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    assert lines == ["", "Otsu + watershed", "Label-free, all", "folds"]
    rows = list(csv.DictReader((output / "table.csv").open()))
    assert [(row["trial"], row["seed"]) for row in rows] == [
        ("Otsu + watershed", "0"),
        ("Label-free, all", "0"),
        ("Label-free, all", "1"),
        ("folds", "0"),
        ("folds", "1"),
    ]
    assert {path.name for path in (output / "runs" / "folds" / "0" / "fold0" / "labelled" / "images").iterdir()} == {
        "b1.png"
    }
    scored = list(csv.DictReader((output / "runs" / "folds" / "1" / "scores.csv").open()))
    assert [row["image"] for row in scored] == ["a3", "b2", "mean"]
    client = mlflow.MlflowClient(f"sqlite:///{output / 'mlflow.db'}")
    experiments = [each.experiment_id for each in client.search_experiments()]
    assert len(client.search_runs(experiments)) == 6
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.pt")}
    assert main(command) == 0
    assert capsys.readouterr().out == table
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.pt")} == before


def test_a_baseline_without_training_is_scored_once(data, tmp_path):
    name = describe(tmp_path / "otsu.yaml", {"name": "Otsu", "method": "otsu"})
    (row,) = run_experiment(read_experiment(name), data, tmp_path / "out", ExperimentSettings(seeds=3))
    assert len(row.seeds) == 1
    assert row.spread("aji") is None
    assert row.mean("aji") == row.seeds[0].aji
    assert np.isfinite(row.mean("aji"))


@pytest.mark.parametrize(
    ("trial", "changes", "message"),
    [
        ({"name": "x", "method": "magic"}, {}, "method must be one of train, otsu, got 'magic'"),
        ({"name": "x"}, {}, "x: a training needs tiles"),
        ({"name": "x", "tiles": "other"}, {}, "data that it does not describe: other"),
        ({"name": "x", "tiles": "train", "speed": 1}, {}, "unexpected keyword argument 'speed'"),
        ({"name": "x", "tiles": "train"}, {"test": "other"}, "data that it does not describe: other"),
    ],
)
def test_a_wrong_description_is_one_line(tmp_path, trial, changes, message):
    with pytest.raises(InputError, match=message):
        read_experiment(describe(tmp_path / "wrong.yaml", trial, **changes))


def test_trials_that_cannot_be_trained_are_found_before_any_training(data, tmp_path):
    def run(trial, folders=data):
        experiment = read_experiment(describe(tmp_path / "wrong.yaml", {"name": "Otsu", "method": "otsu"}, trial))
        run_experiment(experiment, folders, tmp_path / "out", ExperimentSettings("quick"))

    with pytest.raises(InputError, match="x: labelled must name a folder"):
        run({"name": "x", "tiles": "train", "overlays": ["supervised"]})
    with pytest.raises(InputError, match="nonsense: neither an overlay"):
        run({"name": "x", "tiles": "train", "overlays": ["nonsense"]})
    # Images that a fold leaves out must not come in as plain tiles.
    plain = data | {"train": data["train"] / "images"}
    with pytest.raises(InputError, match="to leave images out of a training it needs"):
        run({"name": "x", "tiles": "train", "folds": [{"without": ["a*"]}]}, plain)
    assert not (tmp_path / "out").exists()


def test_two_trials_of_one_folder_are_refused(tmp_path):
    same = [{"name": name, "method": "otsu"} for name in ("No weights", "no-weights")]
    with pytest.raises(InputError, match="two trials would share a folder: no-weights"):
        read_experiment(describe(tmp_path / "same.yaml", *same))


def test_missing_folders_and_experiments_are_named(data, tmp_path, capsys):
    assert main(["experiment", "nonsense", "-o", str(tmp_path / "out")]) == 2
    assert "nonsense: no such experiment; give one of baselines, table1, table2, table3" in capsys.readouterr().err
    assert main(["experiment", "table3", "-o", str(tmp_path / "out"), "--data", f"val={data['val']}"]) == 2
    assert "give --data tiles=DIR" in capsys.readouterr().err
    assert main(["experiment", "table3", "-o", str(tmp_path / "out"), "--data", "val"]) == 2
    assert "--data must be NAME=DIR, got val" in capsys.readouterr().err
    assert main(["experiment", "table3", "-o", str(tmp_path / "out"), "--seeds", "0"]) == 2
    assert "seeds must be at least 1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
