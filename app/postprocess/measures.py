"""Measurements of nuclei: position, size, shape, stain and probability, all nuclei of a label image at once."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import shapely

from nucleosynth.transforms.stain import rgb_to_hed

__all__ = ["NucleusMeasures", "measure_nuclei"]


@dataclass(frozen=True)
class NucleusMeasures:
    """A column for each measurement, float32 but for the positions, shape (N,); nucleus i + 1 is in place i.

    Attributes:
        x: of the centroid, float64, in pixels from the left edge of the image.
        y: of the centroid, float64, in pixels from its upper edge.
        area_um2: of its pixels, in µm².
        perimeter_um: length of its outline, in µm.
        eccentricity: of the ellipse with the same second moments, 0 (circle) to 1.
        solidity: area within the outline over that of its convex hull, 0 to 1.
        orientation: of the ellipse's major axis, degrees, -90 (excluded) to 90, from the x axis, counter-clockwise as
            seen on the screen.
        haematoxylin_mean: concentration, see :func:`~nucleosynth.transforms.stain.rgb_to_hed`.
        haematoxylin_std: standard deviation of its pixels.
        eosin_mean: as haematoxylin.
        eosin_std: as haematoxylin.
        probability: mean of the segmentation map over its pixels, 0 to 1.
    """

    x: np.ndarray
    y: np.ndarray
    area_um2: np.ndarray
    perimeter_um: np.ndarray
    eccentricity: np.ndarray
    solidity: np.ndarray
    orientation: np.ndarray
    haematoxylin_mean: np.ndarray
    haematoxylin_std: np.ndarray
    eosin_mean: np.ndarray
    eosin_std: np.ndarray
    probability: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    def select(self, which: np.ndarray) -> NucleusMeasures:
        """The nuclei that a mask or an index array of NumPy names."""
        return NucleusMeasures(**{each.name: getattr(self, each.name)[which] for each in fields(self)})


def measure_nuclei(
    label: np.ndarray, outlines: np.ndarray, image: np.ndarray, probability: np.ndarray, mpp: float
) -> NucleusMeasures:
    """Measure every nucleus of a label image.

    Args:
        label: integers, shape (H, W), instance ids 1 to N without gaps; 0 is background.
        outlines: their polygons, in pixels, shape (N,), from :func:`~nucleosynth.postprocess.outline_nuclei`.
        image: uint8 RGB, shape (H, W, 3).
        probability: float, shape (H, W), of being in a nucleus.
        mpp: µm per pixel.

    Raises:
        ValueError: the shapes do not fit together, or ``mpp`` is not positive.
    """
    if image.shape != (*label.shape, 3) or probability.shape != label.shape:
        shapes = f"{image.shape} and {probability.shape} beside {label.shape}"
        raise ValueError(f"image and probability must have the label's height and width, got {shapes}")
    count = int(label.max(initial=0))
    if len(outlines) != count:
        raise ValueError(f"there must be one outline for each of {count} nuclei, got {len(outlines)}")
    if not mpp > 0:
        raise ValueError(f"mpp must be positive, got {mpp}")
    # Nuclei cover a fraction of an image: only their pixels are looked at.
    inside = np.flatnonzero(label > 0)
    rows, columns = np.divmod(inside, label.shape[1])
    ids = label.ravel()[inside].astype(np.intp) - 1
    pixels = np.bincount(ids, minlength=count)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(ids, values, count) / pixels

    def spread(values: np.ndarray, centre: np.ndarray) -> np.ndarray:
        return np.sqrt(mean((values - centre[ids]) ** 2))

    x, y = mean(columns), mean(rows)
    right, down = columns - x[ids], rows - y[ids]
    eccentricity, orientation = _ellipse(mean(right**2), mean(down**2), mean(right * down))
    # OpenCV transforms no empty image.
    stains = rgb_to_hed(image.reshape(-1, 3)[inside][None])[0].astype(np.float64) if count else np.empty((0, 3))
    haematoxylin, eosin = mean(stains[:, 0]), mean(stains[:, 1])
    hull = shapely.area(shapely.convex_hull(outlines))
    columns_32 = {
        "area_um2": pixels * mpp**2,
        "perimeter_um": shapely.length(outlines) * mpp,
        "eccentricity": eccentricity,
        "solidity": np.minimum(shapely.area(outlines) / hull, 1),
        "orientation": orientation,
        "haematoxylin_mean": haematoxylin,
        "haematoxylin_std": spread(stains[:, 0], haematoxylin),
        "eosin_mean": eosin,
        "eosin_std": spread(stains[:, 1], eosin),
        "probability": mean(probability.ravel()[inside]),
    }
    # A pixel is the unit square around its centre.
    return NucleusMeasures(x + 0.5, y + 0.5, **{name: value.astype(np.float32) for name, value in columns_32.items()})


def _ellipse(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eccentricity, and orientation in degrees, of ellipses with these central second moments of pixels' centres."""
    # A pixel has an extent of its own: the second moment of a unit square is 1/12.
    xx, yy = xx + 1 / 12, yy + 1 / 12
    apart = np.hypot(xx - yy, 2 * xy)
    major, minor = (xx + yy + apart) / 2, (xx + yy - apart) / 2
    # On the screen y points down; 0.0 - xy is never the negative zero that would turn 90 degrees to -90.
    return np.sqrt(np.maximum(1 - minor / major, 0)), np.degrees(np.arctan2(0.0 - 2 * xy, xx - yy) / 2)
