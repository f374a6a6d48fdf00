"""The whole training as users start it: on phantom tissue, killed, continued, in two processes."""

import json
import os
import socket
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
import torch
import yaml

from nucleosynth.bundles import bundle_path
from nucleosynth.data.images import write_png
from nucleosynth.data.phantom import PhantomSettings, generate_phantom
from nucleosynth.engines import TrainingSettings, train_networks
from nucleosynth.engines.training import read_configuration
from nucleosynth.errors import InputError
from nucleosynth.tracking import open_store

OVERLAY = {
    "patch_size": 64,
    "batch_size": 2,
    "num_workers": 0,
    "phases": [
        {"discriminator": 1, "iterations": 6},
        {"refiner": 1, "discriminator": 1, "task": 1, "iterations": 6},
        {"task": 1, "iterations": 8},
    ],
    "refiner_def#width": 4,
    "discriminator_def#widths": [4, 4, 4, 4, 4],
    "network_def#channels": [4, 8, 8, 8, 8],
    "train#checkpoint#every": 3,
    "train#history#capacity": 4,
    "train#held_out#count": 4,
    "train#handlers#0#every": 10,
    "validate#dataset#indices": "$range(2)",
}
COUNT = 20


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """Six phantom tiles of two types."""
    folder = tmp_path_factory.mktemp("tiles")
    for number in range(6):
        settings = PhantomSettings(width=96, height=96, seed=number, tissue_share=1.0)
        write_png(folder / f"type{number % 2}" / f"{number}.png", generate_phantom(settings).image)
    return folder


@pytest.fixture(scope="module")
def overlay(tmp_path_factory):
    path = tmp_path_factory.mktemp("overlay") / "tiny.yaml"
    path.write_text(yaml.safe_dump(OVERLAY))
    return str(path)


@pytest.fixture(scope="module")
def trained(tiles, overlay, tmp_path_factory):
    """A finished training, and its report."""
    output = tmp_path_factory.mktemp("trained") / "out put"
    return output, train_networks(tiles, output, TrainingSettings("quick", (overlay,)))


def arguments(tiles, output, overlay):
    return ["train", str(tiles), "-o", str(output), "--preset", "quick", "--overlay", overlay]


def models(output):
    """Digests of all trained tensors, by file."""
    digests = {}
    for path in sorted(output.glob("nuclei_*/models/*.pt")):
        state = torch.load(path, weights_only=True)
        digests[path.relative_to(output).as_posix()] = {
            key: sha256(value.numpy().tobytes()).hexdigest() for key, value in state.items()
        }
    return digests


def test_a_training_leaves_bundles_pictures_and_a_record(trained):
    output, report = trained
    assert set(models(output)) == {
        "nuclei_segmentation/models/model.pt",
        "nuclei_synthesis/models/discriminator.pt",
        "nuclei_synthesis/models/model.pt",
    }
    assert {"synthetic_aji", "synthetic_pq"} == set(report.metrics)
    names = {path.name for path in (output / "diagnostics").iterdir()}
    assert {"000010_grid.png", "000020_grid.png", "000020_weights.png", "000020.json"} <= names
    record = json.loads((output / "run.json").read_text())
    assert record["command"] == "train"
    assert record["settings"]["preset"] == "quick"
    assert len(record["inputs"]) == 6
    assert not (output / "unfinished.json").exists()
    assert not (output / "models").exists()


def test_the_configuration_that_was_used_is_written_and_describes_the_networks(trained):
    output, _ = trained
    written = yaml.safe_load((output / "config.yaml").read_text())
    assert written["patch_size"] == 64
    assert written["network_def"]["channels"] == OVERLAY["network_def#channels"]
    inference = yaml.safe_load((output / "nuclei_segmentation" / "configs" / "inference.yaml").read_text())
    assert inference["network_def"] == written["network_def"]
    synthesis = yaml.safe_load((output / "nuclei_synthesis" / "configs" / "inference.yaml").read_text())
    assert synthesis["network_def"] == written["refiner_def"]
    assert synthesis["size"] == 64


def test_done_is_done_and_another_training_does_not_overwrite_it(trained, tiles, overlay):
    output, report = trained
    before = models(output)
    again = train_networks(tiles, output, TrainingSettings("quick", (overlay,)))
    assert models(output) == before
    assert again.segmentation == report.segmentation
    with pytest.raises(InputError, match=r"holds the output of another run \(seed was 0, now 1\)"):
        train_networks(tiles, output, TrainingSettings("quick", (overlay,), seed=1))


