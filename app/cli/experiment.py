"""``nucleosynth experiment``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .application import app

__all__ = ["experiment"]


@app.command()
def experiment(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="baselines, table1, table2 or table3, or a YAML file of your own.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for everything.")],
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR", help="A folder that the experiment needs; several times.", show_default=False),
    ] = None,
    preset: Annotated[
        str, typer.Option(metavar="quick|default|paper", help="Of every training, see [bold]nucleosynth train[/].")
    ] = "default",
    seeds: Annotated[int, typer.Option(help="Trainings of each kind, with seeds from 0.")] = 3,
    overlay: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME_OR_FILE", help="Laid over every training; several times.", show_default=False),
    ] = None,
    mpp: Annotated[float, typer.Option(help="Scale of all images in µm per pixel.")] = 0.25,
) -> None:
    """Compare ways to train: each several times, on the same images, in one table.

    Writes DIR/table.md and table.csv, the trainings in DIR/runs, and their MLflow runs in one DIR/mlflow.db.

    Repeat a command that was interrupted, and it continues.
    """
    from ..experiment import ExperimentSettings, read_experiment, run_experiment

    folders = {}
    for each in data or ():
        key, equals, folder = each.partition("=")
        if not equals or not key or not folder:
            raise InputError(f"--data must be NAME=DIR, got {each}")
        folders[key] = Path(folder)
    try:
        settings = ExperimentSettings(preset, seeds, tuple(overlay or ()), mpp)
    except ValueError as error:
        raise InputError(f"--{error}") from error
    run_experiment(read_experiment(name), folders, output, settings)
    print((output / "table.md").read_text(encoding="utf-8"), end="")
