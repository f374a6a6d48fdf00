"""``nucleosynth synthesize``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ..errors import InputError
from ..summaries import warn_of_blank
from .application import app

__all__ = ["synthesize"]


@app.command()
def synthesize(
    tiles: Annotated[
        Path, typer.Argument(metavar="TILES", help="Folder of tiles: of [bold]nucleosynth tiles[/], or any images.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the patches.")],
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", help="Number of patches.")],
    size: Annotated[int | None, typer.Option(help="Width and height of a patch in pixels.", show_default="400")] = None,
    mpp: Annotated[
        float | None,
        typer.Option(help="Scale of the tiles in µm per pixel.", show_default="as their run.json says, else 0.25"),
    ] = None,
    refiner: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Output of [bold]nucleosynth train[/]: its refiner improves the patches, which get weights.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all that is drawn.")] = 0,
    workers: Annotated[
        int | None,
        typer.Option(help="Number of processes; the result does not depend on it.", show_default="all cores"),
    ] = None,
) -> None:
    """Synthesise patches with exact nucleus masks from real textures.

    Random nuclei are painted with the tissue's own colours and textures onto its own background.

    Writes DIR/images, DIR/labels (16-bit, one number per nucleus) and DIR/reference (a real patch of the same type).

    With --refiner, DIR/weights.csv holds the importance weight of each patch.

    Look at DIR/preview.png. DIR/manifest.jsonl says what each patch is made of; DIR/run.json comes when all is there.

    Repeat a command that was interrupted, and it continues.
    """
    if count < 1:
        raise InputError(f"-n must be at least 1, got {count}")
    if workers is not None and workers < 1:
        raise InputError(f"--workers must be at least 1, got {workers}")
    from nucleosynth.transforms.synthesis import SynthesisSettings

    from ..data.synthesis import SynthesisRunSettings, synthesize_patches

    try:
        patch = SynthesisSettings() if size is None else SynthesisSettings(size=size)
        settings = SynthesisRunSettings(count=count, seed=seed, mpp=mpp, patch=patch)
    except ValueError as error:
        raise InputError(str(error)) from error
    report = synthesize_patches(tiles, output, settings, workers, refiner)
    console = Console(highlight=False)
    warn_of_blank(report.blank)
    console.print(
        f"[bold]{report.patches}[/] patches with {report.nuclei} nuclei "
        f"from {report.tiles} tiles ({report.types} tissue types)"
    )
    console.print(f"Look at {escape(os.fspath(output / 'preview.png'))}", soft_wrap=True)
