"""Where trainings are recorded: a database in the output folder, or the MLflow server that the user names."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from mlflow.store.db.utils import create_sqlalchemy_engine

from ..errors import InputError
from ..servers import TRACKING_VARIABLE, check_server, first_line, without_password

__all__ = ["TrackingStore", "open_store", "quiet", "tracking_uri"]

_DATABASE, _ARTIFACTS = "mlflow.db", "mlruns"


@dataclass(frozen=True)
class TrackingStore:
    """A tracking store that has answered.

    Attributes:
        uri: its address, for MLflow.
        label: what to call it in messages and files: the address without a password, or the file of the database.
        own: it is the output folder's own database, which goes where the folder goes.
        client: talks to this store, whatever MLflow's global address is.
        artifacts: address under which new experiments keep their files; None leaves it to the server.
    """

    uri: str
    label: str
    own: bool
    client: MlflowClient
    artifacts: str | None

    def experiment(self, name: str) -> str:
        """Find an experiment, or make it; returns its id.

        Raises:
            InputError: the experiment was deleted.
        """
        found = self._find(name) or self._create(name)
        if found.lifecycle_stage != "active":
            raise InputError(
                f"{self.label}: the experiment {name!r} was deleted; give another name, or restore it with "
                f"mlflow experiments restore --experiment-id {found.experiment_id}"
            )
        return str(found.experiment_id)

    def _create(self, name: str) -> Experiment:
        try:
            experiment_id = self.client.create_experiment(name, artifact_location=self.artifacts)
        except MlflowException:
            # Another training may have made it just now.
            found = self._find(name)
            if found is None:
                raise
            return found
        return self.client.get_experiment(experiment_id)

    def _find(self, name: str) -> Experiment | None:
        return self.client.get_experiment_by_name(name)


def tracking_uri(output_dir: Path) -> str:
    """Address of the tracking store: that of ``MLFLOW_TRACKING_URI`` if it is set, else a database in the folder.

    Raises:
        InputError: the folder has a name that cannot stand in the address of a database.
    """
    named = os.environ.get(TRACKING_VARIABLE)
    if named:
        return named
    path = str(_database(output_dir))
    # SQLAlchemy takes what follows a question mark for options, and since 2.1 turns %41 into A. It cannot be escaped
    # in a way that earlier versions understand, and MLflow would make a folder of the escaped name.
    if "?" in path or unquote(path) != path:
        raise InputError(
            f"{output_dir}: MLflow keeps no database in a folder with '?' or codes such as '%20' in its path; "
            f"give another folder or set {TRACKING_VARIABLE}"
        )
    return f"sqlite:///{path}"


def open_store(output_dir: Path) -> TrackingStore:
    """Connect to the tracking store of an output folder; a new database takes MLflow some seconds.

    The files of a run lie beside the database, in ``mlruns``, if that is an SQLite file, else where the server keeps
    them. MLflow's global tracking address is neither used nor changed.

    Raises:
        InputError: the store does not answer within seconds, or is not one that MLflow can use.
        OSError: ``output_dir`` cannot be made.
    """
    uri = tracking_uri(output_dir)
    own = uri == f"sqlite:///{_database(output_dir)}"
    label = str(_database(output_dir)) if own else without_password(uri)
    where = label if own else f"{TRACKING_VARIABLE}={label}"
    if own:
        _database(output_dir).parent.mkdir(parents=True, exist_ok=True)
    if uri != "databricks" and urlsplit(uri).scheme in ("", "file"):
        raise InputError(
            f"{where}: MLflow no longer keeps runs in folders; give the address of a server (http://...) or of a "
            "database (sqlite:////folder/mlflow.db)"
        )
    check_server(uri, where, f"start it, or unset {TRACKING_VARIABLE} to record in the output folder")
    try:
        artifacts = None if urlsplit(uri).scheme in ("http", "https", "") else _check_database(uri)
        with quiet():
            client = MlflowClient(uri)
            client.search_experiments(max_results=1)
    except Exception as error:  # Every database driver has errors of its own.
        raise InputError(f"{where}: MLflow cannot use this as its tracking store ({first_line(error)})") from error
    return TrackingStore(uri, label, own, client, artifacts)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep MLflow's remarks on its own doings off the terminal and out of our output; its warnings pass."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        # It prints links to a run that ends, for people in notebooks.
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _check_database(uri: str) -> str | None:
    """Connect once; returns the address of the folder for artifacts, for an SQLite file."""
    engine = create_sqlalchemy_engine(uri)
    try:
        engine.connect().close()
    finally:
        engine.dispose()
    if engine.url.get_backend_name() != "sqlite" or not engine.url.database:
        return None
    return (Path(engine.url.database).absolute().parent / _ARTIFACTS).as_uri()


def _database(output_dir: Path) -> Path:
    # Resolved, since MLflow keeps absolute addresses: a folder must have one, by whatever link it is reached.
    return Path(output_dir).resolve() / _DATABASE
