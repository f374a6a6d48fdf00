"""Refiners: make an initial synthetic patch look like tissue of the reference's type (paper, section 4.2, Fig. 5)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import ResidualBlock, check_images, convolution, initialise
from .reference import ReferenceEncoder, concatenate, reference_or_self

__all__ = ["Refiner", "ResidualRefiner", "bounded_change", "clamp_to_range"]

# Share of the usual start of the weights that the last convolution begins with. Not 0, for then no layer before it
# would get a gradient in the first step.
_LAST_GAIN = 0.01


class _Clamp(torch.autograd.Function):
    """See `clamp_to_range`."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return values.clamp(-1.0, 1.0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        # A step of descent goes against the gradient.
        outward = ((values > 1) & (grad < 0)) | ((values < -1) & (grad > 0))
        return grad.masked_fill(outward, 0.0)


def clamp_to_range(values: Tensor) -> Tensor:
    """Clamp to [-1, 1] so that values beyond can be called back.

    The gradient of an ordinary clamp is 0 outside the range. Much of a patch is glass or pale stroma, near +1: once
    the refiner brightens it, nothing could tell it to darken it again, neither the discriminator nor the elastic net.
    Here the gradient that leads back into the range passes, and only the one that leads further out, which the output
    cannot follow, is stopped. (A scripted network has the ordinary gradient: it is there to be run, not trained.)

    Args:
        values: any shape.

    Example:
        >>> values = torch.tensor([1.5, 1.5], requires_grad=True)
        >>> clamp_to_range(values).backward(torch.tensor([2.0, -2.0]))
        >>> values.grad
        tensor([2., 0.])
    """
    if torch.jit.is_scripting():
        return values.clamp(-1.0, 1.0)
    return _Clamp.apply(values)


def bounded_change(image: Tensor, delta: Tensor, max_change: float) -> Tensor:
    """Change an image by at most so much: image + max_change x tanh(delta), clamped to [-1, 1].

    The synthetic mask is the label of the refined patch, so a nucleus must neither vanish nor appear. The elastic net
    only discourages that; the bound forbids large changes whatever the weights of the losses are.

    Args:
        image: shape (B, 3, H, W), values in [-1, 1].
        delta: same shape, any values.
        max_change: largest change of a value, in units of the range [-1, 1].
    """
    # tanh at the precision of the image: under autocast its argument comes in bfloat16.
    return clamp_to_range(image + max_change * torch.tanh(delta.to(image.dtype)))


class Refiner(nn.Module):
    """The paper's refiner: 21 convolutions and 2 poolings, at full resolution (Fig. 5, section 5).

    | part | convolutions | poolings |
    |---|---|---|
    | features of the initial patch | 2 | |
    | reference branch, see `ReferenceEncoder`: pooled to a vector, tiled, concatenated with these features | 4 | 2 |
    | 1x1, which mixes the two | 1 | |
    | 6 residual groups of 2 | 12 | |
    | back to a change of colour | 2 | |

    Only the counts and "adding texture features of the reference image in the early stage of refinement" are
    published; the split is ours. All convolutions but one are 3x3. Without a reference 17 are left, and no pooling.
    An output pixel sees 33 x 33 pixels of the patch, 8.25 µm at 0.25 µm per pixel, which is a nucleus, and through
    the vector the whole reference. Untrained, it returns the image nearly unchanged.

    Args:
        width: channels of all layers.
        max_change: largest change of a value, in (0, 2]; see `bounded_change`.
        reference: whether there is a reference branch; without it is the paper's ablation "no reference patch".

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> Refiner(width=8)(torch.zeros(1, 3, 64, 96), torch.zeros(1, 3, 128, 128)).shape
        torch.Size([1, 3, 64, 96])
    """

    def __init__(self, width: int = 32, max_change: float = 0.5, reference: bool = True) -> None:
        super().__init__()
        _check_settings(width, max_change)
        self.max_change = max_change
        self.stem = nn.Sequential(convolution(3, width), convolution(width, width))
        self.encoder = ReferenceEncoder((width,) * 4) if reference else None
        self.mix = nn.Conv2d(2 * width if reference else width, width, 1)
        self.groups = nn.Sequential(*(ResidualBlock(width) for _ in range(6)))
        self.head = convolution(width, width)
        self.last = nn.Conv2d(width, 3, 3, padding=1)
        _initialise(self, self.last)

    def forward(self, image: Tensor, reference: Tensor | None = None) -> Tensor:
        """Refine a batch of patches.

        Args:
            image: initial synthetic patches, shape (B, 3, H, W), values in [-1, 1], H and W multiples of 16.
            reference: as many real patches; H and W may differ from the image's. None takes the image itself. Ignored
                by a network without a reference branch.

        Returns:
            refined patches, shape, range and dtype of ``image``.

        Raises:
            ValueError: a shape is wrong.
        """
        check_images("image", image)
        features = self.stem(image)
        if self.encoder is not None:
            features = concatenate(features, self.encoder(reference_or_self(image, reference)))
        features = self.groups(self.mix(features))
        return bounded_change(image, self.last(self.head(features)), self.max_change)


