"""The task network's loss: for each example (f of Eq. 1), and weighted over a batch (Eq. 2)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ..networks import SEGMENTATION

__all__ = ["SegmentationLoss", "weighted_mean"]


class SegmentationLoss(nn.Module):
    r"""Cross-entropy of the detection and the segmentation map, and soft Dice of the segmentation, for each example.

    With v as the weight of a pixel, p = sigmoid(logit) and the target t in [0, 1],

    .. math:: f = \frac{\sum v \, \mathrm{BCE}(p, t)}{\sum v}
              + \mathrm{dice} \left(1 - \frac{2 \sum v p t + 1}{\sum v p^2 + \sum v t^2 + 1}\right)

    The cross-entropy is a mean over both channels, Dice is of the segmentation only. Squares in its denominator put its
    minimum, 0, at p = t for soft targets too; without them a soft target would have to be overshot. The 1 is a pixel,
    and keeps the term defined for an example without any nucleus.

    Args:
        dice: weight of the Dice term, not negative.
        border: width in pixels of the frame in which a pixel counts less, since the network sees only a part of what
            lies around it (the authors' code: 50).
        border_weight: weight of a pixel of the frame, in [0, 1]; all others have 1.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> SegmentationLoss(border=8)(torch.zeros(4, 2, 64, 64), torch.zeros(4, 2, 64, 64)).shape
        torch.Size([4])
    """

    def __init__(self, dice: float = 1.0, border: int = 0, border_weight: float = 0.01) -> None:
        super().__init__()
        for name, value in (("dice", dice), ("border", border)):
            if not value >= 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if not 0 <= border_weight <= 1:
            raise ValueError(f"border_weight must lie in [0, 1], got {border_weight}")
        self.dice, self.border, self.border_weight = dice, border, border_weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of every example.

        Args:
            logits: shape (B, 2, H, W): channel 0 detection, channel 1 class-level segmentation.
            target: float, shape (B, 2, H, W), values in [0, 1], like the logits.

        Returns:
            float32, shape (B,), not negative.

        Raises:
            ValueError: the shapes are wrong, or the border leaves no pixel inside.
        """
        if logits.ndim != 4 or logits.shape[1] != 2:
            raise ValueError(f"logits must have shape (B, 2, H, W), got {tuple(logits.shape)}")
        if target.shape != logits.shape:
            raise ValueError(f"target must have the logits' shape {tuple(logits.shape)}, got {tuple(target.shape)}")
        logits, target = logits.float(), target.float()
        weight = self._pixel_weights(logits)
        entropy = binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1)
        entropy = (entropy * weight).sum((1, 2)) / weight.sum()
        p, t = logits[:, SEGMENTATION].sigmoid(), target[:, SEGMENTATION]
        overlap = 2 * (weight * p * t).sum((1, 2)) + 1
        total = (weight * (p.square() + t.square())).sum((1, 2)) + 1
        return entropy + self.dice * (1 - overlap / total)

    def _pixel_weights(self, logits: Tensor) -> Tensor:
        height, width = logits.shape[2:]
        if 2 * self.border >= min(height, width):
            raise ValueError(f"border must leave pixels inside patches of {width}x{height} px, got {self.border}")
        weight = logits.new_full((height, width), self.border_weight)
        weight[self.border : height - self.border, self.border : width - self.border] = 1
        return weight


def weighted_mean(losses: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean of the examples' losses, each times its importance weight (Eq. 2).

    It is divided by the number of examples, not by the sum of the weights: if the weights' mean is 1 over the whole
    distribution (see :func:`~nucleosynth.losses.importance_weights`), every batch is unbiased, however small.

    Args:
        losses: shape (B,).
        weights: shape (B,), constants; None weighs all the same.

    Returns:
        float32, a scalar.

    Raises:
        ValueError: the shapes differ, or there is no example.

    Example:
        >>> weighted_mean(torch.tensor([1.0, 3.0]), torch.tensor([0.5, 1.5])).item()
        2.5
    """
    if losses.ndim != 1 or not len(losses):
        raise ValueError(f"losses must have shape (B,), one for each example, got {tuple(losses.shape)}")
    if weights is None:
        return losses.float().mean()
    if weights.shape != losses.shape:
        raise ValueError(f"weights must have the losses' shape {tuple(losses.shape)}, got {tuple(weights.shape)}")
    return (weights.float() * losses.float()).mean()
