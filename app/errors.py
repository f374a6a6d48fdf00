"""The one error that users see: a line that says what is wrong with which file, and what to do."""

from __future__ import annotations

__all__ = ["InputError"]


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line, names the file or option, and says what to do about it. The command line prints it and
    ends with exit code 2; from Python it is an ordinary ``ValueError``.
    """
