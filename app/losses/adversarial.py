"""Losses of the adversarial game: realism for the refiner, cross-entropy for the discriminator (paper, section 4.2)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import softplus

__all__ = ["DiscriminatorLoss", "RealismLoss", "check_logits"]


def check_logits(name: str, logits: Tensor) -> Tensor:
    """Logits in float32, of shape (B,) with B > 0.

    A column (B, 1) is refused: together with losses of shape (B,) it would broadcast to (B, B) without a word.
    """
    if logits.ndim != 1 or not len(logits):
        raise ValueError(f"{name} must have shape (B,), one for each patch, got {tuple(logits.shape)}")
    return logits.float()


class RealismLoss(nn.Module):
    r"""How well the discriminator tells that refined patches are not real, for the refiner to lower.

    With D = sigmoid(logit), in [0, 1], the mean over the batch of

    .. math:: -\log D(X, S) \quad \text{or, saturating,} \quad \log(1 - D(X, S))

    Args:
        saturating: log(1 - D), as the paper prints it. Its gradient vanishes while the discriminator wins, which is how
            the training starts. -log D, as the authors' code has it, has the same optimum and a gradient there.

    Example:
        >>> RealismLoss()(torch.tensor([0.0, 0.0])).item()  # log 2: the discriminator cannot tell
        0.693...
    """

    def __init__(self, saturating: bool = False) -> None:
        super().__init__()
        self.saturating = saturating

    def forward(self, logits: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            logits: shape (B,), of refined patches, each with the reference it was refined for.

        Returns:
            float32, a scalar: at least 0, or at most 0 if saturating.
        """
        logits = check_logits("logits", logits)
        # -log sigmoid(x) = softplus(-x) and log(1 - sigmoid(x)) = -softplus(x): no probability is ever rounded to 0.
        return -softplus(logits).mean() if self.saturating else softplus(-logits).mean()


class DiscriminatorLoss(nn.Module):
    r"""Cross-entropy of telling real pairs from synthetic ones.

    .. math:: L_D = -E[\log D(S', S)] - E[\log(1 - D(X, S))] - m \, E[\log(1 - D(S'', S))]

    **It has to be cross-entropy.** At its optimum D is the probability of Eq. 4, so that the logit is log p/g and Eq. 5
    gives the importance weight. At the optimum of a hinge loss the output is a mere sign. Least squares make the output
    the probability itself, not its logit, and nothing keeps it between 0 and 1, so that odds may be negative. If real
    labels are smoothed to 1 - ε, odds are (1 - ε) p / (g + ε p), never above 1/ε. All three can train a refiner; none
    gives weights.

    **The numbers of real and synthetic patches do not matter**, since each expectation is a mean of its own: D is what
    it would be for equal numbers, and c of Eq. 5 is 1. Only a cross-entropy over all patches at once has the paper's
    c = synthetic / real.

    **Mismatched pairs change what D estimates.** A real patch S'' with a reference of another tissue type teaches D to
    look at the reference. With q as the density of such pairs the logit becomes log p / (g + m q), and the weight
    r / (1 + m q/g) instead of r = p/g. That is fine

    - for the refiner, which has to be led towards p and away from q;
    - for weights, as long as q is far below g on synthetic patches: because they are easily told from real ones, or
      because types differ so much that no patch passes for two.

    It is not fine for weights once synthetic patches look real and types look alike. In the limit q = p the weights are
    r / (1 + m r): in the right order, but never above 1/m. Then take m = 0 for the discriminator that weighs.

    Args:
        mismatched: m, weight of mismatched pairs, not negative; 0 is the paper's loss.

    Raises:
        ValueError: ``mismatched`` is negative.

    Example:
        >>> DiscriminatorLoss()(torch.zeros(4), torch.zeros(8)).item()  # 2 log 2: it cannot tell
        1.386...
    """

    def __init__(self, mismatched: float = 0.0) -> None:
        super().__init__()
        if not mismatched >= 0:
            raise ValueError(f"mismatched must not be negative, got {mismatched}")
        self.mismatched = mismatched

    def forward(self, real_logits: Tensor, synthetic_logits: Tensor, mismatched_logits: Tensor | None = None) -> Tensor:
        """Loss of a batch.

        Args:
            real_logits: shape (B,), of real patches with a reference of their own type.
            synthetic_logits: shape (B',), of synthetic patches with the reference they were made for.
            mismatched_logits: shape (B'',), of real patches with a reference of another type; not used if their weight
                is 0.

        Returns:
            float32, a scalar, not negative.

        Raises:
            ValueError: mismatched pairs have a weight, but were not given.
        """
        real = check_logits("real_logits", real_logits)
        synthetic = check_logits("synthetic_logits", synthetic_logits)
        loss = softplus(-real).mean() + softplus(synthetic).mean()
        if self.mismatched == 0:
            return loss
        if mismatched_logits is None:
            raise ValueError(f"mismatched_logits must be given, since mismatched is {self.mismatched}")
        return loss + self.mismatched * softplus(check_logits("mismatched_logits", mismatched_logits)).mean()