class ResidualRefiner(nn.Module):
    """A light refiner that trains on a CPU: residual blocks at half resolution.

    Four neighbouring pixels become the channels of one (Shi et al. 2016), so that nothing is lost, and the blocks
    cost a quarter; the lattice that this leaves is averaged away. The vector of the reference scales and shifts the
    first features, channel by channel (FiLM, Perez et al. 2018). To concatenate it before a convolution would only
    shift them; but a stronger stain scales contrast.
    An output pixel sees 8 x blocks + 12 pixels each way, by default 44, 11 µm at 0.25 µm per pixel, and through the
    vector the whole reference. Untrained, it returns the image nearly unchanged.

    **Smooth.** A refiner that is trained for minutes only leaves traces in the finest pixels that are easier to tell
    than what it repairs. A smooth one draws no detail: one change for 4 x 4 pixels, 1 µm, joined by B-splines. It
    corrects colours and shades of nuclei and what lies around them, and leaves grain and chromatin as they were
    painted, so at full resolution patches are no harder to tell than before (``benchmarks/README.md``). It works at a
    quarter of the resolution and sees 16 x blocks + 32 pixels each way. Its discriminator should have
    ``downsampling=4``, else it judges what the refiner cannot change.

    Args:
        width: channels of all layers.
        blocks: number of residual blocks of two 3x3 convolutions.
        max_change: largest change of a value, in (0, 2]; see `bounded_change`.
        reference: whether there is a reference branch.
        smooth: whether changes are smooth.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> ResidualRefiner(width=8, blocks=1)(torch.zeros(1, 3, 64, 96), torch.zeros(1, 3, 128, 128)).shape
        torch.Size([1, 3, 64, 96])
    """

    def __init__(
        self,
        width: int = 32,
        blocks: int = 4,
        max_change: float = 0.5,
        reference: bool = True,
        smooth: bool = False,
    ) -> None:
        super().__init__()
        _check_settings(width, max_change)
        if blocks < 1:
            raise ValueError(f"blocks must be at least 1, got {blocks}")
        self.max_change, self.smooth = max_change, smooth
        self.side = 4 if smooth else 2
        self.stem = convolution(3 * self.side**2, width)
        self.encoder = ReferenceEncoder((width,) * 4) if reference else None
        self.film = nn.Linear(width, 2 * width) if reference else None
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.last = nn.Conv2d(width, 3 if smooth else 3 * self.side**2, 3, padding=1)
        _initialise(self, self.last)

    def forward(self, image: Tensor, reference: Tensor | None = None) -> Tensor:
        """Refine a batch of patches; as `Refiner.forward`."""
        check_images("image", image)
        features = self.stem(F.pixel_unshuffle(image, self.side))
        if self.encoder is not None and self.film is not None:
            vector = self.encoder(reference_or_self(image, reference))
            scale, shift = self.film(vector)[:, :, None, None].chunk(2, dim=1)
            features = features * (1 + scale) + shift
        change = self.last(self.blocks(features)).to(image.dtype)
        delta = enlarge(change, self.side) if self.smooth else _without_checkerboard(F.pixel_shuffle(change, self.side))
        return bounded_change(image, delta, self.max_change)


def enlarge(nodes: Tensor, factor: int) -> Tensor:
    """Enlarge a map by cubic B-splines, each in the middle of a square of ``factor`` x ``factor`` pixels.

    Bicubic interpolation goes through the nodes, and shows at full resolution where they lie: its second derivative
    jumps there. A sum of B-splines is twice differentiable (Unser 1999), so nothing is left that repeats from node to
    node.

    Args:
        nodes: shape (B, C, h, w); beyond the border the outermost are repeated.
        factor: an even number of pixels.

    Returns:
        shape (B, C, h x factor, w x factor); a constant stays what it is.
    """
    distance = (torch.arange(4 * factor, device=nodes.device, dtype=torch.float32) + 0.5) / factor - 2
    near, far = distance.abs().clamp(max=1), (2 - distance.abs()).clamp(0, 1)
    spline = torch.where(distance.abs() < 1, 2 / 3 - near**2 + near**3 / 2, far**3 / 6).to(nodes.dtype)
    channels = nodes.shape[1]
    enlarged = F.pad(nodes, (2, 2, 2, 2), mode="replicate")
    # Two nodes were added, and a spline begins one and a half squares before its node's own.
    start = 2 * factor + 3 * factor // 2
    for kernel, stride, padding in (
        (spline[:, None], (factor, 1), (start, 0)),
        (spline[None, :], (1, factor), (0, start)),
    ):
        weight = kernel[None, None].expand(channels, 1, -1, -1)
        enlarged = F.conv_transpose2d(enlarged, weight, stride=stride, padding=padding, groups=channels)
    return enlarged


def _without_checkerboard(delta: Tensor) -> Tensor:
    """Average each pixel with its neighbours, weights 1 2 1 in both directions: a pattern of period 2 disappears.

    Four channels that become neighbours are four different filters, whose every difference repeats every other pixel
    all over the patch. Any classifier finds such a lattice, long before it sees what is wrong with the tissue.
    """
    for pad in ((1, 0, 1, 0), (0, 1, 0, 1)):
        delta = F.avg_pool2d(F.pad(delta, pad, mode="replicate"), 2, stride=1)
    return delta


def _check_settings(width: int, max_change: float) -> None:
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    if not 0 < max_change <= 2:
        raise ValueError(f"max_change must lie in (0, 2], got {max_change}")


def _initialise(network: nn.Module, last: nn.Conv2d) -> None:
    initialise(network)
    with torch.no_grad():
        last.weight.mul_(_LAST_GAIN)
