"""Labels of the synthetic patches that the paper's authors publish, so that a network can be trained on them alone.

    python benchmarks/authors_patches.py ../shared/data/authors_synthetic -o authors

Their masks say of a pixel whether it lies in a nucleus (bit 0), on a boundary (1), in a centre (2), and not in which
one. What the boundaries part is taken for a nucleus each, and given the nuclear pixels next to it. Writes ``images/``
and ``labels/``, as ``nucleosynth train --overlay supervised --labelled`` reads them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from skimage.segmentation import expand_labels

from nucleosynth.data.images import read_image, write_label, write_png

NUCLEUS, BOUNDARY = 1, 2
LEAST_AREA = 20  # Pixels: boundaries that touch part slivers from nuclei.
REACH = 4.0  # Pixels, wider than a boundary.


def label_patch(mask: np.ndarray) -> np.ndarray:
    """Ids, int32, of the nuclei of a mask, uint8, of one shape (H, W)."""
    nuclei = (mask & NUCLEUS) > 0
    inner = nuclei & ((mask & BOUNDARY) == 0)
    _, label, stats, _ = cv2.connectedComponentsWithStats(inner.astype(np.uint8), connectivity=4)
    large = stats[:, cv2.CC_STAT_AREA] >= LEAST_AREA
    large[0] = False
    label = np.where(large, np.cumsum(large), 0)[label]
    return np.where(nuclei, expand_labels(label, REACH), 0).astype(np.int32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patches", type=Path, help="folder with images/ and mask_bits/")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    paths = sorted((options.patches / "images").glob("*.png"))
    if not paths:
        parser.error(f"{options.patches}: no images/NAME.png")
    for path in paths:
        mask = cv2.imread(str(options.patches / "mask_bits" / path.name), cv2.IMREAD_UNCHANGED)
        write_png(options.output / "images" / path.name, read_image(path))
        write_label(options.output / "labels" / path.name, label_patch(mask))


if __name__ == "__main__":
    main()
