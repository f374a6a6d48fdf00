"""What does a trained refiner do? Realism before and after, label drift, and which patches get weight.

    nucleosynth synthesize REAL -o INITIAL -n 100
    nucleosynth synthesize REAL -o REFINED -n 100 --refiner MODEL
    python benchmarks/refinement.py REAL INITIAL REFINED [--seeds 3] [--json FILE] [--plot FILE]

Both sets show the same nuclei, since the seed is the same. Fresh classifiers, which share nothing with the
discriminator, learn to tell real from initial and real from refined patches (``benchmarks/realism.py``); the lower
their AUROC on tiles that they do not know, the more real the patches. The paper asked a pathologist which patches look
real (Fig. 7a); here the classifiers of the refined patches are asked: the half that they take for more real should
weigh more.
"""

from __future__ import annotations

import argparse
import csv
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
from realism import MPP, Patches, Verdicts, classify, image_files, load, load_synthetic
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from nucleosynth.handlers import otsu_agreement


def read_weights(folder: Path) -> np.ndarray:
    with (folder / "weights.csv").open(newline="") as file:
        return np.array([float(row["weight"]) for row in csv.DictReader(file)])


def label_agreement(patches: Patches, folder: Path) -> float:
    """Dice coefficient of the labels with the patches' own Otsu masks."""
    labels = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) > 0 for path in sorted((folder / "labels").glob("*.png"))]
    return otsu_agreement(np.stack(patches.images), np.stack(labels), MPP)


def synthetic_scores(verdicts: list[Verdicts]) -> np.ndarray:
    """Mean over classifiers of the rank of each synthetic patch, 0 to 1; the higher, the more real."""
    ranks = [v.patch_score[v.patch_truth == 0].argsort().argsort() for v in verdicts]
    return np.mean(ranks, axis=0) / (len(ranks[0]) - 1)


def measure(arguments: argparse.Namespace) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
    files = image_files(arguments.real)
    real = load(files, range(len(files)))
    sets = {"initial": load_synthetic(arguments.initial, files), "refined": load_synthetic(arguments.refined, files)}
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        jobs = [(name, seed) for seed in range(arguments.seeds) for name in sets]
        futures = [pool.submit(classify, real, sets[name], seed) for name, seed in jobs]
        verdicts: dict[str, list[Verdicts]] = {name: [] for name in sets}
        for (name, _), future in zip(jobs, futures, strict=True):
            verdicts[name].append(future.result())
    weights, score = read_weights(arguments.refined), synthetic_scores(verdicts["refined"])
    found: dict[str, float] = {}
    for name, each in verdicts.items():
        scores = [roc_auc_score(v.patch_truth, v.patch_score) for v in each]
        crops = [roc_auc_score(v.crop_truth, v.crop_score) for v in each]
        found |= {f"AUROC by patch, {name}": float(np.mean(scores)), f"sd, {name}": float(np.std(scores))}
        found |= {f"AUROC by crop, {name}": float(np.mean(crops))}
    folders = {"initial": arguments.initial, "refined": arguments.refined}
    found |= {f"label agreement, {name}": label_agreement(sets[name], folders[name]) for name in sets}
    found["effective sample size"] = float(weights.sum() ** 2 / (len(weights) * (weights**2).sum()))
    realistic = score >= np.median(score)
    found["weight of the realistic half"] = float(weights[realistic].mean())
    found["weight of the other half"] = float(weights[~realistic].mean())
    found["rank correlation of weight and realism"] = float(spearmanr(weights, score).statistic)
    return found, weights, realistic


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
    parser.add_argument("--seeds", type=int, default=3, help="classifiers per set")
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
