"""``nucleosynth demo``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ..errors import InputError
from .application import app

__all__ = ["demo"]


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for everything.")],
    seed: Annotated[int, typer.Option(help="Seed of the sample slides and of all that is drawn.")] = 0,
) -> None:
    """Show all of it, small, on sample slides that the program makes itself.

    Takes some five minutes on two cores. Read DIR/report.html when it is done.
    """
    if seed < 0:
        raise InputError(f"--seed must not be negative, got {seed}")
    from ..demo import DemoSettings, run_demo

    report = run_demo(output, DemoSettings(seed=seed))
    Console(highlight=False).print(f"Read [bold]{escape(os.fspath(report))}[/]", soft_wrap=True)
