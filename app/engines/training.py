"""The whole label-free training with one call (``nucleosynth train``): a run of the bundle that leaves bundles."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser, ConfigWorkflow

from nucleosynth.bundles import bundle_path

from ..atomic import write_atomically
from ..data.images import IMAGE_SUFFIXES, find_files
from ..data.refinement import CALIBRATION
from ..errors import InputError
from ..record import claim_output, finish_output, run_record
from .models import export_bundle

__all__ = ["PRESETS", "TrainingReport", "TrainingSettings", "read_configuration", "train_networks"]

PRESETS = ("quick", "default", "paper")
SEGMENTATION, SYNTHESIS = "nuclei_segmentation", "nuclei_synthesis"
_CONFIG = "config.yaml"
_PRODUCTS = (
    "models",
    "checkpoint.pt",
    "diagnostics",
    _CONFIG,
    SEGMENTATION,
    SYNTHESIS,
    "mlflow.db",
    "mlruns",
    "mlflow_run.json",
)


@dataclass(frozen=True)
class TrainingSettings:
    """What a training is run with, besides its tiles.

    Attributes:
        preset: one of ``PRESETS``.
        overlays: names of the bundle's overlays, such as ``no_reference``, or paths of YAML files, in order.
        seed: of everything that is drawn.
        mpp: scale of the tiles, µm per pixel; None takes it from the tiles, else 0.25.
        labelled: folder with ``images`` and ``labels`` for the overlays ``supervised`` and ``real_mix``.
    """

    preset: str = "default"
    overlays: tuple[str, ...] = ()
    seed: int = 0
    mpp: float | None = None
    labelled: Path | None = None

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {self.preset!r}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if self.mpp is not None and not self.mpp > 0:
            raise ValueError(f"mpp must be positive, got {self.mpp}")


@dataclass(frozen=True)
class TrainingReport:
    """What a training left.

    Attributes:
        segmentation: bundle of the trained task network, or None if none was trained.
        synthesis: bundle of the trained refiner and discriminator, or None.
        metrics: on synthetic validation patches, such as ``synthetic_aji``.
        warnings: what went wrong without stopping the training, in sentences.
        tracking: where its MLflow run is recorded.
    """

    segmentation: Path | None
    synthesis: Path | None
    metrics: Mapping[str, float]
    warnings: tuple[str, ...]
    tracking: str


def train_networks(tiles: Path, output: Path, settings: TrainingSettings) -> TrainingReport:
    """Train refiner, discriminator and task network on unlabelled tiles.

    Writes ``nuclei_segmentation`` and ``nuclei_synthesis``, bundles with the trained networks, ``diagnostics`` with
    pictures, ``config.yaml`` with every setting, ``mlflow.db`` with the record of the run, ``checkpoint.pt``, and
    ``run.json`` last. Called again after it was interrupted, it continues from the last checkpoint.

    Args:
        tiles: folder of tiles, see :func:`~nucleosynth.data.tileset.load_tiles`.
        output: folder for the results.
        settings: how to train.

    Raises:
        InputError: tiles or settings cannot be used, or ``output`` holds something else.
        TrainingDiverged: a loss was not finite, or exploded; the last checkpoint is intact.
    """
    if not tiles.is_dir():
        raise InputError(f"{tiles}: no such folder")
    configuration = read_configuration(settings)
    record = run_record("train", settings, find_files(tiles, IMAGE_SUFFIXES))
    claim_output(output, record, _PRODUCTS)
    configuration |= {"dataset_dir": str(tiles), "output_dir": str(output), "finish_run": False}
    configuration |= {"seed": settings.seed, "mpp": settings.mpp, "config_file": str(output / _CONFIG)}
    configuration |= {"labelled_dir": None if settings.labelled is None else str(settings.labelled)}
    write_atomically(output / _CONFIG, yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True).encode())
    workflow = _run(output / _CONFIG)
    trainer, run = workflow.parser.get_parsed_content("train#trainer"), workflow.parser.get_parsed_content("mlflow_run")
    try:
        report = _export(output, configuration, trainer, workflow, run.place)
        for folder in filter(None, (report.segmentation, report.synthesis)):
            run.log_model_files(folder)
        run.log_metrics(report.metrics, trainer.state.iteration)
    except BaseException as error:
        run.fail(error)
        raise
    run.finish()
    shutil.rmtree(output / "models", ignore_errors=True)
    finish_output(output, {**record, "metrics": dict(report.metrics), "warnings": list(report.warnings)})
    return report


def read_configuration(settings: TrainingSettings) -> dict[str, Any]:
    """The configuration of a training with preset and overlays, as plain values; expressions stay text.

    Raises:
        InputError: there is no such overlay, or it cannot be read.
    """
    folder = bundle_path(SEGMENTATION) / "configs"
    files = [folder / "train.yaml"]
    if settings.preset != "default":
        files.append(folder / f"preset_{settings.preset}.yaml")
    for name in settings.overlays:
        inside = folder / f"{name}.yaml"
        files.append(inside if inside.exists() else Path(name))
        if not files[-1].is_file():
            raise InputError(f"{name}: neither an overlay of the bundle {SEGMENTATION} nor a file")
    parser = ConfigParser()
    try:
        parser.read_config([str(file) for file in files])
    except (yaml.YAMLError, ValueError, KeyError) as error:
        raise InputError(f"{files[-1]}: not a configuration that can be laid over train.yaml ({error})") from error
    return dict(parser.get())


def _run(config: Path) -> ConfigWorkflow:
    """Run a bundle's training; what a component found wrong with its input comes out as it was said."""
    meta = bundle_path(SEGMENTATION) / "configs" / "metadata.json"
    workflow = ConfigWorkflow(str(config), meta_file=str(meta), logging_file=False, workflow_type="train")
    try:
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    except RuntimeError as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, (InputError, OSError)):
                raise cause from error
            cause = cause.__cause__
        raise
    return workflow


def _export(
    output: Path, configuration: Mapping[str, Any], trainer: Any, workflow: ConfigWorkflow, tracking: str
) -> TrainingReport:
    """Make bundles of the trained networks."""
    definitions = {key: configuration[key] for key in ("network_def", "refiner_def", "discriminator_def")}
    models = output / "models"
    segmentation = synthesis = None
    if "task" in trainer.learners:
        segmentation = export_bundle(
            SEGMENTATION, output / SEGMENTATION, definitions, {"model.pt": models / "model.pt"}
        )
    files = {"model.pt": models / "refiner.pt", "discriminator.pt": models / "discriminator.pt"}
    files[CALIBRATION] = models / CALIBRATION
    if all(file.exists() for file in files.values()):
        inner = {"network_def": definitions["refiner_def"], "discriminator_def": definitions["discriminator_def"]}
        inner["size"] = configuration["patch_size"]
        synthesis = export_bundle(SYNTHESIS, output / SYNTHESIS, inner, files)
    evaluator = workflow.parser.get_parsed_content("validate#evaluator") if segmentation else None
    metrics = {} if evaluator is None else {name: float(value) for name, value in evaluator.state.metrics.items()}
    handlers = workflow.parser.get_parsed_content("train#handlers")
    warnings = tuple(warning for handler in handlers for warning in getattr(handler, "warnings", ()))
    return TrainingReport(segmentation, synthesis, metrics, warnings, tracking)
