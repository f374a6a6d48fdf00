"""Trained bundles in MLflow's model registry (``nucleosynth register``)."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import mlflow
import numpy as np
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType, Array
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from ..data.labelled import find_labelled
from ..data.phantom import PhantomSettings, generate_phantom
from ..errors import InputError
from ..record import input_digest
from ..servers import TRACKING_VARIABLE, first_line
from ..slides.evaluation import ImageScores, evaluate_folders, mean_auroc, mean_scores, write_scores
from ..slides.model import find_bundle, find_weights, load_segmenter
from ..slides.registered import ARTIFACT, download_bundle
from ..slides.segmentation import SlideSegmenter, segment_slides
from ..slides.settings import SegmentSettings
from .card import read_training, shorten_card, write_card
from .run import record_tags
from .serving import BUNDLE, image_text
from .store import TrackingStore, open_store, quiet
from .training import EXPERIMENT

__all__ = ["RegisterSettings", "Registration", "register_bundle"]

_CODE = Path(__file__).with_name("model_code.py")
_COMPARED = "aji"
# What the figures of a model depend on; all else comes with nucleosynth in any version that it accepts.
_PINNED = ("nucleosynth", "mlflow", "monai", "torch")
_NAME = re.compile(r"[\w. -]+")
_ALIAS = re.compile(r"(?!latest$)(?!v\d+$)[A-Za-z0-9_-]+", re.IGNORECASE)


@dataclass(frozen=True)
class RegisterSettings:
    """How a bundle is registered.

    Attributes:
        name: of the registered model; its versions share it.
        alias: to give to the new version, such as ``champion``; None gives none.
        evaluate: labelled folder, with ``images`` and ``labels``, on which the model is scored.
        mpp: scale of its images, µm per pixel; None takes the network's.
        force: give the alias even to a model that is worse than the one that has it, or was not compared.
    """

    name: str = "nuclei-segmentation"
    alias: str | None = None
    evaluate: Path | None = None
    mpp: float | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name must consist of letters, digits, '_', '-', '.' and spaces, got {self.name!r}")
        if self.alias is not None and not _ALIAS.fullmatch(self.alias):
            raise ValueError(
                f"alias must consist of letters, digits, '_', '-', and not be 'latest' or 'v1', got {self.alias!r}"
            )
        if self.mpp is not None and not self.mpp > 0:
            raise ValueError(f"mpp must be positive, got {self.mpp}")


@dataclass(frozen=True)
class Registration:
    """What was registered.

    Attributes:
        name: of the registered model.
        version: of it, as MLflow counts them.
        alias: that it has got, if any.
        scores: image by image, if it was evaluated.
        replaced: version that had the alias before, if any.
        place: the registry.
    """

    name: str
    version: str
    alias: str | None
    scores: list[ImageScores]
    replaced: str | None
    place: str

    @property
    def means(self) -> dict[str, float]:
        """Each score's mean over the images; empty if the model was not evaluated."""
        return _figures(self.scores)


def register_bundle(bundle: Path | None, settings: RegisterSettings) -> Registration:
    """Register a trained bundle as a new version of a model.

    The registry is that of ``MLFLOW_TRACKING_URI`` or, where this is not set, ``mlflow.db`` in the working folder. What
    can be wrong is found out before anything is registered; the alias comes last.

    Args:
        bundle: as of :func:`~nucleosynth.slides.model.find_bundle`; None is the one that is shipped.
        settings: how.

    Raises:
        InputError: the bundle, the evaluation set or the registry cannot be used, or the model is worse than the one
            that has the alias.
    """
    folder = find_bundle(bundle)
    if find_weights(bundle).name != "model.pt":
        raise InputError(f"{bundle}: weights for research only are not registered; give an output of train")
    segmenter = load_segmenter(folder)
    if settings.evaluate is not None:
        find_labelled(settings.evaluate)
    store = open_store(Path())
    try:
        holder = _holder(store, settings)
        if holder is not None and settings.evaluate is None and not settings.force:
            raise InputError(
                f"{settings.name}: version {holder.version} is the {settings.alias}; give --evaluate DIR to compare "
                "them, or --force to replace it unseen"
            )
        scores = []
        if settings.evaluate is not None:
            scores = _score(segmenter, settings.evaluate, settings.mpp)
            if holder is not None and not settings.force:
                _refuse_worse(store, holder, scores, settings.evaluate, settings.mpp)
        with _current(store.uri), quiet():
            version = _log(store, folder, segmenter, settings, scores)
            if settings.alias is not None:
                store.client.set_registered_model_alias(settings.name, settings.alias, version)
    except MlflowException as error:
        raise InputError(f"{store.label}: MLflow cannot register the model ({first_line(error)})") from error
    replaced = None if holder is None else str(holder.version)
    return Registration(settings.name, version, settings.alias, scores, replaced, store.label)


