"""From the maps of a tile to the nuclei that are its own; what runs in processes beside the network."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import shapely

from ..networks import DETECTION, SEGMENTATION
from ..postprocess import InstanceSettings, label_nuclei, measure_nuclei, outline_nuclei
from ..workers import worker_pool
from .plan import SlideTile, TissueMap, owned
from .store import PartStore
from .table import nuclei_table

__all__ = ["Outliner", "outlining_pool", "ready", "write_part"]


# Just short of the middle between pixels, so that programs that draw the outlines fill the same pixels.
_REACH = 0.4


@dataclass(frozen=True)
class Outliner:
    """Outlines the nuclei of tiles.

    Attributes:
        instances: how maps become nuclei; its ``mpp`` is the network's scale.
        tissue: where nuclei count; None takes the whole slide.
        mpp: µm per level-0 pixel of the slide.
        tolerance: how far a simplified outline may lie from the exact one, in pixels at the network's scale.
    """

    instances: InstanceSettings
    tissue: TissueMap | None
    mpp: float
    tolerance: float = 0.25

    def __call__(self, tile: SlideTile, image: np.ndarray, maps: np.ndarray) -> pa.Table:
        """Nuclei whose centroid lies in the tile's core, and in tissue.

        Args:
            tile: of the plan.
            image: uint8, shape (h, w, 3), RGB, of the tile's region.
            maps: float, shape (2, h, w), of its region: detection and segmentation.

        Returns:
            A table, see :func:`~nucleosynth.slides.table.nuclei_table`.
        """
        network_mpp = self.instances.mpp
        label = label_nuclei(maps[DETECTION], maps[SEGMENTATION], self.instances)
        outlines = outline_nuclei(label, self.tolerance, _REACH)
        measures = measure_nuclei(label, outlines, image, maps[SEGMENTATION], network_mpp)
        left, top = tile.region.left, tile.region.top
        measures = replace(measures, x=measures.x + left, y=measures.y + top)
        counts = owned(measures.x, measures.y, tile.core)
        if self.tissue is not None:
            counts &= self.tissue.contains(measures.x, measures.y)
        placed = shapely.transform(outlines[counts], lambda vertices: vertices + np.array([left, top]))
        return nuclei_table(placed, measures.select(counts), network_mpp / self.mpp, self.mpp)


def write_part(
    store: PartStore, outliner: Outliner, tile: SlideTile, image: np.ndarray, maps: np.ndarray
) -> tuple[int, float]:
    """Outline a tile's nuclei, and write them as its part; arguments as of :class:`Outliner`.

    Returns:
        Number of nuclei, and seconds that it took.
    """
    begun = time.perf_counter()
    table = outliner(tile, image, maps)
    store.write(tile.number, table)
    return len(table), time.perf_counter() - begun


@contextmanager
def outlining_pool(workers: int) -> Iterator[Executor]:
    """Where tiles are outlined: in so many processes; one alone is a thread.

    Next to nothing of the work needs the interpreter's lock, so a thread does not hinder the network; and while a
    process begins, a core imports for a second or more, which is much of the time that a small slide takes. Several
    threads would wait for each other here and there, and share OpenCV's own.

    Args:
        workers: at least 1.

    Raises:
        InputError: a process died.
    """
    if workers > 1:
        with worker_pool(workers) as pool:
            yield pool
        return
    thread = ThreadPoolExecutor(1, "outline")
    try:
        yield thread
    finally:
        thread.shutdown(cancel_futures=True)


def ready() -> None:
    """Do nothing: a process to which this is sent has imported all that outlining takes."""
