"""Writing data sets of synthetic patches (``nucleosynth synthesize``): seeded, in parallel, and resumable."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from nucleosynth.transforms.synthesis import SynthesisSettings, TileAnalysis, analyze_tile, draw_patch, paint_patch

from ..atomic import write_atomically
from ..progress import track
from ..record import claim_output, finish_output, run_record
from ..workers import worker_pool
from .images import read_image, write_png
from .preview import write_preview
from .refinement import Refinement, load_refinement, refinement_files
from .tileset import Tile, load_tiles

__all__ = ["SynthesisReport", "SynthesisRunSettings", "synthesize_patches"]

PRODUCTS = ("images", "labels", "reference", "manifest.jsonl", "weights.csv", "preview.png")
_MANIFEST, _JOURNAL, _PREVIEW, _WEIGHTS = "manifest.jsonl", ".manifest.part", "preview.png", "weights.csv"
# Tiles are drawn on in blocks: a worker analyses the tiles of a block, each once, for all the block's patches.
_BLOCK = 8
# Patches that a worker is given at a time; less is lost when it is killed, more saves analysing a tile twice.
_PORTION = 64


@dataclass(frozen=True)
class SynthesisRunSettings:
    """What a data set is made with; all that its bytes depend on, but for the tiles.

    Attributes:
        count: number of patches.
        seed: of everything that is drawn.
        mpp: scale of the tiles, µm per pixel; None takes it from the tiles, else 0.25.
        patch: how each patch is synthesised; its own scale is replaced by that of the tiles.
    """

    count: int
    seed: int = 0
    mpp: float | None = None
    patch: SynthesisSettings = field(default_factory=SynthesisSettings)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"the number of patches must be at least 1, got {self.count}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if self.mpp is not None and not self.mpp > 0:
            raise ValueError(f"mpp must be positive, got {self.mpp}")


@dataclass(frozen=True)
class SynthesisReport:
    """What a run did.

    Attributes:
        patches: number of patches in the data set.
        nuclei: number of nuclei in all of them.
        tiles: number of tiles they are made of, or could be.
        types: number of tissue types among these.
        blank: names of the tiles that were left out, because they show hardly any tissue.
    """

    patches: int
    nuclei: int
    tiles: int
    types: int
    blank: tuple[str, ...]


@dataclass(frozen=True)
class _Plan:
    """Which tiles go into which patch: a function of the seed, whoever computes it.

    Attributes:
        tiles: the set, in random order.
        settings: of the run, at the tiles' scale.
        output: where the patches go.
        refiner: trained bundle that refines the patches, or None.
    """

    tiles: tuple[Tile, ...]
    settings: SynthesisRunSettings
    output: Path
    refiner: Path | None = None

    def source(self, patch: int) -> int:
        """Index of the tile that lends background and colours: all tiles take turns."""
        return patch % len(self.tiles)

    def texture(self, patch: int, rng: np.random.RandomState) -> int:
        """Index of another tile of the source's block, which the worker has analysed anyway; the source if alone."""
        source = self.source(patch)
        first = source // _BLOCK * _BLOCK
        others = [index for index in range(first, min(first + _BLOCK, len(self.tiles))) if index != source]
        # The last block may be one tile: the tile before it then helps out.
        others = others or ([source - 1] if source else [])
        return others[rng.randint(len(others))] if others else source

    def reference(self, patch: int, rng: np.random.RandomState) -> int:
        """Index of another tile of the source's type; the source itself if it is the only one."""
        source = self.source(patch)
        same = [index for index in self.by_type[self.tiles[source].type] if index != source]
        return same[rng.randint(len(same))] if same else source

    @cached_property
    def by_type(self) -> dict[str, list[int]]:
        """Indices of the tiles of each type."""
        kinds: dict[str, list[int]] = {}
        for index, tile in enumerate(self.tiles):
            kinds.setdefault(tile.type, []).append(index)
        return kinds

    def portions(self, missing: Sequence[int]) -> Iterator[list[int]]:
        """The missing patches, in portions whose tiles are of one block."""
        blocks: dict[int, list[int]] = {}
        for patch in missing:
            blocks.setdefault(self.source(patch) // _BLOCK, []).append(patch)
        for patches in blocks.values():
            for start in range(0, len(patches), _PORTION):
                yield patches[start : start + _PORTION]


def synthesize_patches(
    tiles: Path,
    output: Path,
    settings: SynthesisRunSettings,
    workers: int | None = None,
    refiner: Path | None = None,
) -> SynthesisReport:
    """Write a data set of synthetic patches with exact instance labels (paper, section 4.1).

    Writes ``images/NNNNNN.png`` (RGB), ``labels/NNNNNN.png`` (16-bit instance ids), ``reference/NNNNNN.png`` (RGB, a
    real patch of the same type), ``manifest.jsonl`` (a line per patch: tiles and sampled parameters), ``preview.png``,
    and ``run.json`` last. With a refiner, the images are refined ones, and ``weights.csv`` holds the importance weight
    of each (section 3). The bytes depend on the tiles and the settings alone, not on the number of workers. Called
    again after it was interrupted, it continues.

    Args:
        tiles: folder of tiles, see :func:`nucleosynth.data.tileset.load_tiles`.
        output: folder for the results; what else is in it stays.
        settings: what to make.
        workers: number of processes; None takes one a core. With more than one, a script must call this below
            ``if __name__ == "__main__":``, since each process imports it.
        refiner: trained bundle ``nuclei_synthesis``, see :func:`~nucleosynth.data.refinement.load_refinement`.

    Raises:
        InputError: the tiles or the refiner cannot be used, ``output`` holds something else, or a worker died.
        OSError: ``output`` cannot be written.
    """
    workers = workers or os.cpu_count() or 1
    tile_set = load_tiles(tiles, settings.patch.size, settings.mpp, workers)
    inputs = [tile.path for tile in tile_set.tiles]
    if refiner is not None:
        _refinement.cache_clear()  # a bundle that was trained anew is read anew
        load_refinement(refiner)  # so that what is wrong with it is said before anything is written
        inputs += refinement_files(refiner)
    record = run_record("synthesize", settings, inputs)
    claim_output(output, record, PRODUCTS)
    order = np.random.RandomState(settings.seed).permutation(len(tile_set.tiles))
    plan_settings = replace(settings, patch=settings.patch.at_scale(tile_set.mpp))
    plan = _Plan(tuple(tile_set.tiles[i] for i in order), plan_settings, output, refiner)
    lines = _synthesize_missing(plan, workers)
    write_preview(output, settings.count, output / _PREVIEW)
    write_atomically(output / _MANIFEST, "".join(json.dumps(line) + "\n" for line in lines).encode())
    if refiner is not None:
        rows = "".join(f"{line['patch']:06d}.png,{line['weight']:.6g},{line['logit']:.6g}\n" for line in lines)
        write_atomically(output / _WEIGHTS, ("file,weight,logit\n" + rows).encode())
    (output / _JOURNAL).unlink(missing_ok=True)
    kinds = len({tile.type for tile in tile_set.tiles})
    nuclei = sum(line["nuclei"] for line in lines)
    report = SynthesisReport(settings.count, nuclei, len(tile_set.tiles), kinds, tile_set.blank)
    finish_output(output, {**record, "mpp": tile_set.mpp, "nuclei": nuclei, "blank_tiles": list(tile_set.blank)})
    return report


def _synthesize_missing(plan: _Plan, workers: int) -> list[dict[str, Any]]:
    """Make the patches that an interrupted run has not made; returns the manifest of all, in order."""
    done = _read_journal(plan.output)
    missing = [patch for patch in range(plan.settings.count) if patch not in done]
    with (plan.output / _JOURNAL).open("a", encoding="utf-8") as journal:
        for line in track(_synthesize(plan, missing, workers), "Synthesising", total=len(missing)):
            done[line["patch"]] = line
            # A line is written after its patch: a patch without a line is made again, a line never lies.
            journal.write(json.dumps(line) + "\n")
            journal.flush()
    return [done[patch] for patch in range(plan.settings.count)]


def _read_journal(output: Path) -> dict[int, dict[str, Any]]:
    """Manifest lines of the patches that are there, whole; the last line of a killed run may be cut off."""
    journal = output / _JOURNAL
    if journal.exists():
        lines = journal.read_bytes().rpartition(b"\n")[0].splitlines()
    elif (output / _MANIFEST).exists():
        lines = (output / _MANIFEST).read_bytes().splitlines()
    else:
        return {}
    made = [json.loads(line) for line in lines]
    done = {line["patch"]: line for line in made if all(path.exists() for path in _paths(output, line["patch"]))}
    write_atomically(journal, b"".join(json.dumps(line).encode() + b"\n" for line in done.values()))
    return done


def _synthesize(plan: _Plan, missing: Sequence[int], workers: int) -> Iterator[dict[str, Any]]:
    portions = list(plan.portions(missing))
    if workers == 1 or len(missing) <= 1:
        for portion in portions:
            for patch in portion:
                yield _make_patch(plan, patch)
        return
    # Smaller portions where there are few patches, so that no worker idles.
    if len(portions) < 2 * workers:
        step = max(1, -(-len(missing) // (2 * workers)))
        portions = [part[i : i + step] for part in portions for i in range(0, len(part), step)]
    with worker_pool(min(workers, len(portions))) as pool:
        running: set[Future[list[dict[str, Any]]]] = {pool.submit(_make_patches, plan, part) for part in portions}
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield from future.result()


def _make_patches(plan: _Plan, patches: Sequence[int]) -> list[dict[str, Any]]:
    return [_make_patch(plan, patch) for patch in patches]


def _make_patch(plan: _Plan, patch: int) -> dict[str, Any]:
    """Make and write a patch; returns its line of the manifest."""
    seed = np.random.SeedSequence([plan.settings.seed, patch])
    rng = np.random.RandomState(np.random.MT19937(seed))
    mpp = plan.settings.patch.mask.mpp
    indices = [plan.source(patch), plan.texture(patch, rng), plan.reference(patch, rng)]
    source, texture, reference = (plan.tiles[index] for index in indices)
    source_analysis, texture_analysis = _analysis(source.path, mpp), _analysis(texture.path, mpp)
    reference_image = _image(reference.path)
    draw = draw_patch(source_analysis, texture_analysis, reference_image, plan.settings.patch, rng)
    painted = paint_patch(source_analysis, texture_analysis, reference_image, draw)
    image, label, real = _paths(plan.output, patch)
    picture, verdict = painted.image, {}
    if plan.refiner is not None:
        refinement = _refinement(plan.refiner)
        picture, logit = refinement.refine(painted.image, painted.reference)
        verdict = {"logit": logit, "weight": refinement.weight(logit)}
    write_png(image, picture)
    write_png(label, painted.label)
    write_png(real, painted.reference)
    tiles = {"tile": source.name, "texture_tile": texture.name, "reference_tile": reference.name}
    return {"patch": patch, "type": source.type, **tiles, **verdict, **draw.parameters()}


def _paths(output: Path, patch: int) -> tuple[Path, Path, Path]:
    name = f"{patch:06d}.png"
    return output / "images" / name, output / "labels" / name, output / "reference" / name


@lru_cache(maxsize=2 * _BLOCK)
def _analysis(path: Path, mpp: float) -> TileAnalysis:
    return analyze_tile(read_image(path), mpp)


@lru_cache(maxsize=1)
def _refinement(bundle: Path) -> Refinement:
    return load_refinement(bundle)


@lru_cache(maxsize=_BLOCK)
def _image(path: Path) -> np.ndarray:
    return read_image(path)
