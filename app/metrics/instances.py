"""Scores of an instance segmentation against another: Dice, ensemble Dice, AJI, PQ and AUROC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from monai.metrics import compute_roc_auc

__all__ = ["InstanceScores", "nuclei_auroc", "score_instances"]

_MATCH = 0.5  # IoU above which the matching is unique, so that no assignment has to be solved.


@dataclass(frozen=True)
class InstanceScores:
    """Scores of one image, each 0 to 1, 1 the best.

    Attributes:
        dice: 2|S ∩ T| / (|S| + |T|) of nuclear pixels.
        dice2: ensemble Dice of the MICCAI challenges: the same over all intersecting pairs of nuclei.
        avg: mean of both, the figure of the paper ("DICE Avg.").
        aji: aggregated Jaccard index (Kumar et al., TMI 2017).
        pq: panoptic quality (Kirillov et al., CVPR 2019), the product of the next two.
        dq: detection quality, the F1 score of nuclei matched at IoU > 0.5.
        sq: segmentation quality, the mean IoU of the matched ones.
    """

    dice: float
    dice2: float
    avg: float
    aji: float
    pq: float
    dq: float
    sq: float


@dataclass(frozen=True)
class _Overlaps:
    """Pairs of a true and a predicted nucleus that share pixels, and the areas of all nuclei, in pixels."""

    true_id: np.ndarray
    predicted_id: np.ndarray
    shared: np.ndarray
    true_area: np.ndarray
    predicted_area: np.ndarray

    @property
    def areas(self) -> np.ndarray:
        """Sum of the areas of both nuclei of each pair."""
        return self.true_area[self.true_id] + self.predicted_area[self.predicted_id]

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of each pair."""
        return self.shared / (self.areas - self.shared)


def score_instances(truth: np.ndarray, prediction: np.ndarray) -> InstanceScores:
    """Score a predicted label image.

    Where neither holds a nucleus every score is 1, where only one does every score is 0.

    Args:
        truth: integers, shape (H, W), instance ids, 0 background.
        prediction: likewise, of the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    if truth.shape != prediction.shape or truth.ndim != 2:
        raise ValueError(f"labels must have one shape (H, W), got {truth.shape} and {prediction.shape}")
    overlaps = _overlaps(truth, prediction)
    nuclei = np.count_nonzero(overlaps.true_area), np.count_nonzero(overlaps.predicted_area)
    if not any(nuclei):
        return InstanceScores(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    if not all(nuclei):
        return InstanceScores(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    foreground = overlaps.true_area.sum() + overlaps.predicted_area.sum()
    dice = float(2 * overlaps.shared.sum() / foreground)
    dice2 = float(2 * overlaps.shared.sum() / overlaps.areas.sum()) if len(overlaps.shared) else 0.0
    matched = overlaps.iou[overlaps.iou > _MATCH]
    dq = float(2 * len(matched) / sum(nuclei))
    sq = float(matched.mean()) if len(matched) else 0.0
    return InstanceScores(dice, dice2, (dice + dice2) / 2, _aggregated_jaccard(overlaps), dq * sq, dq, sq)


def nuclei_auroc(truth: np.ndarray, prediction: np.ndarray, probability: np.ndarray) -> float | None:
    """How well the probabilities of predicted nuclei tell those that are there from those that are not.

    Args:
        truth: integers, shape (H, W), instance ids, 0 background.
        prediction: likewise, of the same shape, with ids from 1 to N.
        probability: float, shape (N,), of the nucleus of each id.

    Returns:
        Area under the ROC curve, 0 to 1, 1 the best, 0.5 without any relation; a nucleus is there if a true one has
        an IoU above 0.5 with it. None where all of them are, or none.

    Raises:
        ValueError: the shapes differ.
    """
    if truth.shape != prediction.shape or truth.ndim != 2:
        raise ValueError(f"labels must have one shape (H, W), got {truth.shape} and {prediction.shape}")
    overlaps = _overlaps(truth, prediction)
    shown = np.flatnonzero(overlaps.predicted_area)
    there = np.isin(shown, overlaps.predicted_id[overlaps.iou > _MATCH])
    if there.all() or not there.any():
        return None
    return float(compute_roc_auc(torch.from_numpy(probability[shown - 1]), torch.from_numpy(there.astype(np.int64))))


def _overlaps(truth: np.ndarray, prediction: np.ndarray) -> _Overlaps:
    true_area, predicted_area = np.bincount(truth.ravel()), np.bincount(prediction.ravel())
    true_area[0] = predicted_area[0] = 0
    both = (truth > 0) & (prediction > 0)
    pair, shared = np.unique(truth[both].astype(np.int64) * len(predicted_area) + prediction[both], return_counts=True)
    true_id, predicted_id = np.divmod(pair, len(predicted_area))
    return _Overlaps(true_id, predicted_id, shared, true_area, predicted_area)


def _aggregated_jaccard(overlaps: _Overlaps) -> float:
    """Each true nucleus takes the predicted one of the highest IoU; what nobody took adds to the union."""
    if not len(overlaps.shared):
        return 0.0
    iou = overlaps.iou
    # Best pair first within each true nucleus; of equals the one with the smaller id.
    order = np.lexsort((overlaps.predicted_id, -iou, overlaps.true_id))
    first = np.unique(overlaps.true_id[order], return_index=True)[1]
    best = order[first]
    union = int((overlaps.areas - overlaps.shared)[best].sum())
    missed, unused = overlaps.true_area.copy(), overlaps.predicted_area.copy()
    missed[overlaps.true_id[best]] = 0
    unused[overlaps.predicted_id[best]] = 0
    return float(overlaps.shared[best].sum() / (union + missed.sum() + unused.sum()))
