"""``nucleosynth register``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..summaries import say_registered
from .application import app

__all__ = ["register"]


@app.command()
def register(
    bundle: Annotated[
        Path | None,
        typer.Argument(
            metavar="BUNDLE",
            help="Output of [bold]nucleosynth train[/], or its nuclei_segmentation.",
            show_default="the network that is shipped",
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the registered model.")] = "nuclei-segmentation",
    alias: Annotated[
        str | None,
        typer.Option(
            metavar="champion",
            help="Alias for the new version. It is refused to a model that is worse (AJI) than the one that has it.",
            show_default=False,
        ),
    ] = None,
    evaluate: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Experts' images/ and labels/, to score the model on.", show_default=False),
    ] = None,
    mpp: Annotated[
        float | None, typer.Option(help="Scale of these images, in µm per pixel.", show_default="the network's")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Give the alias even if the model is worse, or was not compared.")
    ] = False,
) -> None:
    """Register a trained network in MLflow's model registry.

    Keeps the bundle with its scores, its signature and a model card as a new version. Then
    [bold]nucleosynth segment --model models:/NAME@ALIAS[/] uses it, and mlflow.pyfunc.load_model and
    [bold]mlflow models serve[/] do.

    The registry is the server or database that MLFLOW_TRACKING_URI names, else mlflow.db in this folder.
    """
    from ..tracking.registration import RegisterSettings, register_bundle

    try:
        settings = RegisterSettings(name=name, alias=alias, evaluate=evaluate, mpp=mpp, force=force)
    except ValueError as error:
        raise InputError(f"--{error}") from error
    say_registered(register_bundle(bundle, settings))
