"""The command line. A command parses, calls one function, and prints; all it does can be done from Python."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from . import __version__
from .errors import InputError
from .slides.settings import (
    FORMATS,
    NORMALIZATIONS,
    READERS,
    TYPE_SOURCES,
    SegmentSettings,
    TileSettings,
    chosen_formats,
)
from .summaries import say_segmented, say_trained, warn_of_blank
from .threads import let_threads_sleep

__all__ = ["app", "main"]

# Imports of a command's own code stay inside the command: `nucleosynth --help` must not wait for torch.

app = typer.Typer(
    name="nucleosynth",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_TILES = TileSettings()
_SEGMENT = SegmentSettings()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Args:
        arguments: without the program's name; those of the process by default.

    Returns:
        0; 1 if a training diverged; 2 for a wrong input or output; 3 if parts of a slide could not be read; 130 when
        interrupted.
    """
    let_threads_sleep()
    try:
        app(args=None if arguments is None else list(arguments), prog_name="nucleosynth")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except InputError as error:
        return _fail(str(error))
    except OSError as error:
        reason = error.strerror or str(error)
        return _fail(f"{error.filename}: {reason}" if error.filename else reason)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def _fail(message: str) -> int:
    """Say what is wrong in one line, whatever the message holds."""
    print("nucleosynth: error: " + " ".join(message.split()), file=sys.stderr)
    return 2


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"nucleosynth {__version__}")
        raise typer.Exit


@app.callback()
def nucleosynth(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Segment nuclei in any H&E tissue without a single label."""


@app.command()
def tiles(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="SLIDE_OR_DIR", help="Slides, images, folders of them, or folders that are one DICOM slide."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the tiles.")],
    mpp: Annotated[
        float | None,
        typer.Option(help="Scale of the inputs in µm per pixel, for those that do not carry it.", show_default=False),
    ] = _TILES.mpp,
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
    reader: Annotated[
        str,
        typer.Option(
            metavar="|".join(READERS), autocompletion=lambda: list(READERS), help="Library that reads the slides."
        ),
    ] = _TILES.reader,
    seed: Annotated[int, typer.Option(help="Seed of the random choice of tiles.")] = _TILES.seed,
) -> None:
    """Sample unlabelled tiles of tissue from slides and images.

    A slide gives tiles at random from its tissue, an image all of itself. Glass, blur, folds and pen marks are refused.

    Writes DIR/tiles/*.png, DIR/tiles.csv and, when all is there, DIR/run.json.

    Repeat a command that was interrupted, and it continues.
    """
    from .slides.tiles import sample_tiles

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

    from .data.synthesis import SynthesisRunSettings, synthesize_patches

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
            "or a YAML file. May be given several times.",
            show_default=False,
        ),
    ] = None,
    labelled: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Expert's images/ and labels/, for supervised and real_mix.", show_default=False
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
    from .engines import TrainingDiverged, TrainingSettings, train_networks

    try:
        settings = TrainingSettings(preset, tuple(overlay or ()), seed, mpp, labelled)
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
        Path,
        typer.Option(metavar="BUNDLE", help="Output of [bold]nucleosynth train[/], or its nuclei_segmentation."),
    ],
    mpp: Annotated[
        float | None,
        typer.Option(help="Scale of the inputs in µm per pixel, for those that do not carry it.", show_default=False),
    ] = None,
    reader: Annotated[
        str,
        typer.Option(
            metavar="|".join(READERS), autocompletion=lambda: list(READERS), help="Library that reads the slides."
        ),
    ] = _SEGMENT.reader,
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
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that outline nuclei beside the network.", show_default="all cores but one"),
    ] = None,
) -> None:
    """Segment the nuclei of images and whole slides of any size.

    Writes for each input DIR/NAME/nuclei.geojson (drag it onto the slide in QuPath), nuclei.parquet (GeoParquet, with
    measurements), overview.png, and run.json when all is there.

    With --formats also nuclei.ome.tiff, nuclei_annotations.dcm or nuclei.h5ad, even of what is segmented already.

    Repeat a command that was interrupted, and it continues.

    Exit code 3 says that parts of a slide could not be read; run.json says which. All others are segmented.
    """
    from .slides.model import load_segmenter
    from .slides.segmentation import segment_slides

    try:
        settings = SegmentSettings(mpp=mpp, reader=reader, whole=whole, normalize=normalize)
        more = chosen_formats(formats or ())
    except ValueError as error:
        raise InputError(f"--{error}") from error
    given = {"device": device, "segmenter#batch_size": batch_size, "segmenter#workers": workers}
    segmenter = load_segmenter(model, {key: value for key, value in given.items() if value is not None})
    say_segmented(segment_slides(inputs, output, segmenter, settings, more))


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for everything.")],
    seed: Annotated[int, typer.Option(help="Seed of the sample slides and of all that is drawn.")] = 0,
) -> None:
    """Show all of it, small, on sample slides that the program makes itself.

    Takes about a minute. Read DIR/report.html when it is done.
    """
    if seed < 0:
        raise InputError(f"--seed must not be negative, got {seed}")
    from .demo import run_demo

    report = run_demo(output, seed)
    Console(highlight=False).print(f"Read [bold]{escape(os.fspath(report))}[/]", soft_wrap=True)
