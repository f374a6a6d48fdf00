"""Importance weights from the discriminator's logits, and what they are worth (paper, section 3, Eq. 2 to 5).

How far they can be trusted, with measurements: docs/importance_weights.md.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .adversarial import check_logits

__all__ = ["clipped_share", "effective_sample_size", "importance_weights", "log_mean_weight"]

# Infinite logits are held here: far beyond any other, yet finite, so that their differences are defined.
_FAR = 1e30
# Logarithm of the largest weight, about 1.7e38, still a float32.
_LOG_LARGEST = 88.0


def importance_weights(
    logits: Tensor,
    ratio: float = 1.0,
    *,
    temperature: float = 1.0,
    clip: tuple[float, float] | None = None,
    normalize: bool = True,
    log_mean: float | None = None,
) -> Tensor:
    r"""Weights p/g of synthetic patches, whose mean loss is then that of real patches (Eq. 5).

    .. math:: w = c \frac{D}{1 - D}, \quad \log w = \log c + \mathrm{logit} / T

    In this order, as logarithms until the end, so that nothing overflows:

    1. *Normalised.* The mean of p/g over synthetic patches is 1, of an estimate only about. So weights are divided by
       their mean: of the batch, or ``log_mean`` from a larger set. This cancels c.
    2. *Clipped*, if asked for: bounds are therefore relative to an average patch.
    3. *Normalised again* to a mean of 1, if it was by the batch and they were clipped; the largest is still at most
       high / low times the least. With ``log_mean`` the bounds hold as they are, and the mean is 1 but for what was
       clipped.

    By its own mean only a large batch should be normalised. In one of eight a weight can be at most 8, and every batch
    counts the same, unrealistic ones too: where batches are small, take ``log_mean``.

    Args:
        logits: shape (B,), of the discriminator for synthetic patches; infinite ones are allowed.
        ratio: c, number of synthetic over number of real patches **as the discriminator's loss counted them**. 1 for
            :class:`~nucleosynth.losses.DiscriminatorLoss`, which counts both alike whatever their numbers.
        temperature: T by which logits are divided, see :func:`~nucleosynth.losses.calibrate_temperature`.
        clip: bounds (low, high) with 0 <= low <= 1 <= high; None does not clip.
        normalize: False leaves out all normalisation, for weights that are right as they are, or known to be.
        log_mean: logarithm of the mean weight over a large set, from :func:`log_mean_weight`; replaces the mean of
            the batch.

    Returns:
        float32, shape (B,), finite and not negative, equal if all logits are. They are constants, without gradient:
        else the task's loss could be lowered by declaring hard examples unreal.

    Raises:
        ValueError: an argument is out of its range, or ``log_mean`` is given though nothing is to be normalised.

    Example:
        >>> importance_weights(torch.tensor([0.0, math.log(3)]))
        tensor([0.5000, 1.5000])
        >>> importance_weights(torch.tensor([0.0, math.log(3)]), normalize=False)
        tensor([1., 3.])
    """
    if clip is not None:
        _check_clip(clip)
    if log_mean is not None and not normalize:
        raise ValueError(f"log_mean must be None if normalize is False, got {log_mean}")
    log_weights = _log_weights(logits, ratio, temperature)
    by_batch = normalize and log_mean is None
    if by_batch:
        # The largest becomes 0 first: beside a huge logit the logarithm of the mean would be rounded away.
        log_weights = log_weights - log_weights.max()
        log_weights = log_weights - _log_mean(log_weights)
    elif log_mean is not None:
        log_weights = log_weights - log_mean
    if clip is None:
        return log_weights.clamp(max=_LOG_LARGEST).exp()
    low, high = clip
    # Clamping logarithms keeps exp from overflowing, clamping their exponentials puts weights exactly on the bounds.
    weights = log_weights.clamp(max=math.log(high) + 1).exp().clamp(low, high)
    return weights / weights.mean() if by_batch else weights


def log_mean_weight(logits: Tensor, ratio: float = 1.0, temperature: float = 1.0) -> float:
    """Logarithm of the mean weight, neither normalised nor clipped, by which small batches are normalised.

    For the exact p/g it tends to 0. If it stays far from 0 over a large set, the discriminator is not calibrated, or
    some of p lies where g has nothing.

    Args:
        logits: shape (N,), of the discriminator for a large set of synthetic patches, best held out of its training.
        ratio: as for :func:`importance_weights`.
        temperature: as for :func:`importance_weights`.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> log_mean_weight(torch.tensor([0.0, math.log(3)]))  # log 2
        0.693...
    """
    return _log_mean(_log_weights(logits, ratio, temperature)).item()


def effective_sample_size(weights: Tensor) -> float:
    """Share of the examples that the weighted ones are worth: (sum w)^2 / (n sum w^2), in [1/n, 1].

    The variance of a weighted mean is about that of a plain mean over so many fewer examples. 1 if, and only if, all
    weights are equal; 1/n if a single one is not 0. If all are 0 it is 0, and for an infinite weight or NaN it is NaN.

    Args:
        weights: shape (n,), not negative, of any scale.

    Raises:
        ValueError: there is no weight, or a negative one.

    Example:
        >>> effective_sample_size(torch.tensor([1.0, 1.0, 0.0, 0.0]))
        0.5
    """
    weights = _check_weights(weights)
    largest = weights.max()
    if largest == 0:
        return 0.0
    # Relative to the largest, squares can neither overflow nor all vanish.
    relative = weights / largest
    return (relative.mean().square() / relative.square().mean()).item()


def clipped_share(weights: Tensor, clip: tuple[float, float]) -> float:
    """Share of the weights outside bounds, in [0, 1]: how much of the distribution clipping changes.

    Args:
        weights: shape (n,), normalised but **not yet clipped**.
        clip: bounds (low, high).

    Raises:
        ValueError: there is no weight, a negative one, or the bounds are not around 1.

    Example:
        >>> clipped_share(torch.tensor([0.1, 1.0, 1.0, 1.9]), clip=(0.2, 5.0))
        0.25
    """
    low, high = _check_clip(clip)
    weights = _check_weights(weights)
    return ((weights < low) | (weights > high)).float().mean().item()


def _log_weights(logits: Tensor, ratio: float, temperature: float) -> Tensor:
    for name, value in (("ratio", ratio), ("temperature", temperature)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}")
    logits = check_logits("logits", logits.detach())
    return (logits / temperature + math.log(ratio)).clamp(-_FAR, _FAR)


def _log_mean(log_weights: Tensor) -> Tensor:
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def _check_clip(clip: tuple[float, float]) -> tuple[float, float]:
    low, high = clip
    if not 0 <= low <= 1 <= high < math.inf:
        raise ValueError(f"clip must be finite bounds around 1, none negative, got {tuple(clip)}")
    return low, high


def _check_weights(weights: Tensor) -> Tensor:
    if weights.ndim != 1 or not len(weights):
        raise ValueError(f"weights must have shape (n,), one for each example, got {tuple(weights.shape)}")
    least = torch.min(weights).item()
    if least < 0:
        raise ValueError(f"weights must not be negative, got {least}")
    return weights.detach().float()
