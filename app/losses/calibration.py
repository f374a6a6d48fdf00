"""Temperature of the discriminator's logits, so that they are log p/g and not a multiple of it (for Eq. 5)."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar
from torch import Tensor

from .adversarial import check_logits

__all__ = ["calibrate_temperature"]


def calibrate_temperature(
    real_logits: Tensor, synthetic_logits: Tensor, ratio: float = 1.0, bounds: tuple[float, float] = (0.05, 20.0)
) -> float:
    r"""Temperature T that makes logit / T the most likely log-ratio of held-out patches (Guo et al. 2017).

    A discriminator that has seen few real patches remembers them, and is too sure of itself: its logits are too far
    from 0, weights too uneven. T > 1 corrects it, T < 1 one that is not sure enough. One number repairs the scale, and
    nothing else: if logits are wrong in their order, so are the weights.

    T minimises the cross-entropy, in which real and synthetic patches count alike whatever their numbers,

    .. math:: E_p[\log(1 + e^{-z})] + E_g[\log(1 + e^{z})], \quad z = \log c + \mathrm{logit} / T

    It is convex in 1/T, so there is a single minimum. At a bound:

    - the upper one if logits say nothing, or the opposite of the truth: weights become nearly equal;
    - the lower one if logits separate real and synthetic patches perfectly (for c = 1): the data would allow any
      sharpness. Weights then mean nothing, because p and g hardly overlap, or the held-out set is too small to show it.
      ``bounds=(1, 20)`` only ever softens.

    If every logit is 0 all temperatures are the same, and T is 1.

    Args:
        real_logits: shape (N,), of real pairs, finite.
        synthetic_logits: shape (M,), of synthetic pairs, finite.
        ratio: c, as for :func:`~nucleosynth.losses.importance_weights`.
        bounds: least and greatest temperature.

    Raises:
        ValueError: there are no logits, some are not finite, or an argument is out of its range.

    Example:
        >>> real, synthetic = torch.tensor([6.0, 6.0, 6.0, -6.0]), torch.tensor([-6.0, -6.0, -6.0, 6.0])
        >>> round(calibrate_temperature(real, synthetic), 2)  # 3 of 4 are right: the logit is log 3
        5.46
    """
    if not 0 < ratio < math.inf:
        raise ValueError(f"ratio must be positive and finite, got {ratio}")
    low, high = bounds
    if not 0 < low < high < math.inf:
        raise ValueError(f"bounds must be two positive numbers, the smaller first, got {tuple(bounds)}")
    real, synthetic = _array("real_logits", real_logits), _array("synthetic_logits", synthetic_logits)
    if not real.any() and not synthetic.any():
        return 1.0
    offset = math.log(ratio)

    def cross_entropy(log_temperature: float) -> float:
        scale = math.exp(-log_temperature)
        return float(
            np.logaddexp(0, -offset - real * scale).mean() + np.logaddexp(0, offset + synthetic * scale).mean()
        )

    ends = math.log(low), math.log(high)
    inside = minimize_scalar(cross_entropy, bounds=ends, method="bounded", options={"xatol": 1e-6}).x
    # The search never tries the bounds themselves.
    best = min((ends[0], float(inside), ends[1]), key=cross_entropy)
    return low if best == ends[0] else high if best == ends[1] else math.exp(best)


def _array(name: str, logits: Tensor) -> np.ndarray:
    values = check_logits(name, logits.detach()).double().cpu().numpy()
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got {values[~np.isfinite(values)][0]}")
    return values
