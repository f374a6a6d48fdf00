"""The command line. A command parses, calls one function, and prints; all it does can be done from Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

import typer

from .. import __version__
from ..endings import exit_code
from ..threads import let_threads_sleep

__all__ = ["app", "main"]

app = typer.Typer(
    name="nucleosynth",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Args:
        arguments: without the program's name; those of the process by default.

    Returns:
        0; 1 if a training diverged; 2 for a wrong input or output; 3 if parts of a slide could not be read; 130 when
        interrupted.
    """
    let_threads_sleep()
    # Else MLflow reports to its makers that it is used; nothing goes over the network unasked.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    return exit_code(lambda: app(args=None if arguments is None else list(arguments), prog_name="nucleosynth"))


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
