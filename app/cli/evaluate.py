"""``nucleosynth evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..summaries import say_scores
from .application import app

__all__ = ["evaluate"]


@app.command()
def evaluate(
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="Folder of experts' label images, NAME.png.")],
    prediction: Annotated[
        Path,
        typer.Argument(
            metavar="PREDICTION",
            help="Output of [bold]nucleosynth segment[/], or label images NAME.png or .tif, or NAME.geojson.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="CSV file for the scores.", show_default=False)
    ] = None,
) -> None:
    """Score segmented nuclei against the labels of experts.

    dice: of all nuclear pixels. dice2: ensemble Dice, over pairs of nuclei. avg: their mean. aji: aggregated Jaccard
    index. pq: panoptic quality, the product of dq, nuclei found, and sq, how well they are outlined. auroc: how well
    the probabilities of nuclei tell true from false ones. 1 is perfect; the last line is the mean over images.
    """
    from ..slides.evaluation import evaluate_folders, mean_auroc, mean_scores, write_scores

    images = evaluate_folders(truth, prediction)
    say_scores(images, mean_scores(images), mean_auroc(images))
    if output is not None:
        write_scores(output, images)
