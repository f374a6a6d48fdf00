"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

from ..slides.settings import READERS

__all__ = ["InputScale", "Reader"]

InputScale = Annotated[
    float | None,
    typer.Option(help="Scale of the inputs in µm per pixel, for those that do not carry it.", show_default=False),
]
Reader = Annotated[
    str,
    typer.Option(
        metavar="|".join(READERS), autocompletion=lambda: list(READERS), help="Library that reads the slides."
    ),
]
