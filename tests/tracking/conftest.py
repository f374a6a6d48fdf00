import shutil
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
from mlflow import MlflowClient

from nucleosynth.data.images import write_label, write_png
from nucleosynth.data.phantom import PhantomSettings, generate_phantom
from nucleosynth.tracking import RunDescription, open_store
from nucleosynth.tracking.registration import RegisterSettings, Registration, register_bundle


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


@pytest.fixture(scope="session")
def labelled(tmp_path_factory):
    """A labelled folder of two small images."""
    folder = tmp_path_factory.mktemp("labelled")
    for number in range(2):
        phantom = generate_phantom(PhantomSettings(width=200, height=160, seed=number, tissue_share=1.0))
        write_png(folder / "images" / f"{number}.png", phantom.image)
        write_label(folder / "labels" / f"{number}.png", phantom.labels)
    return folder


@dataclass(frozen=True)
class Registry:
    """A registry in a folder, whose champion is the network that is shipped."""

    folder: Path
    made: Registration | None = None

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.uri)

    def champion(self, alias="champion"):
        return self.client.get_model_version_by_alias("nuclei-segmentation", alias)


@pytest.fixture(scope="session")
def registry(tmp_path_factory, empty_database, labelled):
    folder = tmp_path_factory.mktemp("registry")
    shutil.copy(empty_database, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", Registry(folder).uri)
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        made = register_bundle(None, RegisterSettings(alias="champion", evaluate=labelled))
    return Registry(folder, made)


@pytest.fixture
def own_registry(registry, tmp_path, monkeypatch):
    """A copy of it that a test may change, and the one in use."""
    shutil.copy(registry.folder / "mlflow.db", tmp_path)
    copy = Registry(tmp_path, registry.made)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", copy.uri)
    return copy
