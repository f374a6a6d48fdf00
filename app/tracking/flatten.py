"""Configurations as MLflow's parameters: flat, short, and with nothing lost unnoticed."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH, MAX_PARAM_VAL_LENGTH

__all__ = ["flatten_config", "valid_key"]

# MLflow takes a colon as well, but not on Windows.
_FORBIDDEN = re.compile(r"[^/\w.\- ]")


def flatten_config(config: Mapping[str, Any], source: str) -> dict[str, str]:
    """Turn a nested configuration into parameters of a run.

    Args:
        config: nested mappings and lists of plain values; expressions such as ``"$@epochs * 2"`` stay text.
        source: the file that holds all of it, such as ``"config/train.yaml"``; a value that is too long for MLflow
            refers to it.

    Returns:
        Names such as ``train.optimizer.0.lr`` with their values as text: strings as they are, all else as in JSON.
        A name that is too long, or the same as another once the characters that MLflow refuses are replaced by
        underscores, ends with three dots and a digest of the whole name.
    """
    params: dict[str, str] = {}
    for path, value in _leaves(config, ()):
        name = ".".join(path)
        key = valid_key(name)
        if key in params:
            key = _with_digest(key, name + "\0" + json.dumps(path))
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        if len(text) > MAX_PARAM_VAL_LENGTH:
            text = f"({len(text)} characters, too long for a parameter: see {source})"
        params[key] = text
    return params


def valid_key(name: str) -> str:
    """A name that MLflow accepts for a parameter or a metric; one that it accepts already stays the same."""
    key = _FORBIDDEN.sub("_", name)
    # MLflow's file names come of these names, so they must not lead out of a folder.
    if posixpath.normpath(key) != key or key.startswith(("/", "..")) or key == ".":
        key = "_" + key.replace("/", "_").lstrip(".")
    return key if len(key) <= MAX_ENTITY_KEY_LENGTH else _with_digest(key, name)


def _with_digest(key: str, name: str) -> str:
    ending = "..." + hashlib.sha256(name.encode()).hexdigest()[:8]
    return key[: MAX_ENTITY_KEY_LENGTH - len(ending)] + ending


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Values that hold no others, an empty mapping or list among them."""
    children: list[tuple[Any, Any]] = []
    if isinstance(value, Mapping):
        children = list(value.items())
    elif isinstance(value, (list, tuple)):
        children = list(enumerate(value))
    if children:
        for key, child in children:
            yield from _leaves(child, (*path, str(key)))
    elif path:
        yield path, value
