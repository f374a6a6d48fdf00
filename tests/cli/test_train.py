"""``nucleosynth train`` as its users meet it: one line on what is wrong, exit code 2, nothing half-written."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading

import pytest
import yaml
from mlflow import MlflowClient

from nucleosynth.cli import main
from nucleosynth.data.images import write_label, write_png
from nucleosynth.data.phantom import PhantomSettings, generate_phantom

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def own_record(monkeypatch):
    """Trainings are recorded in their own folders, whatever the environment says."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(autouse=True)
def nothing_goes_on_recording():
    """However a training ends, no thread is left that writes into its record."""
    yield
    assert "SystemMetricsMonitor" not in {thread.name for thread in threading.enumerate()}


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("my tiles")
    for number in range(4):
        settings = PhantomSettings(width=80, height=80, seed=number, tissue_share=1.0)
        write_png(folder / f"{number}.png", generate_phantom(settings).image)
    return folder


@pytest.fixture(scope="module")
def tiny(tiny_training, tmp_path_factory):
    path = tmp_path_factory.mktemp("overlay") / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_training))
    return path


def overlay(path, content):
    path.write_text(content)
    return path


def train(tiles, output, *arguments):
    return main(["train", str(tiles), "-o", str(output), "--preset", "quick", *map(str, arguments)])


