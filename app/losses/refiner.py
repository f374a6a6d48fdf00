"""The refiner's loss: regularised, realistic and hard examples (paper, section 4.2, Eq. 6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .adversarial import RealismLoss
from .elastic_net import ElasticNetLoss

__all__ = ["RefinerLoss"]


class RefinerLoss(nn.Module):
    r"""Loss of the refiner G (Eq. 6).

    .. math:: L_G = \alpha L_{reg} + \beta L_{real} + \gamma L_{hard}, \quad L_{hard} = -L_R

    The defaults are the paper's setting (α = β = 1, γ = 1e-7, λ1 = 1e-5, λ2 = 1e-4) turned from sums into means for its
    patches of 200 px: γ times their 40 000 pixels, λ1 and λ2 times their 120 000 values. As means they hold for patches
    of any size. If γ is raised, the refiner may make an example hard by moving nuclei away from their mask, against
    which only L_reg stands. (The paper also speaks of a factor of 0.0001 for γ, which as a mean would be 4, more than
    all else.)

    Args:
        regularization: α, weight of the elastic net.
        realism: β, weight of the realism.
        hard: γ, weight of the task network's loss, as a mean over pixels, which the refiner raises; 0 needs no task
            network.
        l1: λ1 for the mean absolute difference, see :class:`~nucleosynth.losses.ElasticNetLoss`.
        l2: λ2 for the mean squared difference.
        saturating: form of the realism, see :class:`~nucleosynth.losses.RealismLoss`.

    Raises:
        ValueError: a weight is negative.

    Example:
        >>> initial, refined = torch.zeros(2, 3, 8, 8), torch.full((2, 3, 8, 8), 0.1, requires_grad=True)
        >>> losses = RefinerLoss(hard=0)(refined, initial, logits=refined.mean((1, 2, 3)))
        >>> losses["loss"].backward()
        >>> sorted(losses)
        ['hard', 'loss', 'realism', 'regularization']
    """

    def __init__(
        self,
        regularization: float = 1.0,
        realism: float = 1.0,
        hard: float = 0.004,
        l1: float = 1.2,
        l2: float = 12.0,
        saturating: bool = False,
    ) -> None:
        super().__init__()
        for name, value in (("regularization", regularization), ("realism", realism), ("hard", hard)):
            if not value >= 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        self.regularization, self.realism, self.hard = regularization, realism, hard
        self.elastic_net = ElasticNetLoss(l1, l2)
        self.realism_loss = RealismLoss(saturating)

    def forward(
        self, refined: Tensor, initial: Tensor, logits: Tensor, task_loss: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Loss of a batch and its parts.

        Args:
            refined: X, float, shape (B, 3, H, W), values in [-1, 1].
            initial: I, like ``refined``.
            logits: shape (B,), of the discriminator for ``refined``.
            task_loss: L_R, a scalar, of the task network for ``refined``; not used if its weight is 0.

        Returns:
            float32 scalars: ``loss``, to be minimised, and for the record, without gradient and not yet multiplied by
            their weights, ``regularization``, ``realism`` and ``hard`` (0 if not used).

        Raises:
            ValueError: hard examples have a weight, but there is no task loss.
        """
        regularization = self.elastic_net(refined, initial)
        realism = self.realism_loss(logits)
        loss = self.regularization * regularization + self.realism * realism
        hard = torch.zeros_like(loss)
        if self.hard > 0:
            if task_loss is None:
                raise ValueError(f"task_loss must be given, since hard is {self.hard}")
            hard = -task_loss.float()
            loss = loss + self.hard * hard
        return {
            "loss": loss,
            "regularization": regularization.detach(),
            "realism": realism.detach(),
            "hard": hard.detach(),
        }
