"""Names of what a training example consists of."""

from __future__ import annotations

from monai.utils import StrEnum

__all__ = ["PatchKeys"]


class PatchKeys(StrEnum):
    """Keys of a training example; images are uint8, shape (3, P, P), targets uint8, shape (2, P, P), 0 or 1.

    ``IMAGE`` is the initial synthetic patch I, ``LABEL`` its instance ids (int32, shape (1, P, P)), ``TARGET`` its
    detection and segmentation maps, ``REFERENCE`` the real patch S of the same type. ``REAL`` and ``REAL_REFERENCE``
    are the pair <S', S> of the discriminator's loss, and ``REAL_TYPE`` an integer for its tissue type.
    ``LABELLED_IMAGE`` and ``LABELLED_TARGET`` are of a real patch, where such are mixed in: an
    expert's, or what a trained network is sure of.
    """

    IMAGE = "image"
    LABEL = "label"
    TARGET = "target"
    REFERENCE = "reference"
    REAL = "real"
    REAL_REFERENCE = "real_reference"
    REAL_TYPE = "real_type"
    LABELLED_IMAGE = "labelled_image"
    LABELLED_TARGET = "labelled_target"