def refused(capsys, output, tiles, *arguments):
    """The one line of an error, after checking that it is one and that nothing was written."""
    assert train(tiles, output, *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("nucleosynth: error: ")
    assert not output.is_dir() or not any(output.iterdir())
    return line


def test_help_names_every_option_and_overlay():
    result = subprocess.run(
        [sys.executable, "-m", "nucleosynth", "train", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    for option in ("--output", "--preset", "--overlay", "--labelled", "--mpp", "--seed"):
        assert option in result.stdout
    for name in ("quick|default|paper", "no_reference", "no_weights", "no_hard", "no_refinement", "supervised"):
        assert name in result.stdout


def test_folders_without_tiles(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert "nowhere: no such folder" in refused(capsys, tmp_path / "out", tmp_path / "nowhere")
    assert "empty: no images in this folder" in refused(capsys, tmp_path / "out", tmp_path / "empty")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--preset", "fast"), "--preset must be one of quick, default, paper, got 'fast'"),
        (("--seed", "-1"), "--seed must not be negative, got -1"),
        (("--seed", str(2**40)), "--seed"),
        (("--mpp", "0"), "--mpp must be positive, got 0.0"),
        (("--mpp", "nan"), "--mpp must be positive, got nan"),
        (("--overlay", "no_such"), "no_such: neither an overlay of the bundle nuclei_segmentation nor a file"),
        (("--overlay", "supervised"), "--labelled"),
        (("--overlay", "real_mix"), "--labelled"),
        (("--overlay", "supervised", "--labelled", "nowhere"), "nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_options(tiles, tmp_path, capsys, monkeypatch, arguments, reason):
    monkeypatch.chdir(tmp_path)
    assert reason in refused(capsys, tmp_path / "out", tiles, *arguments)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a: [1, 2\n", "not a configuration that can be laid over"),
        ("- a\n- b\n", "not a configuration that can be laid over"),
        ("patch_size: 100\n", "multiple"),
        ("train#trainer#_target_: nothing.of.the.Kind\n", "nothing.of.the.Kind"),
        ("no#such#value: 1\n", "not a configuration that can be laid over"),
    ],
    ids=["not YAML", "a list", "a bad size", "an unknown component", "an unknown path"],
)
def test_overlays_that_cannot_be_used(tiles, tmp_path, capsys, tiny, content, reason):
    path = overlay(tmp_path / "mine.yaml", content)
    assert reason in refused(capsys, tmp_path / "out", tiles, "--overlay", tiny, "--overlay", path)


def test_tiles_that_are_too_small(tiles, tmp_path, capsys, tiny):
    path = overlay(tmp_path / "large.yaml", "patch_size: 96\n")
    line = refused(capsys, tmp_path / "out", tiles, "--overlay", tiny, "--overlay", path)
    assert "0.png: 80x80 px, smaller than the patch of 96 px" in line


def test_a_damaged_tile(tiles, tmp_path, capsys, tiny):
    shutil.copytree(tiles, tmp_path / "tiles")
    (tmp_path / "tiles" / "2.png").write_bytes((tiles / "2.png").read_bytes()[:1000])
    assert "2.png: damaged" in refused(capsys, tmp_path / "out", tmp_path / "tiles", "--overlay", tiny)


def test_labels_that_do_not_fit(tiles, tmp_path, capsys, tiny):
    shutil.copytree(tiles, tmp_path / "labelled" / "images")
    arguments = ("--overlay", tiny, "--overlay", "supervised", "--labelled", tmp_path / "labelled")
    assert "has no label" in refused(capsys, tmp_path / "out", tiles, *arguments)
    for path in (tmp_path / "labelled" / "images").iterdir():
        write_label(tmp_path / "labelled" / "labels" / path.name, generate_phantom(PhantomSettings(64, 64)).labels)
    assert "differs in size" in refused(capsys, tmp_path / "out", tiles, *arguments)


def test_an_output_that_is_a_file_or_below_one(tiles, tmp_path, capsys, tiny):
    (tmp_path / "out").write_text("mine")
    assert "is a file" in refused(capsys, tmp_path / "out", tiles, "--overlay", tiny)
    refused(capsys, tmp_path / "out" / "below", tiles, "--overlay", tiny)
    assert (tmp_path / "out").read_text() == "mine"


def test_the_end_of_a_training_says_what_there_is_and_what_comes_next(tiles, tmp_path, capsys, tiny):
    output = tmp_path / "my run"
    assert train(tiles, output, "--overlay", tiny) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    synthesis, segmentation = output / "nuclei_synthesis", output / "nuclei_segmentation"
    quoted = shlex.quote(str(segmentation))
    assert lines[0].startswith("On synthetic patches of held-out tiles: synthetic aji ")
    assert lines[1:] == [
        f"Refiner and discriminator: {synthesis}",
        f"Next: nucleosynth synthesize TILES -o DIR -n 100 --refiner {shlex.quote(str(synthesis))}",
        f"Segmentation network: {segmentation}",
        f"Next: nucleosynth segment IMAGE_OR_SLIDE -o DIR --model {quoted}",
        f"MLflow: mlflow ui --backend-store-uri {shlex.quote(f'sqlite:///{output}/mlflow.db')} --host 127.0.0.1",
    ]
    assert "Traceback" not in captured.err

    # The folder is this run's from now on.
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    assert train(tiles, output, "--overlay", tiny, "--seed", "1") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds the output of another run (seed was 0, now 1)" in line
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before

    # Done is done, at once; a checkpoint is no longer needed.
    assert train(tiles, output, "--overlay", tiny) == 0
    assert capsys.readouterr().out == captured.out
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before

    # Where it is, a damaged one does not become a training of another kind.
    (output / "run.json").rename(output / "unfinished.json")
    (output / "checkpoint.pt").write_bytes(b"not tensors")
    assert train(tiles, output, "--overlay", tiny) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "checkpoint.pt: damaged" in line
    assert not (output / "run.json").exists()


def test_a_training_that_diverges_ends_with_1_and_is_recorded_as_failed(tiles, tmp_path, capsys, tiny):
    path = overlay(tmp_path / "absurd.yaml", "train#learning_rate: 1.0e+30\ntrain#checkpoint#every: 100\n")
    output = tmp_path / "out"
    assert train(tiles, output, "--overlay", tiny, "--overlay", path) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("nucleosynth: error: the loss of the task is ")
    assert "Try a smaller learning rate" in line
    assert not (output / "run.json").exists()
    assert not (output / "nuclei_segmentation").exists()
    client = MlflowClient(f"sqlite:///{output}/mlflow.db")
    run = client.get_run(json.loads((output / "mlflow_run.json").read_text())["run_id"])
    assert run.info.status == "FAILED"
    assert "TrainingDiverged" in run.data.tags["error"]