@pytest.mark.slow
def test_killed_and_continued_it_ends_with_the_same_parameters_bit_for_bit(
    trained, tiles, overlay, tmp_path, run_until_killed
):
    """Three times: before the first checkpoint is there, before a later one, and before the models are."""
    output = tmp_path / "killed"
    killed_at = []
    for destination, count in (("checkpoint.pt", 1), ("checkpoint.pt", 4), ("nuclei_segmentation", 1)):
        run_until_killed(arguments(tiles, output, overlay), destination, count)
        killed_at.append(saved(output))
    assert killed_at == [0, 9, 20]
    assert not (output / "run.json").exists()
    program = [sys.executable, "-m", "nucleosynth"]
    done = subprocess.run([*program, *arguments(tiles, output, overlay)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert models(output) == models(trained[0])


def saved(output):
    path = output / "checkpoint.pt"
    return torch.load(path, weights_only=True)["iteration"] if path.exists() else 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_two_processes_train_one_model(tiles, overlay, tmp_path):
    """torchrun with gloo: both ranks end with the same parameters and statistics, of which one writes the files."""
    configs = bundle_path("nuclei_segmentation") / "configs"
    files = [str(configs / "train.yaml"), str(configs / "preset_quick.yaml"), overlay]
    files += [str(configs / "multi_gpu_train.yaml"), str(tmp_path / "both.yaml")]
    (tmp_path / "both.yaml").write_text(
        "finalize:\n"
        "  - \"$save_models(@train#trainer, os.path.join(@output_dir, 'models'))\"\n"
        '  - "$torch.save({**@network.state_dict(), **@discriminator_def.state_dict()}, '
        "os.path.join(@output_dir, 'rank' + os.environ['RANK'] + '.pt'))\"\n"
        "  - $torch.distributed.destroy_process_group()\n"
    )
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_addr=127.0.0.1"]
    run += [f"--master_port={free_port()}", "-m", "monai.bundle", "run", "--config_file", str(files)]
    run += ["--dataset_dir", str(tiles), "--output_dir", str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    assert all(torch.equal(ranks[0][key], ranks[1][key]) for key in ranks[0])
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert len(state["history"]) == 2
    assert not torch.equal(state["history"][0]["image"], state["history"][1]["image"])
    assert (tmp_path / "models" / "model.pt").exists()


@pytest.mark.parametrize(
    ("names", "check"),
    [
        (("no_reference",), lambda c: not c["refiner_def"]["reference"] and not c["discriminator_def"]["reference"]),
        (("no_weights",), lambda c: c["train"]["weighting"] is None),
        (("no_hard",), lambda c: c["train"]["refiner"]["loss"]["hard"] == 0),
        (("no_refinement",), lambda c: c["train"]["schedule"]["skip"] == ["refiner"]),
        (("supervised",), lambda c: "labelled" in c["train"]["dataset"]["_target_"]),
        (("real_mix",), lambda c: c["train"]["labelled"] is not None),
        (("self_train",), lambda c: c["train"]["labelled"] is not None and c["train"]["refiner"] is None),
        (("no_hard", "no_weights"), lambda c: c["train"]["weighting"] is None),
    ],
)
def test_each_ingredient_is_a_switch(names, check):
    assert check(read_configuration(TrainingSettings("quick", names, labelled=Path("labelled"))))
    assert not check(read_configuration(TrainingSettings("quick")))


def test_a_trained_network_teaches_another(trained, tiles, overlay, tmp_path):
    teacher, report = trained
    settings = TrainingSettings("quick", (overlay, "self_train", _short(tmp_path)), teacher=teacher)
    taught = train_networks(tiles, tmp_path / "out", settings)
    assert taught.synthesis is None
    assert list((tmp_path / "out" / "taught").rglob("*.png"))
    before, after = (torch.load(each / "models" / "model.pt") for each in (report.segmentation, taught.segmentation))
    assert before.keys() == after.keys()
    # It goes on from where the teacher is: some steps change weights by less than a tenth.
    change = sum((after[key] - before[key]).square().sum() for key in before)
    assert 0 < change < 0.01 * sum(value.square().sum() for value in before.values())
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert any(given["path"].endswith("model.pt") for given in record["inputs"])


def test_a_store_that_the_user_names_may_lie_in_the_output(tiles, overlay, tmp_path, monkeypatch):
    """That of `mlflow run` has the run of the command before the training begins; one of unknown origin is kept."""
    path = tmp_path / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    assert open_store(tmp_path).client.search_experiments()
    settings = TrainingSettings("quick", (overlay, "no_refinement", "no_weights"))
    assert train_networks(tiles, tmp_path, settings).segmentation.is_dir()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (tmp_path / "other").mkdir()
    path.rename(tmp_path / "other" / "mlflow.db")
    with pytest.raises(InputError, match=r"mlflow\.db: in the way, of unknown origin"):
        train_networks(tiles, tmp_path / "other", settings)


def _short(folder):
    path = folder / "short.yaml"
    path.write_text("phases:\n- {task: 1, iterations: 3}\n")
    return str(path)


def test_bad_settings_are_refused_in_one_line(tiles, tmp_path):
    with pytest.raises(ValueError, match="preset must be one of quick, default, paper, got 'fast'"):
        TrainingSettings("fast")
    with pytest.raises(ValueError, match="teacher is for the overlay self_train"):
        TrainingSettings(teacher=tmp_path)
    with pytest.raises(InputError, match="no bundle that segments slides"):
        train_networks(tiles, tmp_path / "a", TrainingSettings("quick", ("self_train",), teacher=tiles))
    with pytest.raises(ValueError, match="seed must not be negative"):
        TrainingSettings(seed=-1)
    with pytest.raises(InputError, match="no_such: neither an overlay of the bundle nuclei_segmentation nor a file"):
        train_networks(tiles, tmp_path / "a", TrainingSettings(overlays=("no_such",)))
    (tmp_path / "broken.yaml").write_text("a: [1, 2\n")
    with pytest.raises(InputError, match=r"broken\.yaml: not a configuration that can be laid over"):
        train_networks(tiles, tmp_path / "a", TrainingSettings(overlays=(str(tmp_path / "broken.yaml"),)))
    with pytest.raises(InputError, match="nowhere: no such folder"):
        train_networks(tmp_path / "nowhere", tmp_path / "a", TrainingSettings())
    assert not (tmp_path / "a").exists()


def test_tiles_that_are_too_small_are_named(tmp_path):
    write_png(tmp_path / "tiles" / "a.png", generate_phantom(PhantomSettings(width=64, height=64)).image)
    with pytest.raises(InputError, match=r"a\.png: 64x64 px, smaller than the patch of 128 px"):
        train_networks(tmp_path / "tiles", tmp_path / "out", TrainingSettings("quick"))
