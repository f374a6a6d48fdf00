"""Trained networks as files: plain state dictionaries, and the bundles that they belong to."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from nucleosynth.bundles import bundle_path

from ..atomic import replace_atomically, write_atomically
from ..data.refinement import CALIBRATION
from .distributed import rank
from .keys import Networks
from .trainer import SynthesisTrainer

__all__ = ["export_bundle", "save_models"]

# What the shipped bundle says of its weights is not true of others.
_LICENSE = """The weights in models/ were trained by whoever made this bundle, on tiles that run.json beside it lists.
Their licence depends on that of these tiles. The rest of the bundle is licensed under Apache-2.0: see LICENSE.
"""
_OTHER_WEIGHTS = "> The weights in this bundle are not those of which this page tells: its maker trained them.\n\n"


def save_models(trainer: SynthesisTrainer, folder: Path | str, main: str = Networks.TASK) -> list[Path]:
    """Write the trained networks as state dictionaries, and the calibration of the weights as JSON.

    Args:
        trainer: when it is done; of several processes only the first writes.
        folder: the ``models`` folder of a bundle.
        main: the network that is ``network_def`` in the bundle; it becomes ``model.pt``.

    Returns:
        The files: ``model.pt``, for the other networks ``refiner.pt``, ``discriminator.pt`` or ``task.pt``, and
        ``calibration.json`` if there are weights.
    """
    folder = Path(folder)
    written: list[Path] = []
    if rank() != 0:
        return written
    for name, learner in trainer.learners.items():
        # A plain dictionary, contiguous and on the CPU, whatever the training's layout and device were.
        state = {key: value.detach().cpu().contiguous() for key, value in learner.trained.state_dict().items()}
        path = folder / ("model.pt" if name == main else f"{name}.pt")
        with replace_atomically(path) as partial:
            torch.save(state, partial)
        written.append(path)
    if trainer.weighting is not None and trainer.weighting.calibration is not None:
        path = folder / CALIBRATION
        content = {**trainer.weighting.state_dict(), "clip": list(trainer.weighting.clip)}
        write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
        written.append(path)
    return written


def export_bundle(name: str, destination: Path, definitions: Mapping[str, Any], models: Mapping[str, Path]) -> Path:
    """Make a bundle of trained networks: a copy of the shipped one, with the networks that were trained.

    Args:
        name: of the shipped bundle.
        destination: folder of the new one; replaced as a whole if it is there.
        definitions: configurations such as ``network_def``, which replace those in all of the bundle's YAML files.
        models: weights by the name that they get in ``models/``.

    Returns:
        ``destination``.
    """
    partial = destination.with_name(f".{destination.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(bundle_path(name), partial, ignore=shutil.ignore_patterns("models", "__pycache__"))
    for path in sorted((partial / "configs").glob("*.yaml")):
        path.write_text(_with_definitions(path.read_text(encoding="utf-8"), definitions), encoding="utf-8")
    (partial / "docs" / "data_license.txt").write_text(_LICENSE, encoding="utf-8")
    page = partial / "docs" / "README.md"
    page.write_text(_OTHER_WEIGHTS + page.read_text(encoding="utf-8"), encoding="utf-8")
    (partial / "models").mkdir()
    for target, source in models.items():
        shutil.copyfile(source, partial / "models" / target)
    shutil.rmtree(destination, ignore_errors=True)
    os.replace(partial, destination)
    return destination


def _with_definitions(text: str, definitions: Mapping[str, Any]) -> str:
    """Replace top-level entries of a YAML file, leaving the rest, comments included, as it is."""
    blocks: list[list[str]] = [[]]
    for line in text.splitlines(keepends=True):
        if line[0] not in " \n#" and ":" in line:
            blocks.append([])
        blocks[-1].append(line)
    for block in blocks[1:]:
        key = block[0].partition(":")[0]
        if key in definitions:
            # Blank lines and comments at the end belong to the next entry.
            rest = len(block)
            while rest > 1 and (block[rest - 1].isspace() or block[rest - 1].startswith("#")):
                rest -= 1
            block[:rest] = [yaml.safe_dump({key: definitions[key]}, sort_keys=False)]
    return "".join(line for block in blocks for line in block)
