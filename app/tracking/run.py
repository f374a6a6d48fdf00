"""The MLflow run of a training, which survives the process: a training that is continued continues its run."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import logging
import math
import os
import shlex
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from mlflow.utils.validation import MAX_METRICS_PER_BATCH, MAX_PARAMS_TAGS_PER_BATCH, MAX_TAG_VAL_LENGTH

from ..atomic import write_atomically
from ..errors import InputError
from ..servers import check_server
from .flatten import valid_key
from .store import TrackingStore, open_store, quiet

__all__ = ["RUN_FILE", "RunDescription", "TrackedRun", "known_run", "open_run", "record_tags"]

RUN_FILE = "mlflow_run.json"
_CONFIG, _MODEL, _TRACEBACK = "config", "bundle", "error.txt"
# A batch of metrics takes SQLite some 20 ms, however many there are; who watches a training waits for so long.
_FLUSH_SECONDS = 5.0
# How long a store that failed is left alone: the training goes on meanwhile.
_PAUSE_SECONDS = 60.0
_STOP_SECONDS = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Known:
    """The run that a folder has: ``mlflow_run.json``.

    Attributes:
        run_id: MLflow's id of it.
        store: label of its tracking store; None for the folder's own database.
    """

    run_id: str
    store: str | None

    @property
    def place(self) -> str:
        return self.store or "the folder's own database"


@dataclass(frozen=True)
class RunDescription:
    """What a training is, for those who look for it in MLflow.

    Attributes:
        experiment: name of the experiment; made if there is none.
        name: of the run.
        params: of :func:`nucleosynth.tracking.flatten_config`.
        tags: of :func:`record_tags`, and what else to search for.
        config_files: files to keep with the run, under ``config``.
    """

    experiment: str
    name: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    config_files: Sequence[Path] = ()


def record_tags(record: Mapping[str, Any]) -> dict[str, str]:
    """Tags of a run from its record.

    Args:
        record: of :func:`nucleosynth.record.run_record`.

    Returns:
        ``command``, ``seed`` (if the settings have one), ``data.sha256`` (a digest of the inputs' contents, wherever
        they lie) and ``version.NAME`` of each package.
    """
    contents = [{name: value for name, value in given.items() if name != "path"} for given in record["inputs"]]
    tags = {"command": str(record["command"]), "data.sha256": hashlib.sha256(json.dumps(contents).encode()).hexdigest()}
    if "seed" in record["settings"]:
        tags["seed"] = str(record["settings"]["seed"])
    return tags | {f"version.{name}": version for name, version in record["versions"].items()}


def open_run(output_dir: Path, description: RunDescription, iteration: int = 0) -> TrackedRun:
    """Begin the run of a training, or continue it if the output folder has one.

    ``mlflow_run.json`` in the folder names the run. It is continued, and is RUNNING again, as long as the tracking
    store is the same one and still has it. Otherwise a warning says so and a new run begins, whose tag ``continues``
    names the old one: a training is never given up for want of its record.

    A run that is continued gets the iteration into its tag ``resumed_at`` ("80, 240"). What a killed training has
    logged after its last checkpoint is logged a second time at the same steps; MLflow keeps both and shows the later
    ones as the latest. Parameters of an MLflow run never change: those that differ now, and tags that do, are listed
    in the tag ``changed_on_resume`` as ``name: old -> new``.

    Args:
        output_dir: folder of the training.
        description: of the run; the experiment and the name of a run that is continued stay.
        iteration: where the training goes on; 0 at its start.

    Raises:
        InputError: the tracking store cannot be used, or the folder was moved since the run began.
    """
    store = open_store(output_dir)
    known = _read_known(output_dir)
    try:
        found = _find(store, known)
        if found is not None:
            _check_place(store, found, output_dir)
            _resume(store, found, description, iteration)
            run = found
        else:
            run = _create(store, description, known)
            _write_known(output_dir, _Known(run.info.run_id, _name(store)))
        for path in description.config_files:
            store.client.log_artifact(run.info.run_id, str(path), _CONFIG)
    except MlflowException as error:
        raise InputError(f"{store.label}: MLflow cannot record the training ({str(error).splitlines()[0]})") from error
    with quiet():
        monitor = SystemMetricsMonitor(run.info.run_id, resume_logging=found is not None, tracking_uri=store.uri)
        monitor.start()
    return TrackedRun(store, run.info.run_id, run.info.experiment_id, monitor)


def known_run(output_dir: Path) -> str:
    """MLflow's id of the run of a training.

    Raises:
        InputError: the folder has none.
    """
    known = _read_known(output_dir)
    if known is None:
        raise InputError(f"{output_dir}: has no {RUN_FILE}, so no training was recorded here")
    return known.run_id


class TrackedRun:
    """A run that is being recorded; :func:`open_run` makes it.

    A store that fails in the middle of a training, such as a server that is restarted, is left alone for a minute.
    Metrics are kept until it is back; for anything else there is a warning. No method raises for the store's sake.

    As a context manager it ends the run: FINISHED, FAILED, or KILLED for an interrupt.

    Attributes:
        store: where it is recorded.
        run_id: MLflow's id of it.
        experiment_id: MLflow's id of its experiment.

    Example:
        >>> with open_run(folder, description) as run:
        ...     run.log_metrics({"loss/task": 0.3}, step=20)
    """

    def __init__(self, store: TrackingStore, run_id: str, experiment_id: str, monitor: SystemMetricsMonitor) -> None:
        self.store, self.run_id, self.experiment_id = store, run_id, experiment_id
        self._monitor = monitor
        self._open = True
        self._pending: list[Metric] = []
        self._flushed = time.monotonic()
        self._resting_until = -math.inf

    @property
    def place(self) -> str:
        """Where to look at it: its page on the server, or the command that shows the database."""
        if self.store.uri.startswith("http"):
            return f"{self.store.label.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{self.run_id}"
        uri = self.store.uri if self.store.own else self.store.label
        return f"mlflow ui --backend-store-uri {shlex.quote(uri)} --host 127.0.0.1"

    def __enter__(self) -> TrackedRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()
        else:
            self.fail(error)

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log values of a step; they are written some seconds later, many at a time.

        A value that is not finite is logged as NaN, a gap in the curve. For an infinite one databases would hold the
        largest number that they have.
        """
        now = int(time.time() * 1000)
        for name, value in values.items():
            number = float(value)
            self._pending.append(Metric(valid_key(name), number if math.isfinite(number) else math.nan, now, step))
        if len(self._pending) >= MAX_METRICS_PER_BATCH or time.monotonic() - self._flushed >= _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the metrics that were logged."""
        self._flushed = time.monotonic()
        while self._pending and time.monotonic() >= self._resting_until:
            batch = self._pending[:MAX_METRICS_PER_BATCH]
            if not self._write(
                lambda batch=batch: self.store.client.log_batch(self.run_id, metrics=batch),  # type: ignore[misc]
                f"{len(self._pending)} values are kept back",
            ):
                return
            del self._pending[: len(batch)]

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Keep a copy of a file.

        Raises:
            FileNotFoundError: there is no such file.
        """
        self._log_copy(path, self.store.client.log_artifact, folder)

    def log_model_files(self, folder: Path) -> None:
        """Keep a copy of a bundle's folder under ``bundle``.

        Raises:
            FileNotFoundError: there is no such folder.
        """
        self._log_copy(folder, self.store.client.log_artifacts, _MODEL)

    def log_table(self, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Keep a table as ``NAME.csv``, which MLflow shows as one; a table of the same name is replaced.

        Raises:
            ValueError: the columns differ in length.
        """
        lengths = {column: len(values) for column, values in columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the columns of a table must be of one length, got {lengths}")
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([list(columns), *zip(*columns.values(), strict=True)])
        file = f"{name}.csv"
        self._write(lambda: self.store.client.log_text(self.run_id, text.getvalue(), file), f"{file} is not kept there")

    def finish(self) -> None:
        """End the run as FINISHED, unless it has failed."""
        self._end("FINISHED", {})

    def fail(self, error: BaseException) -> None:
        """End the run as FAILED, or KILLED for an interrupt; the tag ``error`` and ``error.txt`` say of what."""
        message = f"{type(error).__name__}: {error}".removesuffix(": ")
        if self._open and isinstance(error, Exception):
            trace = "".join(traceback.format_exception(error))
            self._write(lambda: self.store.client.log_text(self.run_id, trace, _TRACEBACK), "no traceback is kept")
        self._end("FAILED" if isinstance(error, Exception) else "KILLED", {"error": message})

    def _end(self, status: str, tags: Mapping[str, str]) -> None:
        """Write what is left; only the first call decides how the run ended."""
        # The last chance, so the store is not spared.
        self._resting_until = -math.inf
        if self._open:
            self._open = False
            self._stop_monitor()
            self.flush()
            self._resting_until = -math.inf
            self._write(lambda: self._terminate(status, tags), f"the run is not marked {status}")
        else:
            self.flush()

    def _stop_monitor(self) -> None:
        # Its thread may be waiting for a server that is down, for minutes; the end of the program will stop it then.
        stop = threading.Thread(target=self._monitor.finish, daemon=True)
        with quiet():
            stop.start()
            stop.join(_STOP_SECONDS)

    def _terminate(self, status: str, tags: Mapping[str, str]) -> None:
        _log_texts(self.store, self.run_id, {}, tags)
        with quiet():
            self.store.client.set_terminated(self.run_id, status)

    def _log_copy(self, path: Path, log: Callable[[str, str, str | None], None], folder: str) -> None:
        path.stat()
        self._write(lambda: log(self.run_id, str(path), folder or None), f"{path.name} is not kept there")

    def _write(self, write: Callable[[], object], loss: str) -> bool:
        """Write to the store, unless it failed a moment ago; on failure warn of the loss and return False."""
        reason = "it failed within the last minute"
        if time.monotonic() >= self._resting_until:
            try:
                check_server(self.store.uri, self.store.label)
                write()
                return True
            except (MlflowException, InputError, OSError) as error:
                self._resting_until = time.monotonic() + _PAUSE_SECONDS
                reason = " ".join(str(error).split())
        _log.warning("%s: MLflow does not record (%s); %s", self.store.label, reason, loss)
        return False


def _create(store: TrackingStore, description: RunDescription, known: _Known | None) -> Run:
    tags = {}
    if known is not None:
        tags["continues"] = f"{known.run_id} ({known.place})"
    # Set by `mlflow run`, which has a run of its own for the command.
    parent = os.environ.get("MLFLOW_RUN_ID")
    if parent:
        tags[MLFLOW_PARENT_RUN_ID] = parent
    run = store.client.create_run(store.experiment(description.experiment), tags=tags, run_name=description.name)
    _log_texts(store, run.info.run_id, description.params, description.tags)
    return run


def _resume(store: TrackingStore, run: Run, description: RunDescription, iteration: int) -> None:
    old_params, old_tags = run.data.params, run.data.tags
    changed = [
        f"{name}: {old[name]} -> {value}"
        for old, new in ((old_params, description.params), (old_tags, description.tags))
        for name, value in new.items()
        if name in old and old[name] != value
    ]
    tags = {**description.tags, "resumed_at": ", ".join([*filter(None, [old_tags.get("resumed_at")]), str(iteration)])}
    if changed:
        tags["changed_on_resume"] = "\n".join([*filter(None, [old_tags.get("changed_on_resume")]), *changed])
    params = {name: value for name, value in description.params.items() if name not in old_params}
    store.client.update_run(run.info.run_id, status="RUNNING")
    _log_texts(store, run.info.run_id, params, tags)
    if "error" in old_tags:
        store.client.delete_tag(run.info.run_id, "error")


def _log_texts(store: TrackingStore, run_id: str, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
    """Log parameters and tags in the portions that MLflow takes."""
    all_params = [Param(name, value) for name, value in params.items()]
    all_tags = [RunTag(valid_key(name), _shorten(value)) for name, value in tags.items()]
    for start in range(0, max(len(all_params), len(all_tags)), MAX_PARAMS_TAGS_PER_BATCH):
        part = slice(start, start + MAX_PARAMS_TAGS_PER_BATCH)
        store.client.log_batch(run_id, params=all_params[part], tags=all_tags[part])


def _shorten(value: str) -> str:
    return value if len(value) <= MAX_TAG_VAL_LENGTH else value[: MAX_TAG_VAL_LENGTH - 3] + "..."


def _find(store: TrackingStore, known: _Known | None) -> Run | None:
    """The run that the folder had, if this store still has it."""
    if known is None:
        return None
    reason = f"is recorded in {known.place}, and MLflow now records in {store.label}"
    if known.store == _name(store):
        try:
            run = store.client.get_run(known.run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            reason = f"is no longer in {store.label}"
        else:
            if run.info.lifecycle_stage == "active":
                return run
            reason = f"was deleted in {store.label}"
    _log.warning("the MLflow run %s of this training %s; a new run begins", known.run_id, reason)
    return None


def _name(store: TrackingStore) -> str | None:
    """The store, as the folder remembers it."""
    return None if store.own else store.label


def _check_place(store: TrackingStore, run: Run, output_dir: Path) -> None:
    """Refuse a folder that was moved with its database: MLflow would write files to where the folder was."""
    if store.artifacts is not None and not run.info.artifact_uri.startswith(f"{store.artifacts}/"):
        raise InputError(
            f"{output_dir}: MLflow keeps the files of this run under {run.info.artifact_uri}; move the folder back, or "
            f"delete {RUN_FILE}, mlflow.db and mlruns in it to begin a new run"
        )


def _read_known(output_dir: Path) -> _Known | None:
    path = output_dir / RUN_FILE
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
        return _Known(str(content["run_id"]), content["store"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: does not name an MLflow run; delete it to begin a new run") from error


def _write_known(output_dir: Path, known: _Known) -> None:
    write_atomically(output_dir / RUN_FILE, (json.dumps(dataclasses.asdict(known), indent=2) + "\n").encode())
