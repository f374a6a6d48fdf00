"""How close are synthetic patches to real ones? Colour, nuclei, and a classifier that tries to tell them apart.

    python benchmarks/realism.py REAL NAME=SYNTHETIC [NAME=SYNTHETIC ...] [--seeds 3] [--json FILE] [--plot FILE]

REAL is a folder of real patches. SYNTHETIC is the output of ``nucleosynth synthesize REAL``, or a folder of images of
which the n-th (by name) was made from the n-th real one. Everything is measured by code that the synthesis does not
share: scikit-image's colour deconvolution, Otsu's threshold and a watershed find "nuclei" in real and synthetic patches
alike, so their errors are the same on both sides.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import torch
from rich.progress import track
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.stats import wasserstein_distance
from skimage.color import rgb2hed
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.measure import label as connected
from skimage.measure import regionprops_table
from skimage.morphology import remove_small_holes
from skimage.segmentation import watershed
from sklearn.metrics import roc_auc_score
from torch import nn

from nucleosynth.networks.blocks import with_detail

MPP = 0.25
FOLDS, SIDE, BATCH = 5, 400, 32


@dataclass(frozen=True)
class Protocol:
    """How a classifier is trained: steps of 32 crops, whose pixels are averaged ``downsampling`` in each direction."""

    steps: int = 250
    crop: int = 96
    downsampling: int = 1
    folds: int = FOLDS  # how many of the five fifths of the tiles are judged, each by a classifier of the other four


@dataclass(frozen=True)
class Patches:
    """RGB images, and for each the number of the real tile it is, or was made from."""

    images: list[np.ndarray]
    tile: np.ndarray


def image_files(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in {".png", ".jpg"})
    if not files:
        raise SystemExit(f"no images in {folder}")
    return files


def load(files: Sequence[Path], tile: Sequence[int]) -> Patches:
    return Patches([cv2.cvtColor(cv2.imread(str(f)), cv2.COLOR_BGR2RGB) for f in files], np.array(tile))


def load_synthetic(folder: Path, real: Sequence[Path]) -> Patches:
    """Synthetic patches with the tiles they are made from, as their manifest says, or in the order of their names."""
    manifest = folder / "manifest.jsonl"
    if not manifest.exists():
        files = image_files(folder)
        return load(files, [i % len(real) for i in range(len(files))])
    number = {file.name: i for i, file in enumerate(real)}
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    files = [folder / "images" / f"{line['patch']:06d}.png" for line in lines]
    return load(files, [number[Path(line["tile"]).name] for line in lines])


def find_nuclei(image: np.ndarray) -> np.ndarray:
    """Areas in µm² of what Otsu's threshold and a distance watershed take for nuclei.

    Its four numbers were chosen against expert labels (every second image of MoNuSeg's training set), where they give
    the true mean density to 1 % and an area distribution at a Wasserstein distance of 1.6 µm².
    """
    haematoxylin = gaussian_filter(rgb2hed(image)[..., 0], 1)
    mask = remove_small_holes(haematoxylin > threshold_otsu(haematoxylin), max_size=400)
    distance = gaussian_filter(distance_transform_edt(mask), 1)
    peaks = peak_local_max(distance, min_distance=10, labels=connected(mask))
    markers = np.zeros(mask.shape, int)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    area = regionprops_table(watershed(-distance, markers, mask=mask), properties=["area"])["area"] * MPP**2
    return area[area >= 10]


def colours(images: Sequence[np.ndarray]) -> np.ndarray:
    """Haematoxylin and eosin of every 7th pixel (coprime to the JPEG block of 8), shape (n, 2)."""
    return np.concatenate([rgb2hed(i)[::7, ::7, :2].reshape(-1, 2) for i in images])


def network() -> nn.Module:
    """A small convolutional classifier of images with their detail beside them, about 60 000 parameters."""
    layers: list[nn.Module] = []
    widths = [6, 16, 32, 48, 64]
    for a, b in itertools.pairwise(widths):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(widths[-1], 1))


def as_tensor(images: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack([i[:SIDE, :SIDE] for i in images])).permute(0, 3, 1, 2).float() / 127.5 - 1


@dataclass(frozen=True)
class Verdicts:
    """Held-out scores of a classifier, the higher the more real, with the truth (1 real) beside them."""

    judged: np.ndarray  # which patches, first real and then synthetic ones, were held out
    patch_score: np.ndarray
    patch_truth: np.ndarray
    crop_score: np.ndarray
    crop_truth: np.ndarray


def separability(real: Patches, synthetic: Patches, seed: int) -> tuple[float, float]:
    """Held-out AUROC of a classifier of real and synthetic, by patch and by crop."""
    found = classify(real, synthetic, seed)
    return (
        float(roc_auc_score(found.patch_truth, found.patch_score)),
        float(roc_auc_score(found.crop_truth, found.crop_score)),
    )


def classify(real: Patches, synthetic: Patches, seed: int, protocol: Protocol = Protocol()) -> Verdicts:
    """Train classifiers of real and synthetic, and let each judge the fold that it was not trained on.

    A tile and the patches made from it are held out together, so that the classifier cannot know a tile.
    """
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    x = as_tensor([*real.images, *synthetic.images])
    y = torch.cat([torch.ones(len(real.images)), torch.zeros(len(synthetic.images))])
    fold = rng.permutation(len(real.images))[np.concatenate([real.tile, synthetic.tile])] % FOLDS
    patch_score, crop_score, crop_truth = np.full(len(y), np.nan), [], []
    for held_out in range(protocol.folds):
        model = train(x, y, np.flatnonzero(fold != held_out), protocol, rng)
        for i in np.flatnonzero(fold == held_out):
            logits = judge(model, x[i], protocol)
            patch_score[i] = logits.mean()
            crop_score.append(logits)
            crop_truth.append(np.full(len(logits), float(y[i])))
    judged = np.isfinite(patch_score)
    return Verdicts(
        judged, patch_score[judged], y.numpy()[judged], np.concatenate(crop_score), np.concatenate(crop_truth)
    )


def train(
    x: torch.Tensor, y: torch.Tensor, index: np.ndarray, protocol: Protocol, rng: np.random.Generator
) -> nn.Module:
    """Train a fresh network on random crops of the patches ``index``, half of them real."""
    model, size = network(), protocol.crop
    classes = [index[y[index].numpy() == value] for value in (0, 1)]
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=protocol.steps)
    model.train()
    for _ in range(protocol.steps):
        chosen = np.concatenate([rng.choice(each, BATCH // 2) for each in classes])
        batch = []
        for i in chosen:
            top, left = rng.integers(0, SIDE - size + 1, 2)
            crop = torch.rot90(x[i, :, top : top + size, left : left + size], int(rng.integers(4)), (1, 2))
            batch.append(crop.flip(2) if rng.integers(2) else crop)
        seen = with_detail(nn.functional.avg_pool2d(torch.stack(batch), protocol.downsampling))
        loss = nn.functional.binary_cross_entropy_with_logits(model(seen)[:, 0], y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def judge(model: nn.Module, image: torch.Tensor, protocol: Protocol) -> np.ndarray:
    """Logits of 5 x 5 overlapping crops."""
    size, step = protocol.crop, (SIDE - protocol.crop) // 4
    crops = image.unfold(1, size, step).unfold(2, size, step).permute(1, 2, 0, 3, 4).reshape(-1, 3, size, size)
    with torch.inference_mode():
        return model(with_detail(nn.functional.avg_pool2d(crops, protocol.downsampling)))[:, 0].numpy()


@dataclass(frozen=True)
class Looks:
    """What is compared: haematoxylin and eosin of pixels, areas of nuclei, and their density in each patch."""

    stains: np.ndarray
    area: np.ndarray
    density: np.ndarray


def look(patches: Patches) -> Looks:
    nuclei = [find_nuclei(image) for image in patches.images]
    mm2 = [image.shape[0] * image.shape[1] * MPP**2 / 1e6 for image in patches.images]
    density = np.array([len(a) / m for a, m in zip(nuclei, mm2, strict=True)])
    return Looks(colours(patches.images), np.concatenate(nuclei), density)


def distances(real: Looks, synthetic: Looks) -> dict[str, float]:
    """Wasserstein-1 distances; of colours in units of scikit-image's ``rgb2hed``."""
    return {
        "haematoxylin W1 [0.001]": 1e3 * wasserstein_distance(real.stains[:, 0], synthetic.stains[:, 0]),
        "eosin W1 [0.001]": 1e3 * wasserstein_distance(real.stains[:, 1], synthetic.stains[:, 1]),
        "nuclear area W1 [µm²]": wasserstein_distance(real.area, synthetic.area),
        "nuclear density W1 [1/mm²]": wasserstein_distance(real.density, synthetic.density),
    }


def plot(looks: dict[str, Looks], path: Path) -> None:
    """Distributions of everything that is compared; the first set is the real one."""
    panels = {
        "haematoxylin (rgb2hed)": (lambda k: k.stains[:, 0], np.linspace(0, 0.16, 60)),
        "eosin (rgb2hed)": (lambda k: k.stains[:, 1], np.linspace(0, 0.09, 60)),
        "nuclear area [µm²]": (lambda k: k.area, np.linspace(10, 120, 45)),
        "nuclear density [1/mm²]": (lambda k: k.density, np.linspace(0, 10000, 14)),
    }
    figure, axes = plt.subplots(1, 4, figsize=(15, 3.4), layout="constrained")
    for axis, (title, (values, bins)) in zip(axes, panels.items(), strict=True):
        for number, (name, what) in enumerate(looks.items()):
            style = {"color": "black", "lw": 2.2} if number == 0 else {"color": f"C{number - 1}", "lw": 1.4}
            axis.hist(values(what), bins=bins, density=True, histtype="step", label=name, **style)
        axis.set_title(title, fontsize=10)
        axis.set_yticks([])
        axis.spines[["top", "right", "left"]].set_visible(False)
    axes[-1].legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", type=Path)
    parser.add_argument("synthetic", nargs="+", help="NAME=FOLDER")
    parser.add_argument("--seeds", type=int, default=3, help="classifiers per set; 0 trains none")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    files = image_files(arguments.real)
    real = load(files, range(len(files)))
    named = dict(item.split("=", 1) for item in arguments.synthetic)
    sets = {name: load_synthetic(Path(folder), files) for name, folder in named.items()}
    looks = {"real": look(real)} | {name: look(patches) for name, patches in track(sets.items(), "nuclei")}
    rows = {name: distances(looks["real"], looks[name]) for name in sets}
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        jobs = [(name, seed) for seed in range(arguments.seeds) for name in sets]
        futures = [pool.submit(separability, real, sets[name], seed) for name, seed in jobs]
        scores = [future.result() for future in track(futures, "classifiers", disable=not jobs)]
    for name in sets if arguments.seeds else ():
        by_patch, by_crop = np.array([s for (n, _), s in zip(jobs, scores, strict=True) if n == name]).T
        for kind, values in (("patch", by_patch), ("crop", by_crop)):
            rows[name] |= {f"AUROC by {kind}": float(values.mean()), f"AUROC by {kind}, sd": float(values.std())}
    print("| |" + "|".join(rows) + "|\n|---|" + "---|" * len(rows))
    for key in next(iter(rows.values())):
        print(f"| {key} | " + " | ".join(f"{row[key]:.3g}" for row in rows.values()) + " |")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    if arguments.plot:
        plot(looks, arguments.plot)


if __name__ == "__main__":
    main()
