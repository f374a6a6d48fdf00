"""Progress on the terminal, silence in a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["track"]

T = TypeVar("T")


def track(iterable: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a progress bar on stderr, if stderr is a terminal.

    Args:
        iterable: what to iterate over.
        description: a word or two that stand before the bar.
        total: number of items; taken from ``len(iterable)`` where it has one, else the bar shows no end.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from iterable
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        yield from progress.track(iterable, total=total, description=description)
