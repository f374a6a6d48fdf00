"""Whether a server that the user names answers, found out within seconds."""

from __future__ import annotations

import socket
import ssl
import urllib.error
import urllib.request
from urllib.parse import SplitResult, urlsplit

from .errors import InputError

__all__ = ["TRACKING_VARIABLE", "check_server", "first_line", "without_password"]

TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
"""Of the environment: the store that MLflow records in, and the registry; it wins over folders."""

_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
# Longer than any server needs to answer; MLflow itself would try again for minutes, for a database for an hour.
_TIMEOUT_SECONDS = 5.0
_LONGEST_REASON = 300


def check_server(uri: str, where: str, remedy: str = "start it") -> None:
    """Make sure that an MLflow server or its database listens, within seconds; an SQLite file passes.

    Args:
        uri: address of the tracking store.
        where: how to name it in the message.
        remedy: what to do about it, in the message.

    Raises:
        InputError: there is no server, or it is not able to serve.
    """
    parts = urlsplit(uri)
    try:
        if parts.scheme in ("http", "https"):
            _ask(uri)
        elif parts.hostname:
            port = parts.port or _PORTS.get(parts.scheme.partition("+")[0])
            if port is not None:
                socket.create_connection((parts.hostname, port), _TIMEOUT_SECONDS).close()
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise InputError(f"{where}: the MLflow tracking server cannot be reached ({reason}); {remedy}") from error


def without_password(uri: str) -> str:
    """An address as it may be shown and written down."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    user, _, host = parts.netloc.rpartition("@")
    return SplitResult(parts.scheme, f"{user.partition(':')[0]}@{host}", parts.path, parts.query, "").geturl()


def first_line(error: BaseException) -> str:
    """The first line of what an error says."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:_LONGEST_REASON]


def _ask(uri: str) -> None:
    """Raise OSError unless a server answers; whether it lets this user in, MLflow finds out."""
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_TIMEOUT_SECONDS).close()
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            raise
    except urllib.error.URLError as error:
        # MLflow has settings of its own for certificates.
        if not isinstance(error.reason, ssl.SSLError):
            raise
