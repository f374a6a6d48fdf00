import shutil
from contextlib import redirect_stderr
from io import StringIO

import pytest
from mlflow import MlflowClient

from nucleosynth.tracking import RunDescription, open_store


@pytest.fixture(autouse=True)
def _no_tracking_server(monkeypatch):
    """The tests' own trainings must not land on the server of whoever runs them."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """An MLflow database without a run; to make one takes MLflow seconds."""
    folder = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with redirect_stderr(StringIO()) as remarks:
            open_store(folder)
    (folder / "remarks.txt").write_text(remarks.getvalue())
    return folder / "mlflow.db"


@pytest.fixture
def new_output(tmp_path, empty_database):
    """Makes output folders, each with a database of its own."""

    def make(name="output"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        shutil.copy(empty_database, folder)
        return folder

    return make


@pytest.fixture
def output(new_output):
    return new_output()


@pytest.fixture
def description(tmp_path):
    config = tmp_path / "train.yaml"
    config.write_text("epochs: 3\n")
    return RunDescription("nuclei", "first", {"epochs": "3"}, {"seed": "7"}, [config])


@pytest.fixture
def client():
    """Gives a client of a folder's database, which knows nothing of the code under test."""
    return lambda folder: MlflowClient(f"sqlite:///{folder}/mlflow.db")
