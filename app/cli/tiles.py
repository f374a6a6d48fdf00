"""``nucleosynth tiles``."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ..errors import InputError
from ..slides.settings import TYPE_SOURCES, TileSettings
from .application import app
from .options import InputScale, Reader

__all__ = ["tiles"]

_TILES = TileSettings()


@app.command()
def tiles(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="SLIDE_OR_DIR", help="Slides, images, folders of them, or folders that are one DICOM slide."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the tiles.")],
    mpp: InputScale = _TILES.mpp,
    target_mpp: Annotated[float, typer.Option(help="Scale of the tiles in µm per pixel.")] = _TILES.target_mpp,
    size: Annotated[int, typer.Option(help="Width and height of a tile in pixels.")] = _TILES.size,
    per_slide: Annotated[int, typer.Option(help="At most so many tiles of one slide.")] = _TILES.per_slide,
    type_by: Annotated[
        str,
        typer.Option(
            metavar="|".join(TYPE_SOURCES),
            autocompletion=lambda: list(TYPE_SOURCES),
            help="What makes images one tissue type: their folder, or each image by itself.",
        ),
    ] = _TILES.type_by,
    reader: Reader = _TILES.reader,
    seed: Annotated[int, typer.Option(help="Seed of the random choice of tiles.")] = _TILES.seed,
) -> None:
    """Sample unlabelled tiles of tissue from slides and images.

    A slide gives tiles at random from its tissue, an image all of itself. Glass, blur, folds and pen marks are refused.

    Writes DIR/tiles/*.png, DIR/tiles.csv and, when all is there, DIR/run.json.

    Repeat a command that was interrupted, and it continues.
    """
    from ..slides.tiles import sample_tiles

    try:
        settings = TileSettings(
            target_mpp=target_mpp,
            size=size,
            per_slide=per_slide,
            seed=seed,
            mpp=mpp,
            reader=reader,
            type_by=type_by,
        )
    except ValueError as error:
        raise InputError(str(error).replace("_", "-")) from error
    report = sample_tiles(inputs, output, settings)
    console = Console(highlight=False)
    console.print(f"[bold]{report.kept}[/] tiles ({report.types} tissue types) from {report.sources} slides and images")
    if report.refused:
        reasons = ", ".join(f"{count} {reason}" for reason, count in report.refused.items())
        console.print(f"Refused: {reasons}")
    folder, patches = (shlex.quote(os.fspath(path)) for path in (output, output.with_name(f"{output.name}-patches")))
    console.print(f"Next: nucleosynth synthesize {escape(folder)} -o {escape(patches)} -n 100", soft_wrap=True)
