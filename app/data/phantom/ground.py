"""Everything but nuclei: fibres, cytoplasm, empty spaces, blood and pigment, as amounts of stain.

Amounts are optical densities along a stain's vector (see ``optics``): 0 is clear glass, eosinophilic tissue has about
0.3 to 1 of eosin, a dark nucleus about 2 of haematoxylin.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from .field import FAR, Field, Grid, bell, smoothstep
from .layout import Layout

__all__ = ["Dyes", "add_red_cells", "draw_ground"]

_CELL_MPP = 0.5


@dataclass(frozen=True)
class Dyes:
    """Amounts of what absorbs light, each float32, shape (H, W), not negative; filled in place.

    Attributes:
        haematoxylin: in nuclei, and a little in cytoplasm.
        eosin: in fibres and cytoplasm.
        blood: haemoglobin of red blood cells, with the eosin it binds.
        pigment: brown granules.
    """

    haematoxylin: Field
    eosin: Field
    blood: Field
    pigment: Field


def draw_ground(rng: np.random.Generator, grid: Grid, layout: Layout, centres: npt.NDArray[np.float64]) -> Dyes:
    """Draw the tissue that nuclei are later put on.

    Args:
        rng: where the draws come from.
        grid: of the image.
        layout: the plan.
        centres: of the nuclei in µm, shape (N, 2); cell borders run between them.
    """
    rough = 0.45 * grid.noise(rng, 3.0, 3)
    eosin, haematoxylin = _stroma(rng, grid, layout)
    gland = layout.grid.refine(layout.gland, grid) + rough
    epithelial = smoothstep(gland, -0.5, 0.5)
    for stain, cytoplasm in zip((eosin, haematoxylin), _epithelium(rng, grid, centres), strict=True):
        stain += epithelial * (cytoplasm - stain)
    del epithelial
    eosin += 0.16 * bell(gland, -0.8, 0.6)  # basement membrane
    cleft = smoothstep(grid.noise(rng, 30), 0.2, 1.4) * bell(gland, -2.6, 0.9)
    empty = np.maximum(0.9 * cleft, _emptiness(rng, grid, layout, rough))
    del gland, cleft
    vessel = layout.grid.refine(layout.vessel, grid) + rough
    eosin += 0.25 * bell(vessel, -1.6, 1.2)
    haematoxylin += _smudges(rng, grid)
    pigment = _pigment(rng, grid, layout)
    for stain in (eosin, haematoxylin, pigment):
        stain *= 1 - empty
        np.maximum(stain, 0, out=stain)
    return Dyes(haematoxylin, eosin, np.zeros(grid.shape, np.float32), pigment)


def _fibres(rng: np.random.Generator, across: Field, along: Field, width: float, length: float) -> Field:
    """Noise that is stretched along the fibres; mean near 0, standard deviation near 0.6."""
    strands = rng.standard_normal((509, 251), dtype=np.float32)
    rows = np.mod(across * np.float32(1 / width), 509)
    columns = np.mod(along * np.float32(1 / length), 251)
    return cv2.remap(strands, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def _stroma(rng: np.random.Generator, grid: Grid, layout: Layout) -> tuple[Field, Field]:
    """Eosin and haematoxylin of connective tissue; where lymphocytes gather it is pale and bluish."""
    across = layout.grid.refine(layout.across, grid) + 0.35 * grid.noise(rng, 4.0, 2)
    along = layout.grid.refine(layout.along, grid)
    bundles = _fibres(rng, across, along, rng.uniform(4, 6.5), 55)
    fibrils = _fibres(rng, across, along, 1.3, 24) + 0.7 * _fibres(rng, across, along, 0.7, 12)
    splits = _fibres(rng, across, along, rng.uniform(2.2, 3.5), 45)
    mottled = grid.noise(rng, 45, 2)
    loose = smoothstep(mottled, rng.uniform(-0.6, 0.4), 1.6)
    eosin = 0.62 + 0.16 * bundles + 0.10 * fibrils + 0.06 * mottled + 0.05 * grid.noise(rng, 1.0, 2)
    # Shrinkage of the section opens white splits between bundles, more of them where the tissue is loose.
    eosin *= 1 - (0.35 + 0.6 * loose) * smoothstep(splits + 0.35 * bundles + 0.45 * loose, 0.75, 1.25)
    lymphoid = smoothstep(layout.grid.refine(layout.lymphoid, grid), -0.15, 0.3)
    pale = 0.38 + 0.12 * grid.noise(rng, 3.0, 3)
    eosin += 0.85 * lymphoid * (pale - eosin)
    haematoxylin = 0.05 + 0.05 * np.maximum(fibrils, 0) + 0.14 * lymphoid * (1 + 0.5 * grid.noise(rng, 2.0, 2))
    return np.maximum(eosin, 0), np.maximum(haematoxylin, 0)


def _epithelium(rng: np.random.Generator, grid: Grid, centres: npt.NDArray[np.float64]) -> tuple[Field, Field]:
    """Eosin and haematoxylin of cytoplasm: grainy, with borders between cells, every cell of its own tone."""
    cells = grid.coarser(max(_CELL_MPP, grid.mpp))
    owner, border = _cells(cells, centres)
    tones = rng.normal(0, 1, size=(int(owner.max()) + 1, 2)).astype(np.float32)
    warp = (cells.noise(rng, 6.0, 2), cells.noise(rng, 6.0, 2))
    rows, columns = np.indices(cells.shape, dtype=np.float32)
    rows, columns = rows + warp[0] / cells.mpp, columns + warp[1] / cells.mpp

    def bent(values: Field) -> Field:
        moved = cv2.remap(values, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return cells.refine(moved, grid)

    eosin_level, haematoxylin_level = rng.uniform(0.38, 0.62), rng.uniform(0.12, 0.4)
    grain = 0.7 * grid.noise(rng, 0.9) + grid.noise(rng, 3.5, 2)
    membrane = bell(bent(border), 0.0, 0.45) * smoothstep(grid.noise(rng, 14), -0.8, 0.6)
    eosin = eosin_level * (1 + 0.22 * bent(tones[owner, 0]) + 0.12 * grain) + rng.uniform(0.1, 0.4) * membrane
    haematoxylin = haematoxylin_level * (1 + 0.35 * bent(tones[owner, 1]) + 0.2 * grain)
    # Droplets of fat or mucus in the cytoplasm.
    droplets = smoothstep(grid.noise(rng, 3.2) + 0.5 * grid.noise(rng, 35), 2.2, 2.7)
    return eosin * (1 - 0.85 * droplets), haematoxylin * (1 - 0.85 * droplets)


def _cells(cells: Grid, centres: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int32], Field]:
    """Index of the nearest nucleus of each pixel, and the distance in µm to where it changes."""
    seeds = np.ones(cells.shape, np.uint8)
    index = np.floor(centres / cells.mpp).astype(int)
    seeds[np.minimum(index[:, 0], cells.height - 1), np.minimum(index[:, 1], cells.width - 1)] = 0
    if seeds.all():
        return np.zeros(cells.shape, np.int32), np.full(cells.shape, FAR, np.float32)
    _, owner = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    inner = np.ones(cells.shape, np.uint8)
    inner[:, 1:][owner[:, 1:] != owner[:, :-1]] = 0
    inner[1:][owner[1:] != owner[:-1]] = 0
    # Without a border, OpenCV gives the largest number there is.
    border = np.minimum(cv2.distanceTransform(inner, cv2.DIST_L2, 5), np.float32(FAR))
    return owner, border * np.float32(cells.mpp)


def _smudges(rng: np.random.Generator, grid: Grid) -> Field:
    """Haematoxylin that is no nucleus: smears of mucin and crushed chromatin, and specks of debris."""
    smears = 0.7 * smoothstep(grid.noise(rng, 13, 4), 1.7, 2.9)
    crumbs = 1.5 * smoothstep(grid.noise(rng, 1.9) + 0.7 * grid.noise(rng, 40), 3.4, 4.0)
    return np.maximum(smears, crumbs)


def _emptiness(rng: np.random.Generator, grid: Grid, layout: Layout, rough: Field) -> Field:
    """1 where light passes freely: lumina, fat, glass; a little less where secretion lies in a lumen."""
    space = smoothstep(layout.grid.refine(layout.space, grid) + 0.6 * rough, -0.35, 0.35)
    secretion = 0.25 * smoothstep(grid.noise(rng, 25, 4), 0.6, 2.2)
    tissue = smoothstep(layout.grid.refine(layout.tissue, grid) + 1.5 * rough, -0.5, 0.5)
    return 1 - tissue * (1 - space * (1 - secretion))


def _pigment(rng: np.random.Generator, grid: Grid, layout: Layout) -> Field:
    """Granules of about 0.7 µm that fill cells, and some that are strewn around them."""
    cells = layout.grid.refine(layout.pigment, grid)
    density = np.maximum(smoothstep(cells, -3.0, 1.0), 0.3 * smoothstep(cells, -12.0, -2.0))
    granules = smoothstep(0.8 * grid.noise(rng, 1.6, 2) + 2.4 * density, 1.7, 3.0)
    return 1.5 * granules * (density > 0)


def add_red_cells(
    rng: np.random.Generator, grid: Grid, layout: Layout, dyes: Dyes, nuclei: npt.NDArray[np.int32]
) -> None:
    """Add red blood cells: crowded in vessels, and some astray in the stroma.

    Args:
        rng: where the draws come from.
        grid: of the image.
        layout: the plan.
        dyes: ``blood`` is filled, in place.
        nuclei: label image; red cells do not lie on nuclei.
    """
    height, width = grid.extent
    points = rng.uniform((0, 0), (height, width), size=(int(40_000 * height * width / 1e6), 2))
    inside = layout.grid.at(layout.vessel, points) > 2.0
    leak = layout.grid.at(layout.grid.noise(rng, 50), points) > 1.3
    astray = leak & (rng.random(len(points)) < 0.12) & (layout.grid.at(layout.gland, points) < -4)
    wanted = (inside | astray) & (layout.grid.at(layout.tissue, points) > 4)
    wanted &= inside | (layout.grid.at(layout.space, points) < -3)
    for point in points[wanted]:
        window = grid.window((point[0], point[1]), 5.0)
        if nuclei[window].size == 0 or nuclei[window].any():
            continue
        rows, columns = grid.axes()
        down, right = rows[window[0]] - point[0], columns[:, window[1]] - point[1]
        turn, squeeze = rng.uniform(0, np.pi), rng.uniform(1.0, 1.5)
        long = down * np.sin(turn) + right * np.cos(turn)
        short = (down * np.cos(turn) - right * np.sin(turn)) * squeeze
        reach = np.hypot(long, short).astype(np.float32)
        disc = smoothstep(-reach, -3.4, -2.8) * (1 - 0.4 * bell(reach, 0, 1.2))
        np.maximum(dyes.blood[window], rng.uniform(0.8, 1.2) * disc, out=dyes.blood[window])
