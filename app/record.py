"""The record of a run (``run.json``), and the rule that a folder holds the output of one run only.

A run claims its output folder with ``unfinished.json``. When all else is written, ``run.json`` takes its place: a
folder with ``run.json`` is whole. The same command on the same inputs continues an unfinished run, any other is
refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .atomic import write_atomically
from .errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "RECORD",
    "claim_output",
    "finish_output",
    "finished_run",
    "input_digest",
    "release_output",
    "run_record",
    "write_record",
]

RECORD = "run.json"
_CLAIM = "unfinished.json"
_PACKAGES = (
    "monai",
    "torch",
    "pytorch-ignite",
    "mlflow",
    "numpy",
    "scipy",
    "scikit-image",
    "opencv-python-headless",
    "pillow",
    "tifffile",
    "openslide-python",
    "openslide-bin",
    "cucim-cu13",
    "cucim-cu12",
    "highdicom",
    "pydicom",
    "anndata",
)
_WHOLE_LIMIT = 64 * 2**20  # A slide of some GB would take longer to hash than to sample.
_END_BYTES = 2**20


def run_record(command: str, settings: DataclassInstance, inputs: Iterable[Path]) -> dict[str, Any]:
    """Describe a run at its start: what would be needed to repeat it.

    Args:
        command: name of the command, such as ``"tiles"``.
        settings: the run's settings dataclass; paths become strings, tuples lists.
        inputs: files that are read; a folder stands for all files in it.

    Returns:
        Plain JSON values: ``command``, ``started`` (UTC, ISO 8601), ``versions``, ``settings`` and ``inputs``.
    """
    return {
        "command": command,
        "started": _now(),
        "versions": _versions(),
        "settings": json.loads(json.dumps(dataclasses.asdict(settings), default=str)),
        "inputs": [input_digest(Path(path)) for path in inputs],
    }


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record as JSON with the time of its end (``finished``), atomically. Call it after all else is written."""
    _write_json(path, {**record, "finished": _now()})


def claim_output(folder: Path, record: dict[str, Any], products: Sequence[str]) -> None:
    """Reserve a folder for one run before it writes anything; files that are not ``products`` are left alone.

    Args:
        folder: the output folder; made if it is missing.
        record: the run, of :func:`run_record`.
        products: names in ``folder`` that the run writes, such as ``("tiles", "tiles.csv")``.

    Raises:
        InputError: ``folder`` is a file, or holds products of another run, or products without a record.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: the output must be a folder, but this is a file; give another -o")
    finished, claim = folder / RECORD, folder / _CLAIM
    for path in (finished, claim):
        if path.exists():
            _refuse_other_run(path, record)
    if finished.exists():
        os.replace(finished, claim)
    if not claim.exists():
        for name in products:
            if (folder / name).exists():
                raise InputError(f"{folder / name}: in the way, of unknown origin; move it or give another -o")
        _write_json(claim, record)


def finished_run(folder: Path, record: dict[str, Any]) -> dict[str, Any] | None:
    """The record that a finished run of the same command on the same inputs left in a folder, if there is one.

    Raises:
        InputError: ``folder`` holds the output of another run.
    """
    path = folder / RECORD
    if not path.exists():
        return None
    return _refuse_other_run(path, record)


def finish_output(folder: Path, record: dict[str, Any]) -> None:
    """Declare a claimed folder whole: write ``run.json`` and drop the claim."""
    write_record(folder / RECORD, record)
    (folder / _CLAIM).unlink(missing_ok=True)


def release_output(folder: Path) -> None:
    """Give up the claim on a folder into which nothing was written."""
    (folder / _CLAIM).unlink(missing_ok=True)


def input_digest(path: Path) -> dict[str, Any]:
    """Identify an input by its content.

    Returns:
        ``path`` (absolute), ``bytes``, and one of ``sha256`` (whole file; for a folder, of its files' names and
        digests) or, above 64 MiB, ``sha256_of_size_and_ends`` (of the size in decimal, the first and the last MiB).
    """
    path = path.resolve()
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        parts = [{**input_digest(file), "path": file.name} for file in files]
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return {"path": str(path), "bytes": sum(part["bytes"] for part in parts), "sha256": digest}
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _WHOLE_LIMIT:
            digest, kind = hashlib.sha256(file.read()).hexdigest(), "sha256"
        else:
            content = str(size).encode() + file.read(_END_BYTES)
            file.seek(-_END_BYTES, os.SEEK_END)
            digest, kind = hashlib.sha256(content + file.read()).hexdigest(), "sha256_of_size_and_ends"
    return {"path": str(path), "bytes": size, kind: digest}


def _refuse_other_run(path: Path, record: dict[str, Any]) -> dict[str, Any]:
    try:
        other = json.loads(path.read_bytes())
        settings, inputs = other["settings"], other["inputs"]
        command, version = other["command"], other["versions"]["nucleosynth"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a run record of this program; move it or give another -o") from error
    difference = None
    if command != record["command"]:
        difference = f"the command was {command!r}"
    elif settings != record["settings"]:
        names = [name for name in record["settings"] if settings.get(name) != record["settings"][name]]
        difference = ", ".join(f"{name} was {settings.get(name)}, now {record['settings'][name]}" for name in names)
    elif inputs != record["inputs"]:
        difference = "the inputs were others"
    elif version != __version__:
        difference = f"nucleosynth was {version}, now {__version__}"
    if difference is not None:
        raise InputError(f"{path.parent}: holds the output of another run ({difference}); give another -o or delete it")
    return other


def _versions() -> dict[str, str]:
    versions = {"nucleosynth": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
