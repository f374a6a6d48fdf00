"""How a command ends: with an exit code, and a line that says what was wrong."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import typer

from .errors import InputError

__all__ = ["exit_code"]


def exit_code(run: Callable[[], object]) -> int:
    """Run something and return the exit code of its process.

    Returns:
        0; 2 for a wrong input or output, which is printed in one line; 130 when interrupted; what was asked for where
        it ends by ``SystemExit`` or ``typer.Exit``.
    """
    try:
        run()
    except typer.Exit as end:
        return end.exit_code
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
