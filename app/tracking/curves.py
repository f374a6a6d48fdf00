"""What a training has recorded, read back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlflow.exceptions import MlflowException

from ..errors import InputError
from .flatten import valid_key
from .run import known_run
from .store import open_store

__all__ = ["read_curves"]


def read_curves(output_dir: Path, names: Sequence[str]) -> dict[str, list[tuple[int, float]]]:
    """Metrics of the MLflow run of a training, as pairs of step and value, by steps.

    Of values that were logged for one step, because a training was killed and continued, the later one counts.

    Args:
        output_dir: folder of the training.
        names: of the metrics; one that was never logged has no pairs.

    Raises:
        InputError: the folder has no run, or it is recorded in another store than the one in use now, or is not there.
    """
    run_id = known_run(output_dir)
    store = open_store(output_dir)
    curves = {}
    try:
        store.client.get_run(run_id)  # Of a run that is not there, the history would be empty.
        for name in names:
            history = store.client.get_metric_history(run_id, valid_key(name))
            ordered = sorted(history, key=lambda metric: (metric.step, metric.timestamp))
            curves[name] = sorted({metric.step: metric.value for metric in ordered}.items())
    except MlflowException as error:
        raise InputError(f"{store.label}: MLflow has no such run ({str(error).splitlines()[0]})") from error
    return curves
