"""The top-level folder ``mlflow``: its files are what MLflow and Docker expect, and hide no library."""

import json
import os
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import mlflow
import pytest
import yaml
from mlflow.cli import server
from mlflow.exceptions import ExecutionException
from mlflow.projects.utils import load_project

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "mlflow"

# A stand-in for the command, which writes down how it was called.
RECORDER = """#!{python}
import json, os, pathlib, sys
environment = {{name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}}
called = {{"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": environment}}
pathlib.Path({file!r}).write_text(json.dumps(called))
"""


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """Two folders with names that need quotes, and relative paths of them."""
    for name in ("my tiles", "out'put"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    return {"tiles": "my tiles", "output": "out'put"}


def command(entry_point, parameters, storage):
    return shlex.split(load_project(FOLDER).get_entry_point(entry_point).compute_command(parameters, str(storage)))


def test_the_folder_hides_no_library():
    script = "import json, mlflow; print(json.dumps([mlflow.__file__, mlflow.__version__]))"
    answer = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    file, version = json.loads(answer.stdout)
    assert Path(file).parent.parent == Path(yaml.__file__).parent.parent
    assert version == metadata.version("mlflow")


def test_train_is_called_with_absolute_paths(inputs, tmp_path):
    assert command("train", inputs, tmp_path) == [
        "nucleosynth", "train", f"{tmp_path}/my tiles", "-o", f"{tmp_path}/out'put", "--preset", "default",
        "--seed", "0",
    ]  # fmt: skip
    assert command("train", {**inputs, "preset": "quick", "seed": "3"}, tmp_path)[-4:] == [
        "--preset", "quick", "--seed", "3",
    ]  # fmt: skip


def test_segment_and_evaluate_are_called_with_absolute_paths(inputs, tmp_path):
    parameters = {"inputs": "my tiles", "output": "out'put", "model": "models:/nuclei@champion"}
    assert command("segment", parameters, tmp_path) == [
        "nucleosynth", "segment", f"{tmp_path}/my tiles", "-o", f"{tmp_path}/out'put",
        "--model", "models:/nuclei@champion",
    ]  # fmt: skip
    assert command("evaluate", {"truth": "my tiles", "prediction": "out'put"}, tmp_path) == [
        "nucleosynth", "evaluate", f"{tmp_path}/my tiles", f"{tmp_path}/out'put",
    ]  # fmt: skip


def test_an_output_that_is_missing_is_not_made_somewhere_else(inputs, tmp_path):
    with pytest.raises(ExecutionException, match="Got value new for parameter output, but no such file"):
        command("train", {**inputs, "output": "new"}, tmp_path)


def test_mlflow_runs_the_project(inputs, tmp_path, monkeypatch):
    called = tmp_path / "called.json"
    program = tmp_path / "bin" / "nucleosynth"
    program.parent.mkdir()
    program.write_text(RECORDER.format(python=sys.executable, file=str(called)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    # MLflow makes a database in seconds, but a folder at once, and this is about the project.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "runs").as_uri())
    run = mlflow.projects.run(str(FOLDER), "train", parameters=inputs, env_manager="local")
    assert run.get_status() == "FINISHED"
    call = json.loads(called.read_text())
    assert call["arguments"][:4] == ["train", f"{tmp_path}/my tiles", "-o", f"{tmp_path}/out'put"]
    assert Path(call["folder"]) == FOLDER
    assert call["environment"]["MLFLOW_RUN_ID"] == run.run_id


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((FOLDER / "compose.yaml").read_text())


def test_the_server_is_reachable_from_this_machine_only(compose):
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:5000:5000"]


def test_images_are_pinned_and_mlflow_is_the_one_that_is_tested(compose):
    build = compose["services"]["server"]["build"]["dockerfile_inline"]
    image = re.search(r"FROM (\S+)", build)[1]
    assert image == f"ghcr.io/mlflow/mlflow:v{metadata.version('mlflow')}"
    assert re.search(r"psycopg2-binary==\d+\.\d+", build)
    assert re.fullmatch(r"postgres:\d+\.\d+", compose["services"]["database"]["image"])


def test_the_password_has_no_default_and_is_not_in_the_command(compose):
    server, database = compose["services"]["server"], compose["services"]["database"]
    assert server["environment"]["PGPASSWORD"] == database["environment"]["POSTGRES_PASSWORD"]
    assert re.fullmatch(r"\$\{MLFLOW_DATABASE_PASSWORD:\?.+\}", server["environment"]["PGPASSWORD"])
    assert "MLFLOW_DATABASE_PASSWORD" not in str(server["command"])


def test_what_must_stay_is_in_volumes(compose):
    mounts = [mount for service in compose["services"].values() for mount in service["volumes"]]
    assert {mount.partition(":")[0] for mount in mounts} == set(compose["volumes"])
    assert all("healthcheck" in service for service in compose["services"].values())


def test_the_server_knows_the_options_it_is_given(compose):
    known = {name for option in server.params for name in [*option.opts, *option.secondary_opts]}
    program, subcommand, *options = compose["services"]["server"]["command"]
    assert [program, subcommand] == ["mlflow", "server"]
    assert {option.partition("=")[0] for option in options} <= known
