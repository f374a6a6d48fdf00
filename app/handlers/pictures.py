"""Pictures of weighted patches: a grid as in the paper's Fig. 7, and the distribution of the weights."""

from __future__ import annotations

import io
from collections.abc import Mapping

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure

from ..data.keys import PatchKeys as Keys
from ..data.preview import draw_outlines
from .held_out import Assessment

__all__ = ["weight_grid", "weight_histogram"]

_CELL, _GAP, _CAPTION, _COLUMNS = 160, 10, 20, 12
_ROWS = ("initial", "refined", "mask", "reference")


def weight_grid(
    examples: Mapping[str, torch.Tensor], refined: torch.Tensor, weights: np.ndarray | None, columns: int = _COLUMNS
) -> bytes:
    """Patches from the heaviest weight to the lightest, evenly spread over all ranks.

    Args:
        examples: uint8 tensors of shape (N, ...) with images, targets and references.
        refined: uint8, shape (N, 3, P, P).
        weights: shape (N,); None leaves the patches in their order.
        columns: number of patches shown.

    Returns:
        A PNG file.
    """
    order = np.arange(len(refined)) if weights is None else np.argsort(-weights, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(columns, len(order))).round().astype(int))]
    height, width = _CAPTION + len(_ROWS) * (_CELL + _GAP), 80 + len(chosen) * (_CELL + _GAP)
    sheet = np.full((height, width, 3), 255, np.uint8)
    for row, title in enumerate(_ROWS):
        _write(sheet, title, 4, _CAPTION + row * (_CELL + _GAP) + _CELL // 2)
    for column, number in enumerate(chosen):
        x = 80 + column * (_CELL + _GAP)
        _write(sheet, f"patch {number}" if weights is None else f"w = {weights[number]:.2f}", x, _CAPTION - 6)
        after = _picture(refined[number])
        mask = examples[Keys.TARGET][number, 1].numpy()
        pictures = (
            _picture(examples[Keys.IMAGE][number]),
            after,
            draw_outlines(after, mask),
            _picture(examples[Keys.REFERENCE][number]),
        )
        for row, picture in enumerate(pictures):
            y = _CAPTION + row * (_CELL + _GAP)
            sheet[y : y + _CELL, x : x + _CELL] = cv2.resize(picture, (_CELL, _CELL), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes()


def weight_histogram(weights: np.ndarray, found: Assessment) -> bytes:
    """Distribution of the weights of held-out patches, and of the logits that they come from, as a PNG file."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.hist(weights, bins=30, color="tab:purple")
    left.set_xlabel("importance weight")
    left.set_ylabel("patches")
    logits = {"real": found.real_logits, "refined": found.synthetic_logits, "initial": found.initial_logits}
    every = torch.cat(list(logits.values()))
    bins = np.linspace(float(every.min()), float(every.max()), 40)
    for (name, values), colour in zip(logits.items(), ("black", "tab:purple", "tab:orange"), strict=True):
        right.hist(values.numpy(), bins=bins, histtype="step", lw=1.8, label=name, color=colour)
    right.set_xlabel("logit of the discriminator")
    right.legend(frameon=False)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()


def _picture(image: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def _write(sheet: np.ndarray, text: str, x: int, y: int) -> None:
    cv2.putText(sheet, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (60, 60, 60), 1, cv2.LINE_AA)
