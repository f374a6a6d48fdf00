"""What the network sees in a tile of a slide: detection and segmentation maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from monai.data.utils import compute_importance_map
from monai.utils import BlendMode

from ..networks import DETECTION, SEGMENTATION, from_uint8
from .lanes import Lanes
from .plan import SlideTile
from .settings import TURNS

__all__ = ["PendingMaps", "TilePredictor", "gains_from_bfloat16"]

_SIGMA_SCALE = 0.125  # Of the window, as MONAI's sliding windows have it.
_LEAST_IMPORTANCE = 1e-3
_TILES_AT_A_TIME = 2
_BFLOAT16_CAPABILITIES = ("avx512_bf16", "amx_bf16", "bf16")


def gains_from_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return any(capabilities.get(name, False) for name in _BFLOAT16_CAPABILITIES)


@dataclass(frozen=True)
class PendingMaps:
    """Maps of a tile that a device may still be at work on.

    Attributes:
        maps: on the host, float32, shape (2, h, w), or what becomes of it in another thread.
        arrived: when a GPU has put them there; None: they are valid as soon as they are there.
    """

    maps: torch.Tensor | Future[torch.Tensor]
    arrived: torch.cuda.Event | None = None

    def ready(self) -> bool:
        """Whether :meth:`result` returns without waiting."""
        if isinstance(self.maps, Future):
            return self.maps.done()
        return self.arrived is None or self.arrived.query()

    def result(self) -> np.ndarray:
        """Wait for the maps, and return them."""
        if isinstance(self.maps, Future):
            return self.maps.result().numpy()
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.maps.numpy()


class TilePredictor:
    """A network that looks at a tile through the windows of its plan, and blends what it sees.

    Logits of overlapping windows are averaged, weighted by a Gaussian around each window's centre, as MONAI's
    ``SlidingWindowInferer`` does it. Only windows with tissue are looked through. The same windows in the same batches
    give the same maps.

    Args:
        network: from images, shape (B, 3, w, w), in [-1, 1], to logits, shape (B, C, w, w).
        device: where it runs.
        window: side w of the plan's windows, in pixels.
        batch_size: windows at a time.
        bfloat16: whether to compute in bfloat16 where that loses nothing that matters; None does where it is faster.
        compiled: whether to compile the network first, which pays on many slides.
        turns: in how many orientations it looks through each window, 1, 2 or 4: as it is, upside down, and on both
            sides. Their mean is more certain than one look alone; each takes as long.

    Raises:
        ValueError: ``batch_size`` is less than 1, or ``turns`` is another number.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        device: torch.device | str,
        window: int,
        batch_size: int = 4,
        bfloat16: bool | None = None,
        compiled: bool = False,
        turns: int = 2,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if turns not in TURNS:
            raise ValueError(f"turns must be one of {', '.join(map(str, TURNS))}, got {turns}")
        self.device = torch.device(device)
        network = network.to(self.device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.network = torch.compile(network) if compiled else network
        self.batch_size, self.compiled, self.turns = batch_size, compiled, turns
        self.bfloat16 = gains_from_bfloat16(self.device) if bfloat16 is None else bfloat16
        on_gpu = self.device.type == "cuda"
        # Pixels go to the GPU, and maps come from it, while it computes.
        self._uploads, self._downloads = (torch.cuda.Stream(self.device) if on_gpu else None for _ in range(2))
        # A compiled network uses all threads by itself, and compiles anew for each number of them.
        self._lanes = Lanes(self.logits, 1 if on_gpu or compiled else torch.get_num_threads())
        # While the maps of one tile are put together, the lanes look at the next.
        self._tiles = ThreadPoolExecutor(_TILES_AT_A_TIME, "tile") if self._lanes.count > 1 else None
        importance = compute_importance_map((window, window), BlendMode.GAUSSIAN, _SIGMA_SCALE, self.device)
        self._importance = importance.clamp_min(_LEAST_IMPORTANCE)

    def __call__(self, image: np.ndarray, tile: SlideTile) -> np.ndarray:
        """Maps of a tile's region; arguments and result as of :meth:`start`."""
        return self.start(image, tile).result()

    def start(self, image: np.ndarray, tile: SlideTile) -> PendingMaps:
        """Begin with the maps of a tile's region. The device works on while the caller does something else.

        Args:
            image: uint8, shape (H, W, 3), RGB, of the tile's frame.
            tile: of the plan.

        Returns:
            float32, shape (2, h, w), of the region: probability of the core of a nucleus, and of a nucleus. Where no
            window looked, 0.
        """
        if self._tiles is not None:
            return PendingMaps(self._tiles.submit(self._maps, image, tile))
        return self._download(self._maps(image, tile))

    def _maps(self, image: np.ndarray, tile: SlideTile) -> torch.Tensor:
        with torch.inference_mode():
            pixels = self._upload(image)
            total = torch.zeros(2, *image.shape[:2], device=self.device)
            weight = torch.zeros(image.shape[:2], device=self.device)
            places = list(_batches([window.within(tile.frame) for window in tile.windows], self.batch_size))
            batches = (torch.stack([pixels[rows, columns] for rows, columns in batch]) for batch in places)
            for batch, logits in zip(places, self.stream(batches), strict=True):
                for (rows, columns), each in zip(batch, logits, strict=True):
                    total[:, rows, columns].addcmul_(each, self._importance)
                    weight[rows, columns] += self._importance
            rows, columns = tile.region.within(tile.frame)
            total, weight = total[:, rows, columns], weight[rows, columns]
            seen = weight > 0
            return total.div_(weight.clamp_min_(_LEAST_IMPORTANCE)).sigmoid_().mul_(seen).contiguous()

    def _upload(self, image: np.ndarray) -> torch.Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(image))
        if self._uploads is None:
            return pixels.to(self.device)
        computing = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._uploads):
            pixels = pixels.pin_memory().to(self.device, non_blocking=True)
        computing.wait_stream(self._uploads)
        # Their memory is not given to the next tile before this one is done with them.
        pixels.record_stream(computing)
        return pixels

    def _download(self, maps: torch.Tensor) -> PendingMaps:
        if self._downloads is None:
            return PendingMaps(maps.cpu())
        self._downloads.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._downloads):
            host = torch.empty(maps.shape, dtype=maps.dtype, pin_memory=True).copy_(maps, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record(self._downloads)
        maps.record_stream(self._downloads)
        return PendingMaps(host, arrived)

    def stream(self, batches: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """What :meth:`logits` gives for each batch, in their order; on a CPU several are computed at a time."""
        return self._lanes.map(batches)

    def logits(self, crops: torch.Tensor) -> torch.Tensor:
        """Logits of windows, uint8, shape (B, w, w, 3), on the device: float32, shape (B, 2, w, w), without gradients.

        They are the mean over all orientations. It may be called in several threads at once.
        """
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            images = from_uint8(crops.permute(0, 3, 1, 2))
            quarters = range(0, 4, 4 // self.turns)
            return torch.stack([self._look(images, quarter) for quarter in quarters]).mean(dim=0)

    def _look(self, images: torch.Tensor, quarter: int) -> torch.Tensor:
        """Logits by a look from one side."""
        seen = self.network(torch.rot90(images, quarter, (2, 3)))[:, [DETECTION, SEGMENTATION]].float()
        return torch.rot90(seen, -quarter, (2, 3))


def _batches(places: Sequence[tuple[slice, slice]], size: int) -> Iterator[Sequence[tuple[slice, slice]]]:
    for begin in range(0, len(places), size):
        yield places[begin : begin + size]
