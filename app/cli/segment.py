"""``nucleosynth segment``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..slides.settings import FORMATS, NORMALIZATIONS, TURNS, SegmentSettings, chosen_formats
from ..summaries import say_segmented
from .application import app
from .options import InputScale, Reader

__all__ = ["segment"]

_SEGMENT = SegmentSettings()


@app.command()
def segment(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE_OR_SLIDE", help="Slides, images, folders of them, or folders that are one DICOM slide."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")],
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="BUNDLE",
            help="Output of [bold]nucleosynth train[/], or its nuclei_segmentation; [bold]models:/NAME@ALIAS[/] from "
            "MLflow's registry; or [bold]research[/]: shipped weights that know more tissue, and are not for "
            "commercial use (CC BY-NC-SA 4.0).",
            show_default="the network that is shipped",
        ),
    ] = None,
    mpp: InputScale = None,
    reader: Reader = _SEGMENT.reader,
    whole: Annotated[bool, typer.Option("--whole", help="Segment glass as well, not only tissue.")] = _SEGMENT.whole,
    normalize: Annotated[
        str,
        typer.Option(
            metavar="|".join(NORMALIZATIONS),
            autocompletion=lambda: list(NORMALIZATIONS),
            help="Bring the stain of each slide to a reference before the network sees it; meant for a model that was "
            "trained on tissue normalised alike.",
        ),
    ] = _SEGMENT.normalize,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            metavar=",".join(FORMATS),
            autocompletion=lambda: list(FORMATS),
            help="What else to write: a label image, DICOM annotations (of DICOM slides), an AnnData table.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="Where the network runs: cpu, cuda, cuda:1.", show_default="cuda, if there is one"),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Windows that the network sees at a time.", show_default="as the model says")
    ] = None,
    turns: Annotated[
        int | None,
        typer.Option(
            metavar="|".join(map(str, TURNS)),
            help="In how many orientations the network looks at each place: 1 takes half as long as 2, and is a little "
            "less accurate.",
            show_default="as the model says, 2",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that outline nuclei; 1 is a thread.", show_default="all cores but one"),
    ] = None,
) -> None:
    """Segment the nuclei of images and whole slides of any size.

    Writes for each input DIR/NAME/nuclei.geojson (drag it onto the slide in QuPath), nuclei.parquet (GeoParquet, with
    measurements), overview.png, and run.json when all is there.

    With --formats also nuclei.ome.tiff, nuclei_annotations.dcm or nuclei.h5ad, even of what is segmented already.

    Repeat a command that was interrupted, and it continues.

    Exit code 3 says that parts of a slide could not be read; run.json says which. All others are segmented.
    """
    from ..slides.model import load_segmenter
    from ..slides.segmentation import segment_slides

    if turns is not None and turns not in TURNS:
        raise InputError(f"--turns must be one of {', '.join(map(str, TURNS))}, got {turns}")
    try:
        settings = SegmentSettings(mpp=mpp, reader=reader, whole=whole, normalize=normalize)
        more = chosen_formats(formats or ())
    except ValueError as error:
        raise InputError(f"--{error}") from error
    given = {
        "device": device,
        "segmenter#batch_size": batch_size,
        "segmenter#turns": turns,
        "segmenter#workers": workers,
    }
    segmenter = load_segmenter(model, {key: value for key, value in given.items() if value is not None})
    say_segmented(segment_slides(inputs, output, segmenter, settings, more))
