"""The regularisation loss, which keeps a refined patch close to the initial one (paper, section 4.2)."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["ElasticNetLoss"]


class ElasticNetLoss(nn.Module):
    r"""Elastic net of the difference between initial and refined patches, as a mean over its values.

    .. math:: L_{reg} = \lambda_1 \, \mathrm{mean} |I - X| + \lambda_2 \, \mathrm{mean} (I - X)^2

    The paper prints E[λ1 ||I - X||_1 + λ2 ||I - X||_2] with λ1 = 1e-5 and λ2 = 1e-4, and differs in two ways:

    - Its norms are sums, so the same setting is 16 times as strong for patches of 4 times the side. With means it holds
      for every size. To convert, multiply by the number of values of a patch, 3 H W: for 200 px, 120 000, the paper's
      setting is ``l1=1.2, l2=12``.
    - It prints the 2-norm. Here it is squared, as in the elastic net that the paper cites (Zou and Hastie 2005). The
      norm itself is no sum over pixels, so no constant would make it independent of the size, and at I = X, where
      the refiner starts, it has no gradient; the square has gradient 0 there.

    Args:
        l1: weight of the mean absolute difference, not negative.
        l2: weight of the mean squared difference, not negative.

    Raises:
        ValueError: a weight is negative.

    Example:
        >>> ElasticNetLoss(l1=1, l2=8)(torch.full((1, 3, 8, 8), 0.5), torch.zeros(1, 3, 8, 8)).item()
        2.5
    """

    def __init__(self, l1: float, l2: float) -> None:
        super().__init__()
        for name, value in (("l1", l1), ("l2", l2)):
            if not value >= 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        self.l1, self.l2 = l1, l2

    def forward(self, refined: Tensor, initial: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            refined: X, float, shape (B, 3, H, W), values in [-1, 1].
            initial: I, like ``refined``.

        Returns:
            float32, a scalar, not negative.

        Raises:
            ValueError: the shapes differ.
        """
        if refined.shape != initial.shape:
            raise ValueError(
                f"refined and initial must have one shape, got {tuple(refined.shape)} and {tuple(initial.shape)}"
            )
        difference = refined.float() - initial.float()
        return self.l1 * difference.abs().mean() + self.l2 * difference.square().mean()
