"""What the channels of every segmentation network's logits mean (paper, section 5)."""

__all__ = ["DETECTION", "SEGMENTATION"]

DETECTION = 0
"""Channel of "here is the core of a nucleus"."""

SEGMENTATION = 1
"""Channel of "here is a nucleus", whichever."""
