"""Trained networks from files: a bundle's configuration says what they are, plain state dictionaries hold weights."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from ..errors import InputError

__all__ = ["build_network", "load_weights", "read_tensors"]


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
    """Build a network that a bundle's configuration describes.

    A configuration may hold expressions, which are executed: use only bundles that you trust.

    Raises:
        InputError: there is no such file, or no such network in it.
    """
    if not config.exists():
        raise InputError(f"{config}: no such file; is this the folder of a trained bundle?")
    parser = ConfigParser()
    try:
        parser.read_config(str(config))
        known = key in parser
        network = parser.get_parsed_content(key) if known else None
    # What a damaged file makes of a YAML reader and of any constructor that it names cannot be listed.
    except Exception as error:
        raise InputError(f"{config}: cannot be used as a bundle's configuration ({_reason(error)})") from error
    if not known:
        raise InputError(f"{config}: describes no {key}")
    if not isinstance(network, torch.nn.Module):
        raise InputError(f"{config}: its {key} is no network but {type(network).__name__}")
    return network


def _reason(error: BaseException) -> str:
    """What was wrong at the bottom of it, in one line; MONAI wraps errors in errors."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__
