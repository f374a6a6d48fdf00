"""Pixels of a slide's tiles, read by a thread of its own: the next tile while the network looks at one."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from ..errors import InputError
from .normalisation import SlideStain
from .plan import Box, SlideTile
from .reader import SlideReader

__all__ = ["Frame", "FrameReader", "overview_mpp"]

_BAND = 512  # Rows that are read at a time: resampling holds some copies of what it works on.
_OVERVIEW_PX = 2048


@dataclass(frozen=True)
class Frame:
    """Pixels of a tile, uint8, shape (H, W, 3): of the slide, and as the network sees them."""

    image: np.ndarray
    seen: np.ndarray


def overview_mpp(slide: SlideReader) -> float:
    """Scale of a slide's overview, in µm per pixel: never finer than the slide."""
    return max(slide.mpp, max(slide.dimensions) * slide.mpp / _OVERVIEW_PX)


class FrameReader:
    """Reads a slide ahead of its network: frames of tiles, and after the last one the overview.

    One thread does it, and nobody else may read the slide meanwhile: readers are not for two threads at once. To be
    used as a context.

    Args:
        slide: to read from.
        mpp: scale of the frames, µm per pixel.
        stain: how they are normalised.

    Attributes:
        read, normalize: seconds that it took.
    """

    def __init__(self, slide: SlideReader, mpp: float, stain: SlideStain) -> None:
        self.read = self.normalize = 0.0
        self._slide, self._mpp, self._stain = slide, mpp, stain
        self._thread = ThreadPoolExecutor(1, "reader")
        self._overview: Future[np.ndarray] | None = None

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def frames(self, tiles: Sequence[SlideTile]) -> Iterator[tuple[SlideTile, Frame | InputError]]:
        """Frames of tiles, or why one cannot be read."""
        ahead = deque(self._thread.submit(self._prepare, tile.frame) for tile in tiles[:1])
        for number, tile in enumerate(tiles):
            frame = ahead.popleft().result()
            if number + 1 < len(tiles):
                ahead.append(self._thread.submit(self._prepare, tiles[number + 1].frame))
            else:
                # While the network looks at the last tile there is time for it.
                self._overview = self._thread.submit(self._read_overview)
            yield tile, frame

    def overview(self) -> np.ndarray:
        """The whole slide at :func:`overview_mpp`, uint8, shape (h, w, 3); white where it cannot be read."""
        pending = self._overview or self._thread.submit(self._read_overview)
        return pending.result()

    def _read_overview(self) -> np.ndarray:
        mpp = overview_mpp(self._slide)
        width, height = self._slide.thumbnail_size(mpp)
        return self._slide.thumbnail(mpp, np.zeros((height, width), bool))

    def _prepare(self, frame: Box) -> Frame | InputError:
        begun = time.perf_counter()
        try:
            image = self._read_frame(frame)
        except InputError as error:
            return error
        finally:
            self.read += time.perf_counter() - begun
        begun = time.perf_counter()
        seen = self._stain(image)
        self.normalize += time.perf_counter() - begun
        return Frame(image, seen)

    def _read_frame(self, frame: Box) -> np.ndarray:
        """Pixels of a frame, uint8, shape (H, W, 3), at the network's scale.

        Where the slide is smaller than a window, its last pixels are repeated: white would spoil what the network
        normalises by.

        Raises:
            InputError: a part is damaged.
        """
        scale = self._mpp / self._slide.mpp
        width, height = self._slide.thumbnail_size(self._mpp)
        right, bottom = min(frame.right, width), min(frame.bottom, height)
        bands = [
            self._slide.read_at(
                (frame.left * scale, top * scale), (right - frame.left, min(_BAND, bottom - top)), self._mpp
            )
            for top in range(frame.top, bottom, _BAND)
        ]
        image = np.concatenate(bands)
        if (right, bottom) != (frame.right, frame.bottom):
            image = np.pad(image, ((0, frame.bottom - bottom), (0, frame.right - right), (0, 0)), mode="edge")
        return image
