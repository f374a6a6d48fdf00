"""What does a trained refiner do? Realism before and after, label drift, and which patches get weight.

    nucleosynth synthesize REAL -o INITIAL -n 100
    nucleosynth synthesize REAL -o REFINED -n 100 --refiner MODEL
    python benchmarks/refinement.py REAL INITIAL REFINED [--seeds 3] [--steps 1500] [--json FILE] [--plot FILE]

Both sets show the same nuclei, since the seed is the same. Fresh classifiers, which share nothing with the
discriminator, learn to tell real from initial and real from refined patches (``benchmarks/realism.py``), at the scale
of the images, at half and at a quarter of it; the lower their AUROC on tiles that they do not know, the more real the
patches. Each seed holds out another fifth of the tiles. The paper asked a pathologist which patches look real
(Fig. 7a); here the classifiers of the refined patches are asked: the half that they take for more real should weigh
more.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
from realism import MPP, Patches, Protocol, Verdicts, classify, image_files, load, load_synthetic
from rich.progress import track
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from nucleosynth.handlers import otsu_agreement

DOWNSAMPLING = (1, 2, 4)


def read_weights(folder: Path) -> np.ndarray:
    with (folder / "weights.csv").open(newline="") as file:
        return np.array([float(row["weight"]) for row in csv.DictReader(file)])


def label_agreement(patches: Patches, folder: Path) -> float:
    """Dice coefficient of the labels with the patches' own Otsu masks."""
    labels = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) > 0 for path in sorted((folder / "labels").glob("*.png"))]
    return otsu_agreement(np.stack(patches.images), np.stack(labels), MPP)


def synthetic_scores(verdicts: list[Verdicts], real: int) -> np.ndarray:
    """Mean over classifiers of the rank of each synthetic patch, 0 to 1, the higher the more real; NaN: not judged."""
    ranks = np.full((len(verdicts), len(verdicts[0].judged) - real), np.nan)
    for row, verdict in zip(ranks, verdicts, strict=True):
        place = verdict.patch_score[verdict.patch_truth == 0].argsort().argsort()
        row[verdict.judged[real:]] = place / (len(place) - 1)
    judged = np.isfinite(ranks).any(axis=0)
    return np.array([np.nanmean(column) if any_ else np.nan for column, any_ in zip(ranks.T, judged, strict=True)])


def train_classifiers(real: Patches, sets: dict[str, Patches], steps: int, seeds: int) -> dict[tuple[str, int], list]:
    """Verdicts on each set by classifiers of each downsampling, one a seed."""
    protocols = [
        Protocol(steps=steps, crop=min(96 * factor, 256), downsampling=factor, folds=1) for factor in DOWNSAMPLING
    ]
    with ProcessPoolExecutor(max_workers=os.cpu_count(), mp_context=get_context("spawn")) as pool:
        jobs = {
            (name, protocol.downsampling): [pool.submit(classify, real, each, seed, protocol) for seed in range(seeds)]
            for protocol in protocols
            for name, each in sets.items()
        }
        for future in track([future for futures in jobs.values() for future in futures], "classifiers"):
            future.result()
    return {key: [future.result() for future in futures] for key, futures in jobs.items()}


def measure(arguments: argparse.Namespace) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
    files = image_files(arguments.real)
    real = load(files, range(len(files)))
    folders = {"initial": arguments.initial, "refined": arguments.refined}
    sets = {name: load_synthetic(folder, files) for name, folder in folders.items()}
    verdicts = train_classifiers(real, sets, arguments.steps, arguments.seeds)
    found: dict[str, float] = {}
    for (name, factor), each in verdicts.items():
        title = f"{name}, {MPP * factor:g} µm/px"
        patches = [roc_auc_score(v.patch_truth, v.patch_score) for v in each]
        crops = [roc_auc_score(v.crop_truth, v.crop_score) for v in each]
        found |= {f"AUROC by patch, {title}": float(np.mean(patches)), f"- sd, {title}": float(np.std(patches))}
        found |= {f"AUROC by crop, {title}": float(np.mean(crops))}
    found |= {f"label agreement, {name}": label_agreement(sets[name], folders[name]) for name in sets}
    weights = read_weights(arguments.refined)
    found["effective sample size"] = float(weights.sum() ** 2 / (len(weights) * (weights**2).sum()))
    for factor in DOWNSAMPLING:
        score = synthetic_scores(verdicts["refined", factor], len(files))
        judged = np.isfinite(score)
        realistic = score[judged] >= np.median(score[judged])
        rank = spearmanr(weights[judged], score[judged])
        scale = f"{MPP * factor:g} µm/px"
        found |= {f"patches judged, {scale}": float(judged.sum())}
        found |= {f"weight of the realistic half, {scale}": float(weights[judged][realistic].mean())}
        found |= {f"weight of the other half, {scale}": float(weights[judged][~realistic].mean())}
        found |= {f"rank correlation of weight and realism, {scale}": float(rank.statistic)}
        found |= {f"- p, {scale}": float(rank.pvalue)}
    # The coarsest scale, the discriminator's own, comes last.
    return found, weights[judged], realistic


def plot(weights: np.ndarray, realistic: np.ndarray, path: Path) -> None:
    """Distribution of the weights of both halves, as in the paper's Fig. 7a."""
    figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
    bins = np.linspace(0, weights.max() * 1.01, 24)
    for chosen, name, colour in (
        (realistic, "taken for real", "tab:purple"),
        (~realistic, "taken for fake", "tab:orange"),
    ):
        axis.hist(weights[chosen], bins=bins, density=True, alpha=0.55, label=name, color=colour)
        axis.axvline(weights[chosen].mean(), color=colour, lw=2)
    axis.set_xlabel("importance weight")
    axis.set_yticks([])
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", type=Path)
    parser.add_argument("initial", type=Path)
    parser.add_argument("refined", type=Path)
    parser.add_argument("--seeds", type=int, default=3, help="classifiers of each set and scale")
    parser.add_argument("--steps", type=int, default=1500, help="steps of training a classifier")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    found, weights, realistic = measure(arguments)
    for name, value in found.items():
        print(f"| {name} | {value:.3f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.plot:
        plot(weights, realistic, arguments.plot)


if __name__ == "__main__":
    main()
