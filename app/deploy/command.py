"""The application's command line and environment."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..endings import exit_code
from ..errors import InputError
from ..slides.settings import SegmentSettings
from ..threads import let_threads_sleep

__all__ = ["enlarge_stack", "main"]

_LEVELS = ("DEBUG", "INFO", "WARN", "ERROR", "CRITICAL")
_STACK_BYTES = 32 * 2**20  # What Holoscan asks for, lest its threads overflow theirs.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the application and return its exit code.

    Args:
        arguments: without the program's name; those of the process by default.

    Returns:
        0; 2 for a wrong input or output; 3 if parts of a slide could not be read. When interrupted, Holoscan ends the
        process with 1; started again, it continues.
    """
    let_threads_sleep()
    return exit_code(lambda: _run(_parser().parse_args(arguments)))


def enlarge_stack() -> None:
    """Start this process again with the stack that Holoscan wants, where the system's limits are lower and allow it.

    Threads get their size from the limit under which a process starts. Call it before anything else is done.
    """
    try:
        import resource
    except ImportError:  # Windows, for which there is no Holoscan.
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    enough = {resource.RLIM_INFINITY}
    if soft in enough or soft >= _STACK_BYTES or (hard not in enough and hard < _STACK_BYTES):
        return
    resource.setrlimit(resource.RLIMIT_STACK, (_STACK_BYTES, hard))
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nucleosynth.deploy",
        description="Segment the nuclei of slides and images, as an application of MONAI Deploy.",
        epilog="Without these, the variables HOLOSCAN_INPUT_PATH, HOLOSCAN_OUTPUT_PATH and HOLOSCAN_MODEL_PATH count, "
        "which a container sets. Exit code 3 says that parts of a slide could not be read.",
    )
    parser.add_argument("-i", "--input", help="slide, image, folder of them, or folder that is a DICOM slide (input)")
    parser.add_argument("-o", "--output", help="folder for the results (output)")
    parser.add_argument(
        "-m", "--model", help="bundle, or folder that holds it (the network that is shipped); only one that you trust"
    )
    parser.add_argument("-l", "--log-level", choices=_LEVELS, type=str.upper, help="what MONAI Deploy says as it runs")
    parser.add_argument("--mpp", type=float, help="scale of inputs that do not carry it, µm per pixel")
    return parser


def _run(given: argparse.Namespace) -> None:
    # Holoscan reads it as it is imported. Errors are told once, in the line that the command has for them.
    os.environ["HOLOSCAN_LOG_LEVEL"] = given.log_level or os.environ.get("HOLOSCAN_LOG_LEVEL", "OFF")
    logging.basicConfig(level=given.log_level or "ERROR")
    try:
        settings = SegmentSettings(mpp=given.mpp)
    except ValueError as error:
        raise InputError(f"--{error}") from error
    try:
        import monai.deploy.core  # noqa: F401
    except ImportError as error:
        raise InputError(f"MONAI Deploy is not installed ({error}); pip install 'nucleosynth[deploy]'") from error
    from ..summaries import say_segmented
    from .application import NucleiApplication, chosen_paths

    source, output, model = chosen_paths(given.input, given.output, given.model)
    application = NucleiApplication(Path(source), Path(output), model, settings)
    application.run()
    say_segmented(application.reports)
