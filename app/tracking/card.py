"""The card of a registered model: what it is, what it learnt from, what it may be used for, and how good it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.images import IMAGE_SUFFIXES
from ..errors import InputError
from .run import record_tags

__all__ = ["read_training", "shorten_card", "write_card"]

_LIBRARIES = ("nucleosynth", "monai", "torch")
_LONGEST = 5000
_CUT = "\n\n(The whole card is model_card.md of the source run.)\n"
_UNKNOWN = "not recorded with the bundle"


def read_training(bundle: Path) -> dict[str, Any] | None:
    """The record of the training that left a bundle: beside it, or, where it was shipped, inside it.

    Args:
        bundle: its folder.

    Returns:
        As of :func:`nucleosynth.record.run_record`, of the last round, with no inputs but tiles; None if there is none.

    Raises:
        InputError: there is one, and it is damaged.
    """
    for path in (bundle.parent / "run.json", bundle / "models" / "model.json"):
        if not path.is_file():
            continue
        try:
            content = json.loads(path.read_bytes())
            record = content[0] if isinstance(content, list) else content
            if record["command"] == "train":
                # The weights of a teacher are an input as well.
                tiles = [each for each in record["inputs"] if Path(each["path"]).suffix.lower() in IMAGE_SUFFIXES]
                return {"settings": {}, "versions": {}, **record, "inputs": tiles}
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError(f"{path}: damaged, or not the record of a training; mend it or move it") from error
    return None


def write_card(
    bundle: Path, model_sha256: str, mpp: float, figures: Mapping[str, float], evaluated: Mapping[str, str]
) -> str:
    """Write the card of a model, as Markdown.

    Args:
        bundle: its folder.
        model_sha256: digest of its weights.
        mpp: scale of its images, µm per pixel.
        figures: means of the scores over the evaluation set; empty if there was none.
        evaluated: what to say of that set, by its title.
    """
    about = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    training = read_training(bundle)
    shipped = (bundle / "models" / "model.json").is_file()
    licence = "Apache-2.0" if shipped else "bundle: Apache-2.0; weights: as their owner and the tiles' licence allow"
    rows = {
        "what": f"{about['task']}; images at {mpp:g} µm/px",
        "intended use": about["intended_use"],
        "licence": licence,
        "weights, SHA-256": model_sha256,
        **_trained(training),
    }
    text = [f"# {about['name']}", "", about["description"], "", *_table(rows)]
    if figures:
        means = {name: f"{value:.4f}" for name, value in figures.items()}
        text += ["", "## How good it is", "", *_table({**evaluated, **means})]
    if shipped:
        source = (bundle / "docs" / "data_license.txt").read_text(encoding="utf-8")
        text += ["", "## Where its data come from", "", "```", source.strip(), "```"]
    return "\n".join(text) + "\n"


def shorten_card(card: str) -> str:
    """A card as a description of a version, for which MLflow's databases have no more than 5000 characters."""
    return card if len(card) <= _LONGEST else card[: _LONGEST - len(_CUT)] + _CUT


def _trained(record: Mapping[str, Any] | None) -> dict[str, str]:
    if record is None:
        return {"training": _UNKNOWN, "training tiles, SHA-256": _UNKNOWN}
    settings = record["settings"]
    overlays = "".join(f" --overlay {Path(name).name}" for name in settings.get("overlays", ()))
    how = f"`nucleosynth train --preset {settings.get('preset')}{overlays} --seed {settings.get('seed')}`"
    return {
        "training": how,
        "training tiles": str(len(record["inputs"])),
        "training tiles, SHA-256": record_tags(record)["data.sha256"],
        "trained with": ", ".join(f"{name} {record['versions'].get(name)}" for name in _LIBRARIES),
    }


def _table(rows: Mapping[str, str]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
