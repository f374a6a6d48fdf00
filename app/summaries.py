"""What commands say when they are done: what was made, where it is, and what to do next."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from .engines import TrainingReport
    from .metrics import InstanceScores
    from .slides.evaluation import ImageScores
    from .slides.segmentation import SlideReport
    from .tracking.registration import Registration

__all__ = ["say_registered", "say_scores", "say_segmented", "say_trained", "warn_of_blank"]


def say_trained(report: TrainingReport) -> None:
    """Where the bundles and the record are, and what to do with them."""
    console = Console(highlight=False, soft_wrap=True)
    scores = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in sorted(report.metrics.items()))
    if scores:
        console.print(f"On synthetic patches of held-out tiles: {scores}")
    if report.synthesis is not None:
        console.print(f"Refiner and discriminator: [bold]{escape(os.fspath(report.synthesis))}[/]")
        folder = shlex.quote(os.fspath(report.synthesis))
        console.print(f"Next: nucleosynth synthesize TILES -o DIR -n 100 --refiner {escape(folder)}")
    if report.segmentation is not None:
        console.print(f"Segmentation network: [bold]{escape(os.fspath(report.segmentation))}[/]")
        folder = shlex.quote(os.fspath(report.segmentation))
        console.print(f"Next: nucleosynth segment IMAGE_OR_SLIDE -o DIR --model {escape(folder)}")
    console.print(f"MLflow: {escape(report.tracking)}")


def warn_of_blank(names: Sequence[str]) -> None:
    """Say how many tiles were left out, and the first few of them."""
    if names:
        listed = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        print(f"nucleosynth: warning: {len(names)} blank tiles left out: {listed}", file=sys.stderr)


def say_segmented(reports: Sequence[SlideReport]) -> None:
    """What was found, where it is, and what could not be read."""
    console = Console(highlight=False, soft_wrap=True)
    for report in reports:
        console.print(f"[bold]{report.nuclei}[/] nuclei: {escape(os.fspath(report.folder))}")
    damaged = [report for report in reports if report.failed]
    for report in damaged:
        reason = report.failed[0]["reason"]
        count = f"{len(report.failed)} tile{'s' if len(report.failed) > 1 else ''}"
        print(f"nucleosynth: warning: {count} could not be read: {reason}", file=sys.stderr)
    if damaged:
        raise typer.Exit(3)


def say_registered(made: Registration) -> None:
    """What was registered where, how good it is, and what to do with it."""
    console = Console(highlight=False, soft_wrap=True)
    alias = "" if made.alias is None else f", the {escape(made.alias)}"
    instead = "" if made.replaced is None else f" instead of version {made.replaced}"
    console.print(f"[bold]{escape(made.name)}[/] version {made.version}{alias}{instead}: {escape(made.place)}")
    if made.means:
        figures = ", ".join(f"{name} {value:.4f}" for name, value in made.means.items())
        console.print(f"On {len(made.scores)} images: {figures}")
    address = f"models:/{made.name}" + (f"/{made.version}" if made.alias is None else f"@{made.alias}")
    console.print(f"Next: nucleosynth segment IMAGE_OR_SLIDE -o DIR --model {escape(shlex.quote(address))}")


def say_scores(images: Sequence[ImageScores], mean: InstanceScores, auroc: float | None) -> None:
    """A line for each image, and their mean as the last; columns, whether read on a terminal or in a pipe."""
    width = max(len("mean"), *(len(each.name) for each in images))
    heads = "".join(f"{name:>8}" for name in (*asdict(mean), "auroc"))
    print(f"{'':{width}}  nuclei  predicted{heads}")
    for each in images:
        print(f"{each.name:{width}}{each.nuclei:8}{each.predicted:11}{_columns(each.scores, each.auroc)}")
    nuclei, predicted = (sum(getattr(each, name) for each in images) for name in ("nuclei", "predicted"))
    print(f"{'mean':{width}}{nuclei:8}{predicted:11}{_columns(mean, auroc)}")


def _columns(scores: InstanceScores, auroc: float | None) -> str:
    last = "-" if auroc is None else f"{auroc:.4f}"
    return "".join(f"{value:8.4f}" for value in asdict(scores).values()) + f"{last:>8}"
