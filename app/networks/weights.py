"""Trained networks from files: a bundle's configuration says what they are, plain state dictionaries hold weights."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from ..errors import InputError

__all__ = ["build_network", "build_part", "load_weights", "read_tensors"]


def read_tensors(path: Path) -> dict[str, Any]:
    """Read a file of tensors and plain values, such as a checkpoint, without executing what it may hold.

    Raises:
        InputError: the file is missing, damaged, or holds more than tensors and plain values.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise InputError(f"{path}: damaged, or not a file of plain tensors; it was not loaded") from error


def load_weights(network: torch.nn.Module, path: Path | str) -> torch.nn.Module:
    """Load a state dictionary into a network, and set it up for inference.

    Raises:
        InputError: the file is missing, damaged, not a plain state dictionary, or of another network.
    """
    state = read_tensors(Path(path))
    try:
        network.load_state_dict(state)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: weights of another network than the configuration describes") from error
    return network.eval()


def build_network(config: Path, key: str) -> torch.nn.Module:
    """Build a network that a bundle's configuration describes; see :func:`build_part`."""
    network = build_part(config, key)
    if not isinstance(network, torch.nn.Module):
        raise InputError(f"{config}: its {key} is no network but {type(network).__name__}")
    return network


def build_part(config: Path, key: str, changes: Mapping[str, Any] | None = None) -> Any:
    """Make what a bundle's configuration describes.

    A configuration may hold expressions, which are executed: use only bundles that you trust.

    Args:
        config: YAML or JSON file.
        key: of the part, such as ``network_def``.
        changes: other entries than in the file, by key.

    Raises:
        InputError: there is no such file, no such part in it, or it cannot be made.
    """
    if not config.exists():
        raise InputError(f"{config}: no such file; is this the folder of a trained bundle?")
    parser = ConfigParser()
    try:
        parser.read_config(str(config))
        parser.update(dict(changes or {}))
        known = key in parser
        part = parser.get_parsed_content(key) if known else None
    # What a damaged file makes of a YAML reader and of any constructor that it names cannot be listed.
    except Exception as error:
        cause = _root(error)
        if isinstance(cause, InputError):
            raise cause from error
        raise InputError(f"{config}: cannot be used as a bundle's configuration ({_in_a_line(cause)})") from error
    if not known:
        raise InputError(f"{config}: describes no {key}")
    return part


def _root(error: BaseException) -> BaseException:
    """What was wrong at the bottom of it; MONAI wraps errors in errors."""
    while error.__cause__ is not None and not isinstance(error, InputError):
        error = error.__cause__
    return error


def _in_a_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