def _holder(store: TrackingStore, settings: RegisterSettings) -> ModelVersion | None:
    """The version that has the alias."""
    if settings.alias is None:
        return None
    try:
        return store.client.get_model_version_by_alias(settings.name, settings.alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None  # There is no such model, or it has no such alias.
        raise


def _score(segmenter: SlideSegmenter, labelled: Path, mpp: float | None) -> list[ImageScores]:
    """Scores on a labelled folder, as ``nucleosynth segment`` and ``nucleosynth evaluate`` would give them."""
    settings = SegmentSettings(mpp=mpp or segmenter.instances.mpp)
    with tempfile.TemporaryDirectory(prefix="nucleosynth-evaluation-") as output:
        segment_slides([labelled / "images"], output, segmenter, settings)
        return evaluate_folders(labelled / "labels", Path(output))


def _refuse_worse(
    store: TrackingStore, holder: ModelVersion, scores: list[ImageScores], labelled: Path, mpp: float | None
) -> None:
    """Score the version that has the alias on the same images, whatever it was scored on before."""
    with tempfile.TemporaryDirectory(prefix="nucleosynth-model-") as folder:
        with quiet():
            bundle = download_bundle(store.client, store.uri, holder, Path(folder))
        theirs = _score(load_segmenter(bundle), labelled, mpp)
    new, old = (getattr(mean_scores(each), _COMPARED) for each in (scores, theirs))
    if new < old:
        raise InputError(
            f"{holder.name}: the model is worse than version {holder.version}, which has the alias: "
            f"{_COMPARED.upper()} {new:.4f} against {old:.4f} on {labelled}; nothing was registered (--force registers "
            "it all the same)"
        )


def _log(
    store: TrackingStore, folder: Path, segmenter: SlideSegmenter, settings: RegisterSettings, scores: list[ImageScores]
) -> str:
    """Record the model in a run of its own, and make it a version; returns its number."""
    figures = _figures(scores)
    evaluated, tags = _evaluation(settings, scores)
    training = read_training(folder)
    tags |= {"model.sha256": segmenter.model_sha256}
    if training is not None:
        tags["data.sha256"] = record_tags(training)["data.sha256"]
    card = write_card(folder, segmenter.model_sha256, segmenter.instances.mpp, figures, evaluated)
    # Set by `mlflow run`, which has a run of its own for the command.
    parent = os.environ.get("MLFLOW_RUN_ID")
    parents = {MLFLOW_PARENT_RUN_ID: parent} if parent else {}
    run = store.client.create_run(
        store.experiment(EXPERIMENT), tags={"command": "register", **tags, **parents}, run_name=f"{settings.name}"
    )
    with mlflow.start_run(run.info.run_id), tempfile.TemporaryDirectory(prefix="nucleosynth-register-") as temporary:
        copy = shutil.copytree(folder, Path(temporary, ARTIFACT), ignore=_left_out)
        info = mlflow.pyfunc.log_model(
            name=settings.name,
            python_model=str(_CODE),
            artifacts={BUNDLE: str(copy)},
            signature=_signature(segmenter.instances.mpp),
            input_example=([_example()], {"mpp": segmenter.instances.mpp}),
            pip_requirements=_requirements(),
            params={"mpp": segmenter.instances.mpp},
            tags=tags,
        )
        for name, value in figures.items():
            store.client.log_metric(run.info.run_id, name, value, model_id=info.model_id)
        mlflow.log_text(card, "model_card.md")
        if scores:
            write_scores(Path(temporary, "scores.csv"), scores)
            mlflow.log_artifact(str(Path(temporary, "scores.csv")))
    # MLflow keeps metrics with the model, and shows nothing but tags and description with its versions.
    tags |= {f"evaluation.{name}": f"{value:.4f}" for name, value in figures.items()}
    _ensure_registered(store, settings.name)
    version = store.client.create_model_version(
        settings.name, info.model_uri, run.info.run_id, tags, description=shorten_card(card), model_id=info.model_id
    )
    return str(version.version)


def _ensure_registered(store: TrackingStore, name: str) -> None:
    try:
        store.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _left_out(_: str, names: list[str]) -> set[str]:
    """What the copy in the registry does without: weights under another licence, and caches."""
    return {name for name in names if name.startswith("model_research") or name == "__pycache__"}


def _evaluation(settings: RegisterSettings, scores: list[ImageScores]) -> tuple[Mapping[str, str], dict[str, str]]:
    """What to say of the evaluation set in the card, and in tags."""
    if settings.evaluate is None:
        return {}, {}
    digest = str(input_digest(settings.evaluate / "labels")["sha256"])
    nuclei = sum(each.nuclei for each in scores)
    evaluated = {"images": f"{len(scores)}, with {nuclei} nuclei", "labels, SHA-256": digest}
    return evaluated, {"evaluation.sha256": digest, "evaluation.images": str(len(scores))}


def _figures(scores: list[ImageScores]) -> dict[str, float]:
    if not scores:
        return {}
    auroc = mean_auroc(scores)
    return {**asdict(mean_scores(scores)), **({} if auroc is None else {"auroc": auroc})}


def _signature(mpp: float) -> ModelSignature:
    """What goes in and comes out.

    The input has no schema: MLflow has none for images of any size that come one by one, in batches, in lists, or as
    files. Its nearest, a tensor of objects, refuses lists, and one of pixels refuses files. The model checks them.
    """
    outputs = Schema([ColSpec(DataType.string, "label_png"), ColSpec(Array(AnyType()), "nuclei")])
    return ModelSignature(outputs=outputs, params=ParamSchema([ParamSpec("mpp", DataType.double, float(mpp))]))


def _example() -> str:
    """A small image of tissue that the project makes itself, as it is sent to a server."""
    return image_text(np.ascontiguousarray(generate_phantom(PhantomSettings(width=128, height=128)).image))


def _requirements() -> list[str]:
    """Packages of this installation; builds such as +cpu are not pinned, so that other machines can have theirs."""
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in _PINNED]


@contextmanager
def _current(uri: str) -> Iterator[None]:
    """Make a store MLflow's current one: logging a model takes no other."""
    before = os.environ.get(TRACKING_VARIABLE)
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before or "")
