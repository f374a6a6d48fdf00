"""Experiments: trainings that are compared, each repeated with several seeds, scored and tabulated."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from nucleosynth.bundles import bundle_path

from .atomic import replace_atomically, write_atomically
from .data.images import read_image, write_label
from .data.labelled import find_labelled
from .engines import TrainingSettings, train_networks
from .engines.training import read_configuration
from .errors import InputError
from .metrics import InstanceScores
from .postprocess import otsu_nuclei
from .progress import track
from .record import claim_output, finish_output, finished_run, run_record
from .servers import TRACKING_VARIABLE
from .slides.evaluation import ImageScores, evaluate_folders, mean_scores, write_scores
from .slides.model import load_segmenter
from .slides.segmentation import segment_slides
from .slides.settings import SegmentSettings
from .tracking import tracking_uri

__all__ = ["Experiment", "ExperimentSettings", "Fold", "Row", "Trial", "read_experiment", "run_experiment"]

_METHODS = ("train", "otsu")
_TABLE, _CSV, _RUNS = "table.md", "table.csv", "runs"
_SHOWN = ("dice", "avg", "aji", "pq")


@dataclass(frozen=True)
class Fold:
    """A division of the images, by patterns of their names.

    Attributes:
        without: images that the training does not see.
        only: images that are scored.
    """

    without: tuple[str, ...] = ()
    only: tuple[str, ...] = ("*",)


@dataclass(frozen=True)
class Trial:
    """What is compared: a way to train, or to do without.

    Attributes:
        name: in the table.
        method: ``train``, or ``otsu`` for the baseline without a network.
        tiles: name of the data whose images are the unlabelled tiles.
        labelled: name of labelled data, for overlays that use some.
        overlays: as of :class:`~nucleosynth.engines.TrainingSettings`.
        folds: trainings that share the images to score between them.
    """

    name: str
    method: str = "train"
    tiles: str | None = None
    labelled: str | None = None
    overlays: tuple[str, ...] = ()
    folds: tuple[Fold, ...] = (Fold(),)


@dataclass(frozen=True)
class Experiment:
    """Trials on the same images.

    Attributes:
        title: of the table.
        data: names of the folders that it needs, and what each holds.
        test: name of the one, with ``images`` and ``labels``, that is scored.
        trials: the rows.
    """

    title: str
    data: Mapping[str, str]
    test: str
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class ExperimentSettings:
    """How an experiment is run.

    Attributes:
        preset: of every training.
        seeds: how many trainings of each trial, with seeds from 0.
        overlays: laid over every training, before the trial's own.
        mpp: scale of all images, µm per pixel.
    """

    preset: str = "default"
    seeds: int = 3
    overlays: tuple[str, ...] = ()
    mpp: float = 0.25

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {self.seeds}")
        TrainingSettings(self.preset, mpp=self.mpp)

    def training(self, trial: Trial, seed: int, labelled: Path | None = None) -> TrainingSettings:
        """How a trial is trained."""
        return TrainingSettings(self.preset, (*self.overlays, *trial.overlays), seed, self.mpp, labelled)


@dataclass(frozen=True)
class Row:
    """A trial's scores.

    Attributes:
        name: of the trial.
        seeds: mean over the images, for each seed.
    """

    name: str
    seeds: tuple[InstanceScores, ...]

    def mean(self, score: str) -> float:
        """Mean over seeds."""
        return float(np.mean([getattr(each, score) for each in self.seeds]))

    def spread(self, score: str) -> float | None:
        """Standard deviation over seeds, of a sample; None of a single one."""
        values = [getattr(each, score) for each in self.seeds]
        return float(np.std(values, ddof=1)) if len(values) > 1 else None


def read_experiment(name: str) -> Experiment:
    """Read a description of an experiment.

    Args:
        name: of one that is shipped with the bundle ``nuclei_segmentation``, such as ``table3``, or a YAML file.

    Raises:
        InputError: there is none, or it is not a description of an experiment.
    """
    folder = bundle_path("nuclei_segmentation") / "experiments"
    path = folder / f"{name}.yaml" if (folder / f"{name}.yaml").is_file() else Path(name)
    if not path.is_file():
        shipped = ", ".join(sorted(each.stem for each in folder.glob("*.yaml")))
        raise InputError(f"{name}: no such experiment; give one of {shipped}, or a YAML file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        trials = tuple(_trial(each) for each in content.pop("trials"))
        experiment = Experiment(trials=trials, **content)
        named = {experiment.test} | {data for trial in trials for data in (trial.tiles, trial.labelled) if data}
        if unknown := named - set(experiment.data):
            raise ValueError(f"it names data that it does not describe: {', '.join(sorted(unknown))}")
        if twice := [slug for slug, count in Counter(_slug(trial.name) for trial in trials).items() if count > 1]:
            raise ValueError(f"two trials would share a folder: {', '.join(twice)}")
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a description of an experiment ({error})") from error
    return experiment


def _trial(content: dict[str, Any]) -> Trial:
    folds = tuple(Fold(**{key: tuple(value) for key, value in fold.items()}) for fold in content.pop("folds", [{}]))
    trial = Trial(folds=folds, overlays=tuple(content.pop("overlays", ())), **content)
    if trial.method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}, got {trial.method!r}")
    if trial.method == "train" and trial.tiles is None:
        raise ValueError(f"{trial.name}: a training needs tiles")
    return trial


@dataclass(frozen=True)
class _Run:
    """For the record: what the scores depend on besides the files."""

    experiment: Mapping[str, Any]
    settings: Mapping[str, Any]


def run_experiment(
    experiment: Experiment, data: Mapping[str, Path], output: Path, settings: ExperimentSettings
) -> list[Row]:
    """Train, segment and score everything, and write the table.

    Writes ``table.md`` and ``table.csv``; ``runs/TRIAL/SEED/``, in which each training lies beside its nuclei and
    scores; ``mlflow.db`` with the runs of all trainings, unless ``MLFLOW_TRACKING_URI`` names another store; and
    ``run.json`` last. Called again after it was interrupted, it continues.

    Args:
        experiment: what to compare.
        data: folder of each of its data.
        output: folder for the results.
        settings: how.

    Raises:
        InputError: a folder is missing or cannot be used, or ``output`` holds something else.
        TrainingDiverged: of a training.
    """
    for name, what in experiment.data.items():
        if name not in data:
            raise InputError(f"{name}: a folder is missing, {what}; give --data {name}=DIR")
        if not data[name].is_dir():
            raise InputError(f"{data[name]}: no such folder")
    for trial in experiment.trials:
        _check(trial, data, settings)
    pairs = find_labelled(data[experiment.test])
    record = run_record(
        "experiment", _Run(asdict(experiment), asdict(settings)), [path for pair in pairs for path in pair]
    )
    if finished_run(output, record) is None:
        claim_output(output, record, (_TABLE, _CSV, _RUNS, "mlflow.db", "mlruns"))
    with _one_store(output):
        rows = [_trial_row(trial, experiment, data, output, settings) for trial in experiment.trials]
    write_atomically(output / _CSV, _as_csv(rows).encode())
    write_atomically(output / _TABLE, _as_markdown(experiment, rows, settings).encode())
    finish_output(output, record)
    return rows


def _check(trial: Trial, data: Mapping[str, Path], settings: ExperimentSettings) -> None:
    """Find out now, and not after hours of other trainings, what cannot be trained."""
    if trial.method != "train" or trial.tiles is None:
        return
    try:
        read_configuration(settings.training(trial, 0, data[trial.labelled] if trial.labelled else None))
    except ValueError as error:
        raise InputError(f"{trial.name}: {error}") from error
    if any(fold.without for fold in trial.folds) and not (data[trial.tiles] / "images").is_dir():
        raise InputError(f"{data[trial.tiles]}: to leave images out of a training it needs images/ and labels/")


@contextmanager
def _one_store(output: Path) -> Iterator[None]:
    """All trainings of an experiment are runs of one MLflow database, to be compared there."""
    given = os.environ.get(TRACKING_VARIABLE)
    os.environ[TRACKING_VARIABLE] = tracking_uri(output)
    try:
        yield
    finally:
        if given is None:
            del os.environ[TRACKING_VARIABLE]


def _trial_row(
    trial: Trial, experiment: Experiment, data: Mapping[str, Path], output: Path, settings: ExperimentSettings
) -> Row:
    seeds = settings.seeds if trial.method == "train" else 1
    scores = []
    for seed in range(seeds):
        folder = output / _RUNS / _slug(trial.name) / str(seed)
        images: list[ImageScores] = []
        for number, fold in enumerate(trial.folds):
            place = folder if len(trial.folds) == 1 else folder / f"fold{number}"
            images += _score_fold(trial, fold, data, data[experiment.test], place, seed, settings)
        write_scores(folder / "scores.csv", images)
        scores.append(mean_scores(images))
    return Row(trial.name, tuple(scores))


def _score_fold(
    trial: Trial,
    fold: Fold,
    data: Mapping[str, Path],
    test: Path,
    place: Path,
    seed: int,
    settings: ExperimentSettings,
) -> list[ImageScores]:
    test = _part_of(test, place / "test", fold.only, ())
    images, nuclei = [image for image, _ in find_labelled(test)], place / "nuclei"
    if trial.method == "otsu":
        for image in track(images, trial.name):
            write_label(nuclei / f"{image.stem}.png", otsu_nuclei(read_image(image), settings.mpp))
    else:
        assert trial.tiles is not None  # read_experiment sees to it
        labelled = None
        if trial.labelled is not None:
            labelled = _part_of(data[trial.labelled], place / "labelled", ("*",), fold.without)
        tiles = data[trial.tiles]
        if (tiles / "images").is_dir():
            tiles = (_part_of(tiles, place / "tiles", ("*",), fold.without) if fold.without else tiles) / "images"
        train_networks(tiles, place / "training", settings.training(trial, seed, labelled))
        segmenter = load_segmenter(place / "training")
        segment_slides(images, nuclei, segmenter, SegmentSettings(mpp=settings.mpp, whole=True))
    return evaluate_folders(test, nuclei)


def _part_of(folder: Path, place: Path, only: Sequence[str], without: Sequence[str]) -> Path:
    """A labelled folder, or a copy of those of its images whose names fit."""
    if tuple(only) == ("*",) and not without:
        return folder
    for image, label in find_labelled(folder):
        wanted = any(fnmatch(image.stem, each) for each in only) and not any(fnmatch(image.stem, e) for e in without)
        for path, kind in ((image, "images"), (label, "labels")):
            target = place / kind / path.name
            if wanted and not target.exists():
                with replace_atomically(target) as partial:
                    shutil.copyfile(path, partial)
    if not place.is_dir():
        raise InputError(f"{folder}: no image is left of it by {', '.join([*only, *without])}")
    return place


def _slug(name: str) -> str:
    words = "".join(letter if letter.isalnum() else " " for letter in name.lower()).split()
    return "-".join(words)


def _as_csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [each.name for each in fields(InstanceScores)]
    writer.writerow(["trial", "seed", *names])
    for row in rows:
        for seed, scores in enumerate(row.seeds):
            writer.writerow([row.name, seed, *(f"{getattr(scores, name):.4f}" for name in names)])
    return text.getvalue()


def _as_markdown(experiment: Experiment, rows: Sequence[Row], settings: ExperimentSettings) -> str:
    return "\n".join(_lines(experiment, rows, settings)) + "\n"


def _lines(experiment: Experiment, rows: Sequence[Row], settings: ExperimentSettings) -> Iterator[str]:
    yield f"# {experiment.title}"
    yield ""
    seeds = "1 seed" if settings.seeds == 1 else f"{settings.seeds} seeds"
    yield f"Preset `{settings.preset}`, {seeds}: mean, and standard deviation over seeds in brackets."
    yield ""
    yield "| | " + " | ".join(_SHOWN) + " |"
    yield "|---" * (len(_SHOWN) + 1) + "|"
    for row in rows:
        cells = []
        for name in _SHOWN:
            spread = row.spread(name)
            cells.append(f"{row.mean(name):.3f}" + ("" if spread is None else f" ({spread:.3f})"))
        yield f"| {row.name} | " + " | ".join(cells) + " |"
