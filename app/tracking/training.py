"""The MLflow run of a training, opened from a bundle's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..data.images import IMAGE_SUFFIXES, find_files
from ..record import run_record
from .flatten import flatten_config
from .run import RunDescription, TrackedRun, open_run, record_tags

__all__ = ["track_training"]

EXPERIMENT = "nucleosynth"


@dataclass(frozen=True)
class _Training:
    seed: int


def track_training(
    output_dir: Path | str,
    dataset_dir: Path | str,
    seed: int,
    settings: Mapping[str, Any],
    config_file: Path | str | None = None,
    experiment: str = EXPERIMENT,
    iteration: int = 0,
) -> TrackedRun:
    """Open, or continue, the MLflow run of a training.

    Args:
        output_dir: of the training; ``mlflow.db`` is kept there unless ``MLFLOW_TRACKING_URI`` names another store.
        dataset_dir: folder of its tiles, whose digest becomes a tag.
        seed: of the training, a tag.
        settings: the most important ones, which become parameters where there is no ``config_file``.
        config_file: the whole configuration as YAML; its values become parameters, and the file an artifact.
        experiment: name of the experiment.
        iteration: where the training goes on; 0 at its start.

    Raises:
        InputError: the tracking store cannot be used.
    """
    tiles = find_files(Path(dataset_dir), IMAGE_SUFFIXES) if Path(dataset_dir).is_dir() else []
    record = run_record("train", _Training(seed), tiles)
    files: tuple[Path, ...] = ()
    config = settings
    if config_file is not None:
        files = (Path(config_file),)
        config = yaml.safe_load(files[0].read_text(encoding="utf-8"))
    description = RunDescription(
        experiment=experiment,
        name=Path(output_dir).resolve().name,
        params=flatten_config(config, f"config/{files[0].name}" if files else "the settings"),
        tags=record_tags(record),
        config_files=files,
    )
    return open_run(Path(output_dir), description, iteration)
