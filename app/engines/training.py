"""The whole label-free training with one call (``nucleosynth train``): a run of the bundle that leaves bundles."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser, ConfigWorkflow

from nucleosynth.bundles import bundle_path

from ..atomic import write_atomically
from ..data.images import find_images
from ..data.refinement import CALIBRATION
from ..errors import InputError
from ..record import claim_output, finish_output, finished_run, release_output, run_record
from ..servers import TRACKING_VARIABLE
from ..slides.model import find_weights
from .models import export_bundle
from .trainer import TrainingDiverged

__all__ = ["PRESETS", "TrainingReport", "TrainingSettings", "read_configuration", "train_networks"]

PRESETS = ("quick", "default", "paper")
_SELF_TRAIN = "self_train"
SEGMENTATION, SYNTHESIS = "nuclei_segmentation", "nuclei_synthesis"
_CONFIG = "config.yaml"
_PRODUCTS = (
    "models",
    "checkpoint.pt",
    "diagnostics",
    "taught",
    _CONFIG,
    SEGMENTATION,
    SYNTHESIS,
    "mlflow_run.json",
)
_STORE = ("mlflow.db", "mlruns")


@dataclass(frozen=True)
class TrainingSettings:
    """What a training is run with, besides its tiles.

    Attributes:
        preset: one of ``PRESETS``.
        overlays: names of the bundle's overlays, such as ``no_reference``, or paths of YAML files, in order.
        seed: of everything that is drawn.
        mpp: scale of the tiles, µm per pixel; None takes it from the tiles, else 0.25.
        labelled: folder with ``images`` and ``labels`` for the overlays ``supervised`` and ``real_mix``.
        teacher: output of another training, or its bundle, for the overlay ``self_train``; None takes the network that
            is shipped.
    """

    preset: str = "default"
    overlays: tuple[str, ...] = ()
    seed: int = 0
    mpp: float | None = None
    labelled: Path | None = None
    teacher: Path | None = None

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {self.preset!r}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if self.seed >= 2**32:
            raise ValueError(f"seed must be less than 2**32, got {self.seed}")
        if self.labelled is None and {"supervised", "real_mix"} & set(self.overlays):
            raise ValueError("labelled must name a folder of labelled images for the overlays supervised and real_mix")
        if self.teacher is not None and _SELF_TRAIN not in self.overlays:
            raise ValueError(f"teacher is for the overlay {_SELF_TRAIN}")
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
    configuration = read_configuration(settings)
    configuration |= {"dataset_dir": str(tiles), "output_dir": str(output), "finish_run": False}
    configuration |= {"seed": settings.seed, "mpp": settings.mpp, "config_file": str(output / _CONFIG)}
    configuration |= {"labelled_dir": None if settings.labelled is None else str(settings.labelled)}
    configuration["teacher_dir"] = None if settings.teacher is None else str(settings.teacher)
    taught = [find_weights(settings.teacher)] if _SELF_TRAIN in settings.overlays else []
    record = run_record("train", settings, [*find_images(tiles), *taught])
    text = yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True).encode()
    if (done := _finished(output, record, text)) is not None:
        return done
    fresh = not output.exists() or (output.is_dir() and not any(output.iterdir()))
    claim_output(output, record, _products())
    write_atomically(output / _CONFIG, text)
    try:
        workflow = _prepare(output / _CONFIG)
    except BaseException:
        if fresh:
            _give_up(output)
        raise
    trainer, run = workflow.parser.get_parsed_content("train#trainer"), workflow.parser.get_parsed_content("mlflow_run")
    try:
        _run(workflow)
        report = _export(output, configuration, trainer, workflow, run.place)
        for folder in filter(None, (report.segmentation, report.synthesis)):
            run.log_model_files(folder)
        run.log_metrics(report.metrics, trainer.state.iteration)
    except BaseException as error:
        run.fail(error)
        raise
    run.finish()
    shutil.rmtree(output / "models", ignore_errors=True)
    results = {"metrics": dict(report.metrics), "warnings": list(report.warnings), "tracking": report.tracking}
    finish_output(output, {**record, **results})
    return report


def _finished(output: Path, record: dict[str, Any], config: bytes) -> TrainingReport | None:
    """What a finished training with the same configuration has left, if all of it is there."""
    done = finished_run(output, record)
    if done is None or "tracking" not in done or not (output / _CONFIG).is_file():
        return None
    bundles = [output / name for name in (SEGMENTATION, SYNTHESIS)]
    segmentation, synthesis = (each if (each / "models" / "model.pt").is_file() else None for each in bundles)
    if (output / _CONFIG).read_bytes() != config or (segmentation is None and synthesis is None):
        return None
    return TrainingReport(segmentation, synthesis, done["metrics"], tuple(done["warnings"]), done["tracking"])


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
        configuration = dict(parser.get())
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise InputError(f"{files[-1]}: not a configuration that can be laid over train.yaml ({error})") from error
    size = configuration["patch_size"]
    if not isinstance(size, int) or size < 32 or size % 16:
        raise InputError(f"patch_size must be a multiple of 16 and at least 32, got {size}")
    return configuration


def _prepare(config: Path) -> ConfigWorkflow:
    """Build all that a training needs; whatever goes wrong here is wrong with the configuration or the tiles."""
    meta = bundle_path(SEGMENTATION) / "configs" / "metadata.json"
    with _quiet():
        workflow = ConfigWorkflow(str(config), meta_file=str(meta), logging_file=False, workflow_type="train")
        try:
            workflow.initialize()
            workflow.parser.get_parsed_content("train#trainer")
        except BaseException as error:
            # What was opened last may be what failed; the run must not go on recording a training that never began.
            run = workflow.parser.ref_resolver.resolved_content.get("mlflow_run")
            if run is not None:
                run.fail(error)
            if not isinstance(error, Exception):
                raise
            cause = _root(error)
            if isinstance(cause, (InputError, OSError)):
                raise cause from error
            raise InputError(f"the configuration cannot be used: {cause or type(cause).__name__}") from error
    return workflow


def _run(workflow: ConfigWorkflow) -> None:
    """Train; what stopped the training comes out as it was said."""
    with _quiet():
        try:
            workflow.run()
            workflow.finalize()
        except RuntimeError as error:
            cause = _root(error)
            if isinstance(cause, (InputError, OSError, TrainingDiverged)):
                raise cause from error
            raise


def _root(error: BaseException) -> BaseException:
    """The first of a chain of errors; MONAI wraps what its components raise."""
    while error.__cause__ is not None and not isinstance(error, (InputError, OSError, TrainingDiverged)):
        error = error.__cause__
    return error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MONAI and Ignite from announcing on stderr what the program says itself, or raises."""
    engines = (f"ignite.engine.engine.{name}" for name in ("SynthesisTrainer", "SupervisedEvaluator"))
    loggers = [logging.getLogger(name) for name in ("monai.bundle.workflows", *engines)]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger in loggers:
            logger.disabled = False


def _products() -> tuple[str, ...]:
    """What a training writes into its folder; a store of MLflow's that the user names may lie there before."""
    return _PRODUCTS if os.environ.get(TRACKING_VARIABLE) else (*_PRODUCTS, *_STORE)


def _give_up(output: Path) -> None:
    """Take back what was written into a folder that was empty before."""
    for name in _products():
        path = output / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    release_output(output)


def _export(
    output: Path, configuration: Mapping[str, Any], trainer: Any, workflow: ConfigWorkflow, tracking: str
) -> TrainingReport:
    """Make bundles of the trained networks."""
    definitions = {key: configuration[key] for key in ("network_def", "refiner_def", "discriminator_def")}
    definitions["mpp"] = float(workflow.parser.get_parsed_content("train#tiles").mpp)
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
