"""Bundles in MLflow's model registry, fetched by their addresses, such as ``models:/NAME@ALIAS``."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from ..errors import InputError
from ..servers import TRACKING_VARIABLE, check_server, first_line, without_password

__all__ = ["ARTIFACT", "download_bundle", "fetch_bundle", "is_registered"]

ARTIFACT = "nuclei_segmentation"
"""Name of the bundle's folder among the artifacts of a registered model."""

_ADDRESS = re.compile(r"models:/+(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+|latest))")


def is_registered(model: Path | str | None) -> bool:
    """Whether a model is named by an address in the registry."""
    return model is not None and str(model).startswith("models:")


def fetch_bundle(address: Path | str) -> Path:
    """Copy the bundle of a registered model into a temporary folder, which is removed when the process ends.

    The registry is that of ``MLFLOW_TRACKING_URI`` or, where this is not set, ``mlflow.db`` in the working folder, as
    for MLflow itself.

    Args:
        address: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or ``models:/NAME/latest``. A path will do, which
            holds one slash where there were two.

    Raises:
        InputError: it is no such address, the registry does not answer or does not know it, or what it knows is not a
            model that ``nucleosynth register`` made.
    """
    found = _ADDRESS.fullmatch(str(address))
    if found is None:
        raise InputError(f"{address}: no address of a model; give models:/NAME@ALIAS or models:/NAME/VERSION")
    uri, where = _registry()
    try:
        client = MlflowClient(uri)
        version = _find_version(client, **found.groupdict())
    except MlflowException as error:
        raise InputError(f"{address}: not in the registry {where} ({first_line(error)})") from error
    except Exception as error:  # Every database driver has errors of its own.
        raise InputError(f"{where}: MLflow cannot use this as its model registry ({first_line(error)})") from error
    folder = Path(tempfile.mkdtemp(prefix="nucleosynth-model-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return download_bundle(client, uri, version, folder)


def download_bundle(client: MlflowClient, uri: str, version: ModelVersion, folder: Path) -> Path:
    """Copy the bundle of a version of a registered model.

    Args:
        client: of the registry.
        uri: its address.
        version: of the model.
        folder: where to; must exist.

    Raises:
        InputError: its files are not there, or it is not a model that ``nucleosynth register`` made.
    """
    name = f"models:/{version.name}/{version.version}"
    try:
        place = client.get_model_version_download_uri(version.name, version.version)
        bundle = f"{place.rstrip('/')}/artifacts/{ARTIFACT}"
        return Path(download_artifacts(artifact_uri=bundle, dst_path=str(folder), tracking_uri=uri))
    except (MlflowException, OSError) as error:
        raise InputError(
            f"{name}: its bundle cannot be fetched ({first_line(error)}); is it a model of nucleosynth register?"
        ) from error


def _registry() -> tuple[str, str]:
    """Address of the registry, for MLflow and for messages; it answers, or there is a file."""
    named = os.environ.get(TRACKING_VARIABLE)
    if not named:
        path = Path("mlflow.db").absolute()
        if not path.is_file():
            raise InputError(f"{path}: no such file; set {TRACKING_VARIABLE} to the registry that has the model")
        return f"sqlite:///{path}", str(path)
    where = without_password(named)
    if urlsplit(named).scheme == "sqlite" and not Path(named.removeprefix("sqlite:///")).is_file():
        raise InputError(f"{TRACKING_VARIABLE}={where}: there is no such database")
    check_server(
        named,
        f"{TRACKING_VARIABLE}={where}",
        f"start it, or set {TRACKING_VARIABLE} to the registry that has the model",
    )
    return named, where


def _find_version(client: MlflowClient, name: str, alias: str | None, version: str | None) -> ModelVersion:
    if alias is not None:
        return client.get_model_version_by_alias(name, alias)
    if version is not None and version != "latest":
        return client.get_model_version(name, version)
    versions = client.search_model_versions(f"name = '{name}'")
    if not versions:
        raise MlflowException(f"Registered Model with name={name} not found")
    return max(versions, key=lambda each: int(each.version))
