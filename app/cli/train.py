"""``nucleosynth train``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..summaries import say_trained
from .application import app

__all__ = ["train"]


@app.command()
def train(
    tiles: Annotated[
        Path, typer.Argument(metavar="TILES", help="Folder of tiles: of [bold]nucleosynth tiles[/], or any images.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for everything.")],
    preset: Annotated[
        str,
        typer.Option(
            metavar="quick|default|paper",
            autocompletion=lambda: ["quick", "default", "paper"],
            help="Minutes on two cores; minutes on a GPU and hours without; or the paper's networks and schedule.",
        ),
    ] = "default",
    overlay: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME_OR_FILE",
            help="Configuration to lay over: no_reference, no_weights, no_hard, no_refinement, supervised, real_mix, "
            "self_train, or a YAML file. May be given several times.",
            show_default=False,
        ),
    ] = None,
    labelled: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Expert's images/ and labels/, for supervised and real_mix.", show_default=False
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            metavar="BUNDLE",
            help="Trained network that labels the tiles, for self_train.",
            show_default="the network that is shipped",
        ),
    ] = None,
    mpp: Annotated[
        float | None,
        typer.Option(help="Scale of the tiles in µm per pixel.", show_default="as their run.json says, else 0.25"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all that is drawn.")] = 0,
) -> None:
    """Train a segmentation network on unlabelled tiles, without a single label.

    Synthesises patches, refines them against real ones, weighs them, and trains on them.

    Writes DIR/nuclei_segmentation and DIR/nuclei_synthesis (MONAI bundles), DIR/diagnostics (pictures) and the record
    of the run in MLflow.

    Repeat a command that was interrupted, and it continues.
    """
    from ..engines import TrainingDiverged, TrainingSettings, train_networks

    try:
        settings = TrainingSettings(preset, tuple(overlay or ()), seed, mpp, labelled, teacher)
    except ValueError as error:
        raise InputError(f"--{error}") from error
    try:
        report = train_networks(tiles, output, settings)
    except TrainingDiverged as error:
        print(f"nucleosynth: error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    for warning in report.warnings:
        print(f"nucleosynth: warning: {warning}", file=sys.stderr)
    say_trained(report)
