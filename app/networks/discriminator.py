"""The discriminator: is a patch real tissue of the reference's type? (paper, section 4.2 and Fig. 4)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import check_images, convolution, initialise, with_detail
from .reference import ReferenceEncoder, concatenate, reference_or_self

__all__ = ["Discriminator"]


class Discriminator(nn.Module):
    """The paper's discriminator, an asymmetric siamese network of 15 convolutions and 3 poolings (Fig. 4, section 5).

    | part | convolutions | poolings |
    |---|---|---|
    | reference branch, see `ReferenceEncoder`: pooled to a vector and tiled | 4 | 2 |
    | patch branch: 2 of widths[0], pooling, 2 of widths[1], now at a quarter of the resolution | 4 | 1 |
    | both concatenated: 3 of widths[2], 2 of widths[3], 1 of widths[4], 1x1 to a map of logits | 7 | |

    The branches share no weights. Six convolutions with their rectifiers come after they meet, so that the patch is
    *compared* with the reference: a reference that only added to the logit could not tell a mismatched pair. Only the
    counts are published; the split is ours. The last convolutions of widths[1], [2] and [3] have stride 2. Without a
    reference 11 convolutions and 1 pooling are left. Both branches see images with their fine detail beside them
    (`with_detail`). A logit of the map sees 106 x 106 pixels (26.5 µm at 0.25 µm per pixel), some nuclei and what lies
    between, every 16 pixels.

    **Downsampling.** At 0.25 µm per pixel the finest pixels hold the camera's noise and the compression of the file. A
    young discriminator looks there first; whatever a refiner does is easier to tell, in those pixels, than what it
    repairs. Means of 2 x 2 pixels hold less of both and keep edges and chromatin. With ``downsampling=2`` all counts of
    pixels above double, and convolutions cost a quarter. With 4, at 1 µm per pixel, it judges colours and shapes.

    **Batch normalisation.** The paper does not say whether its discriminator has any. With it a young discriminator
    learns about twice as fast, and much further where cues are faint. In training real and synthetic patches must
    then share a batch, as they do in `SynthesisTrainer`; a logit depends on its own patch only in evaluation mode.

    The result is the mean of the map: one logit a patch. Trained with cross-entropy on that mean, it estimates the log
    of the density ratio of whole real and synthetic patches, which is what the importance weight needs (Eq. 5). The
    mean of *probabilities* over the map, or cross-entropy on each logit of it, would not.

    Args:
        widths: channels of the five groups; ``(16, 24, 32, 40, 64)`` trains on a CPU.
        reference: whether there is a reference branch; without it is the paper's ablation "no reference patch".
        downsampling: pixels in each direction of which the network sees only the mean; 1 shows it every pixel.
        batch_norm: whether batch normalisation follows each convolution but the last.

    Raises:
        ValueError: ``widths`` are not five positive numbers, or ``downsampling`` is less than 1.

    Example:
        >>> network = Discriminator(widths=(8, 8, 8, 8, 8))
        >>> network(torch.zeros(2, 3, 64, 96), torch.zeros(2, 3, 128, 128)).shape
        torch.Size([2])
    """

    def __init__(
        self,
        widths: Sequence[int] = (32, 48, 64, 80, 128),
        reference: bool = True,
        downsampling: int = 1,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        if len(widths) != 5 or min(widths) < 1:
            raise ValueError(f"widths must be five positive numbers, got {widths}")
        if downsampling < 1:
            raise ValueError(f"downsampling must be at least 1, got {downsampling}")
        self.downsampling = downsampling
        first, second, third, fourth, fifth = widths
        layer = partial(convolution, batch_norm=batch_norm)
        self.patch = nn.Sequential(
            layer(6, first),
            layer(first, first),
            nn.MaxPool2d(2),
            layer(first, second),
            layer(second, second, stride=2),
        )
        self.encoder = None
        if reference:
            self.encoder = ReferenceEncoder((first, second, third, fourth), in_channels=6, batch_norm=batch_norm)
        self.comparison = nn.Sequential(
            layer(second + fourth if reference else second, third),
            layer(third, third),
            layer(third, third, stride=2),
            layer(third, fourth),
            layer(fourth, fourth, stride=2),
            layer(fourth, fifth),
            nn.Conv2d(fifth, 1, 1),
        )
        initialise(self)

    def forward(self, image: Tensor, reference: Tensor | None = None) -> Tensor:
        """Judge a batch of patches.

        Args:
            image: real or synthetic patches, shape (B, 3, H, W), values in [-1, 1], H and W multiples of 16.
            reference: as many real patches; H and W may differ from the image's. None takes the image itself. Ignored
                by a network without a reference branch.

        Returns:
            float32, shape (B,): logits, positive for "real, and of the type of the reference".

        Raises:
            ValueError: a shape is wrong.
        """
        return self.patch_logits(image, reference).to(torch.float32).mean(dim=(1, 2, 3))

    def patch_logits(self, image: Tensor, reference: Tensor | None = None) -> Tensor:
        """The map whose mean `forward` returns; it shows where a patch looks wrong.

        Its shape is (B, 1, H / 16, W / 16), with ``downsampling`` so many times smaller, rounded up.
        """
        check_images("image", image)
        features = self.patch(self._seen(image))
        if self.encoder is not None:
            vector = self.encoder(self._seen(reference_or_self(image, reference)))
            features = concatenate(features, vector)
        return self.comparison(features)

    def _seen(self, images: Tensor) -> Tensor:
        if self.downsampling > 1:
            images = F.avg_pool2d(images, self.downsampling, ceil_mode=True)
        return with_detail(images)
