"""Does a discriminator give importance weights, and is the weighted loss that of real data (paper, section 3)?

    python benchmarks/importance_weights.py [--seeds 10] [--plot FILE]

On distributions p (real) and g (synthetic) whose ratio is known in closed form: Gaussians, and noise images that show a
blob of random contrast. Every seed trains its own discriminator with ``DiscriminatorLoss``, and what is measured is
measured on points that it never saw. Prints the tables of docs/importance_weights.md, to which
tests/losses/test_density_ratio.py holds the program.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from rich.progress import track
from scipy.stats import t as student
from torch import Tensor, nn
from torch.distributions import Distribution, LowRankMultivariateNormal, MultivariateNormal
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits

from nucleosynth.losses import (
    DiscriminatorLoss,
    SegmentationLoss,
    calibrate_temperature,
    effective_sample_size,
    importance_weights,
    log_mean_weight,
    weighted_mean,
)

SIDE = 8
HELD_OUT = 20_000
CLIP = (0.2, 2)  # of the authors' code
LOSS = DiscriminatorLoss()


@dataclass(frozen=True)
class Problem:
    """Two distributions over (n, d) points, and a loss of which the mean under p, the risk, is sought.

    Attributes:
        p: real data.
        g: synthetic data.
        loss: of each point, shape (n,).
        risk: mean loss under p.
        network: builds an untrained discriminator, (n, d) to logits (n,).
        steps: of its training.
    """

    name: str
    p: Distribution
    g: Distribution
    loss: Callable[[Tensor], Tensor]
    risk: float
    network: Callable[[], nn.Module]
    steps: int

    def log_ratio(self, points: Tensor) -> Tensor:
        return self.p.log_prob(points) - self.g.log_prob(points)


def gaussian(mean: list[float], covariance: list[list[float]]) -> Distribution:
    return MultivariateNormal(torch.tensor(mean), torch.tensor(covariance))


def blob() -> Tensor:
    """A bump of height 1 in the middle of an image, shape (SIDE, SIDE)."""
    offset = torch.arange(SIDE) - (SIDE - 1) / 2
    return torch.exp(-(offset[:, None] ** 2 + offset**2) / 8)


def images(contrast: float, spread: float, noise: float = 0.3) -> Distribution:
    """Noise images, flat, with a blob of normally distributed contrast: Gaussian with a covariance of low rank."""
    shape = blob().flatten()
    return LowRankMultivariateNormal(
        contrast * shape, spread * shape[:, None], torch.full((SIDE**2,), noise**2), validate_args=False
    )


def targets(points: Tensor) -> Tensor:
    """The true mask of each image: where its blob, as far as it can be seen, is above 0.5. Shape (n, 2, SIDE, SIDE)."""
    shape = blob()
    contrast = points @ shape.flatten() / shape.square().sum()
    mask = contrast[:, None, None] * shape > 0.5
    centre = mask & (shape > 0.95)
    return torch.stack([centre, mask], 1).float()


def threshold_loss(points: Tensor) -> Tensor:
    """Loss of a simple segmentation: is the mean of 3x3 pixels above 0.5?"""
    logits = 10 * (avg_pool2d(points.view(-1, 1, SIDE, SIDE), 3, 1, 1) - 0.5)
    return SegmentationLoss()(logits.expand(-1, 2, -1, -1), targets(points))


def dense(d: int) -> Callable[[], nn.Module]:
    layers = (nn.Linear, d, 64), (nn.SiLU,), (nn.Linear, 64, 64), (nn.SiLU,), (nn.Linear, 64, 1), (nn.Flatten, 0)
    return lambda: nn.Sequential(*(kind(*sizes) for kind, *sizes in layers))


def convolutional() -> nn.Module:
    features = nn.Conv2d(1, 8, 4, stride=2), nn.SiLU(), nn.Flatten()
    head = nn.Linear(72, 32), nn.SiLU(), nn.Linear(32, 1), nn.Flatten(0)
    return nn.Sequential(nn.Unflatten(1, (1, SIDE, SIDE)), *features, *head)


def line(real: float, synthetic: float, spread: float) -> Problem:
    """1-D: real N(real, 1), synthetic N(synthetic, spread^2), and x^2 as the loss."""
    p, g = gaussian([real], [[1.0]]), gaussian([synthetic], [[spread**2]])
    return Problem("Gaussians, 1-D", p, g, lambda x: x.square().sum(1), 1 + real**2, dense(1), steps=400)


def plane() -> Problem:
    """2-D: real data correlated and off the centre, and (x - y)^2 as the loss, of mean 1^2 + 1 + 1 - 2 * 0.6."""
    p, g = gaussian([0.5, -0.5], [[1.0, 0.6], [0.6, 1.0]]), gaussian([0.0, 0.0], [[2.25, 0.0], [0.0, 2.25]])
    return Problem("Gaussians, 2-D", p, g, lambda x: (x[:, 0] - x[:, 1]).square(), 1.8, dense(2), steps=600)


def pictures() -> Problem:
    """Images: real ones have more contrast. The risk, of a segmentation, is found with half a million real images."""
    p, g = images(1.0, 0.2), images(0.7, 0.3)
    with torch.random.fork_rng():
        torch.manual_seed(12345)
        risk = sum(threshold_loss(p.sample((50_000,))).mean().item() for _ in range(10)) / 10
    return Problem("images, 8x8", p, g, threshold_loss, risk, convolutional, steps=1000)


def pooled_cross_entropy(real: Tensor, synthetic: Tensor) -> Tensor:
    """Cross-entropy over all patches at once, in which the more numerous kind counts for more: c of Eq. 5 is not 1."""
    labels = torch.cat([torch.ones_like(real), torch.zeros_like(synthetic)])
    return binary_cross_entropy_with_logits(torch.cat([real, synthetic]), labels)


def train_discriminator(
    problem: Problem, loss: Callable[[Tensor, Tensor], Tensor] = LOSS, real: int = 512, synthetic: int = 512
) -> nn.Module:
    """A discriminator trained on batches of so many new points each."""
    network = problem.network()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, problem.steps)
    for _ in range(problem.steps):
        optimizer.zero_grad()
        loss(network(problem.p.sample((real,))), network(problem.g.sample((synthetic,)))).backward()
        optimizer.step()
        schedule.step()
    return network.eval().requires_grad_(False)


def overfitted_discriminator(problem: Problem, n: int) -> nn.Module:
    """A discriminator that sees the same n real and n synthetic points again and again, and gets to know them."""
    real, synthetic = problem.p.sample((n,)), problem.g.sample((n,))
    network = problem.network()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(problem.steps):
        optimizer.zero_grad()
        some = torch.randint(n, (2, 128))
        LOSS(network(real[some[0]]), network(synthetic[some[1]])).backward()
        optimizer.step()
    return network.eval().requires_grad_(False)


def agreement(learned: Tensor, true: Tensor) -> dict[str, float]:
    """How well log-ratios are met: correlation, slope of the line through them, root mean square error."""
    covariance = torch.cov(torch.stack([learned, true]))
    return {
        "correlation": (covariance[0, 1] / (covariance[0, 0] * covariance[1, 1]).sqrt()).item(),
        "slope": (covariance[0, 1] / covariance[1, 1]).item(),
        "rmse": (learned - true).square().mean().sqrt().item(),
    }


def measure(problem: Problem, network: nn.Module) -> dict[str, float]:
    """A discriminator's log-ratios on held-out real points, and the risk that its weights find on synthetic ones."""
    real, synthetic = problem.p.sample((HELD_OUT,)), problem.g.sample((HELD_OUT,))
    logits, losses = network(synthetic), problem.loss(synthetic)
    return agreement(network(real), problem.log_ratio(real)) | {
        "ess": effective_sample_size(importance_weights(logits)),
        "unweighted": losses.mean().item(),
        "clipped": weighted_mean(losses, importance_weights(logits, clip=CLIP)).item(),
        "weighted": weighted_mean(losses, importance_weights(logits)).item(),
    }


def by_eights(problem: Problem, network: nn.Module) -> dict[str, float]:
    """Mean of the weighted loss over batches of 8, normalised each by itself, or all by the mean of a large set."""
    log_mean = log_mean_weight(network(problem.g.sample((HELD_OUT,))))
    points = problem.g.sample((HELD_OUT,))
    batches = list(zip(network(points).split(8), problem.loss(points).split(8), strict=True))

    def mean(log_mean: float | None) -> float:
        means = [weighted_mean(losses, importance_weights(logits, log_mean=log_mean)) for logits, losses in batches]
        return torch.stack(means).mean().item()

    return {"by 8, own mean": mean(None), "by 8, log_mean": mean(log_mean)}


def calibrate(problem: Problem, network: Callable[[Tensor], Tensor]) -> list[dict[str, float]]:
    """A discriminator before and after the temperature that held-out points suggest."""
    fitted = calibrate_temperature(network(problem.p.sample((2000,))), network(problem.g.sample((2000,))))
    real, synthetic = problem.p.sample((HELD_OUT,)), problem.g.sample((HELD_OUT,))
    results = []
    for temperature in (1.0, fitted):
        weights = importance_weights(network(synthetic), temperature=temperature)
        found = {"temperature": temperature} | agreement(network(real) / temperature, problem.log_ratio(real))
        found |= {"ess": effective_sample_size(weights)}
        results.append(found | {"weighted": weighted_mean(problem.loss(synthetic), weights).item()})
    return results


def unequal_numbers(problem: Problem, c: int) -> dict[str, float]:
    """Unnormalised weighted risk from c synthetic points for each real one: of Eq. 5, and with c left out."""
    pooled = train_discriminator(problem, pooled_cross_entropy, real=128, synthetic=128 * c)
    apart = train_discriminator(problem, real=128, synthetic=128 * c)
    points = problem.g.sample((HELD_OUT,))

    def risk(network: nn.Module, ratio: float) -> float:
        weights = importance_weights(network(points), ratio, normalize=False)
        return weighted_mean(problem.loss(points), weights).item()

    return {"pooled, ratio=c": risk(pooled, c), "pooled, ratio=1": risk(pooled, 1), "apart, ratio=1": risk(apart, 1)}


def train_task(
    problem: Problem, source: Distribution, weigh: Callable[[Tensor], Tensor | None], seed: int, steps: int = 200
) -> float:
    """Risk under p of a small task network that learnt from points of ``source``: a threshold on the colour of a pixel.

    So small a network cannot be right about all images, and has to choose which to be right about.
    """
    torch.manual_seed(seed)
    network = nn.Conv2d(1, 2, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    def losses(points: Tensor) -> Tensor:
        return SegmentationLoss()(network(points.view(-1, 1, SIDE, SIDE)), targets(points))

    for _ in range(steps):
        points = source.sample((128,))
        optimizer.zero_grad()
        weighted_mean(losses(points), weigh(points)).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return losses(problem.p.sample((HELD_OUT,))).mean().item()


def train_tasks(problem: Problem, discriminator: nn.Module, seed: int) -> dict[str, float]:
    """Risks under p of networks that differ in what they learnt from alone."""
    # Batches of 128 are normalised by a large set, as in a real training.
    log_mean = log_mean_weight(discriminator(problem.g.sample((HELD_OUT,))))

    def weigh(points: Tensor) -> Tensor:
        return importance_weights(discriminator(points), log_mean=log_mean)

    return {
        "synthetic": train_task(problem, problem.g, lambda points: None, seed),
        "synthetic, weighted": train_task(problem, problem.g, weigh, seed),
        "real": train_task(problem, problem.p, lambda points: None, seed),
    }


def distance_errors(problem: Problem, n: int = 2000, repeats: int = 10) -> dict[str, float]:
    """Relative root mean square errors of risks, each estimated from n synthetic points with one discriminator."""
    network = train_discriminator(problem)
    errors: dict[str, list[float]] = {}
    shares = []
    for _ in range(repeats):
        points = problem.g.sample((n,))
        logits, losses = network(points), problem.loss(points)
        shares.append(effective_sample_size(importance_weights(logits)))
        for name, weights in (
            ("unweighted", None),
            ("clipped", importance_weights(logits, clip=CLIP)),
            ("weighted", importance_weights(logits)),
            ("by the exact ratio", importance_weights(problem.log_ratio(points))),
        ):
            errors.setdefault(name, []).append(weighted_mean(losses, weights).item() / problem.risk - 1)
    found = {name: torch.tensor(values).square().mean().sqrt().item() for name, values in errors.items()}
    return {"ESS": sum(shares) / repeats} | found


def interval(values: list[float], level: float = 0.95) -> tuple[float, float]:
    """Mean of repeated measurements and half the width of its confidence interval (Student's t)."""
    samples = torch.tensor(values, dtype=torch.float64)
    half = student.ppf((1 + level) / 2, len(values) - 1) * samples.std().item() / math.sqrt(len(values))
    return samples.mean().item(), float(half)


def gather(runs: list[dict[str, float]]) -> dict[str, list[float]]:
    return {key: [run[key] for run in runs] for key in runs[0]}


def show(values: list[float], digits: int = 3) -> str:
    mean, half = interval(values)
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    print(f"\n{title}\n\n| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def plot(path: Path, ratios: tuple[Tensor, Tensor], risks: dict[str, dict], distances: dict[float, dict]) -> None:
    """What discriminators learn, what weights do to the risk, and where they fail."""
    figure, (ratio, risk, error) = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    ends = [ratios[0].min().item(), ratios[0].max().item()]
    ratio.plot(*ratios, ".", ms=2, alpha=0.35)
    ratio.plot(ends, ends, color="black", lw=1)
    ratio.set(title="what a discriminator learns (images)", xlabel="exact log p/g", ylabel="logit")
    labels = {"unweighted": "unweighted", "clipped": f"clipped to {CLIP[0]} ... {CLIP[1]}", "weighted": "weighted"}
    for number, (key, label) in enumerate(labels.items()):
        for place, runs in enumerate(risks.values()):
            where = place + (number - 1) * 0.22 + torch.linspace(-0.07, 0.07, len(runs[key]))
            relative = torch.tensor(runs[key]) / runs["true"]
            risk.plot(where, relative, ".", ms=5, color=f"C{number}", label=label if place == 0 else None)
        means = [sum(runs[key]) / len(runs[key]) for runs in distances.values()]
        error.plot(list(distances), means, "o-", ms=4, color=f"C{number}", label=label)
    risk.axhline(1, color="black", lw=1)
    risk.set_yscale("log")
    risk.set_yticks([0.9, 1, 1.5, 2, 3], ["0.9", "1", "1.5", "2", "3"])
    risk.minorticks_off()
    risk.set_xticks(range(len(risks)), list(risks))
    risk.set(title="mean loss of synthetic data, as a multiple of real data's")
    shares = [sum(runs["ESS"]) / len(runs["ESS"]) for runs in distances.values()]
    error.plot(list(distances), shares, "k--", lw=1, label="effective sample size")
    error.set_yscale("log")
    error.set(title="relative error of the mean loss (1-D)", xlabel="distance of p from g [standard deviations]")
    for axis in (ratio, risk, error):
        axis.spines[["top", "right"]].set_visible(False)
        axis.title.set_fontsize(10)
    for axis in (risk, error):
        axis.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="discriminators for each problem, at least 2")
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    # Networks this small are slower on many cores.
    torch.set_num_threads(1)
    flat, imaged = plane(), pictures()
    problems = line(0.0, 1.0, 1.5), flat, imaged
    measured: dict[str, list] = {problem.name: [] for problem in problems}
    tasks, unequal, exaggerated, overfitted = [], [], [], []
    for seed in track(range(arguments.seeds), "discriminators"):
        torch.manual_seed(seed)
        for problem in problems:
            network = train_discriminator(problem)
            measured[problem.name].append(measure(problem, network) | by_eights(problem, network))
        exaggerated.append(calibrate(imaged, lambda points, trained=network: 3 * trained(points)))
        overfitted.append(calibrate(imaged, overfitted_discriminator(imaged, 2000)))
        unequal.append(unequal_numbers(flat, 4))
        tasks.append(train_tasks(imaged, network, seed))
    risks = {problem.name: {"true": problem.risk} | gather(measured[problem.name]) for problem in problems}
    distances = {}
    for distance in track((0.5, 1.0, 1.5, 2.0, 2.5, 3.0), "distances"):
        torch.manual_seed(0)
        distances[distance] = gather([distance_errors(line(distance, 0.0, 1.0)) for _ in range(arguments.seeds)])

    keys = {"correlation": "correlation", "slope": "slope", "rmse": "RMSE", "ess": "ESS"}
    rows = [[name, *(show(r[key]) for key in keys)] for name, r in risks.items()]
    table("The logit and log p/g, on held-out real points; effective sample size", ["", *keys.values()], rows)
    columns = ["unweighted", "clipped", "weighted", "by 8, own mean", "by 8, log_mean"]
    rows = [[name, f"{r['true']:.3f}", *(show(r[key]) for key in columns)] for name, r in risks.items()]
    table("Risk from synthetic points", ["", "true risk", *columns], rows)
    table("Risk on real images of a network trained on", list(tasks[0]), [[show(v) for v in gather(tasks).values()]])
    counts = gather(unequal)
    row = [f"{flat.risk:.3f}", *map(show, counts.values())]
    table("Four synthetic points for each real one: unnormalised risk", ["true risk", *counts], [row])
    rows = []
    for name, runs in (("trained, logits times 3", exaggerated), ("2000 images by heart", overfitted)):
        for step, label in enumerate(("as it is", "calibrated")):
            r = gather([run[step] for run in runs])
            found = show(r["temperature"], 2) if step else "1"
            rows.append([f"{name}: {label}", found, *(show(r[key]) for key in keys), show(r["weighted"])])
    table(f"Images, true risk {imaged.risk:.3f}", ["", "T", *keys.values(), "weighted risk"], rows)
    rows = [
        [f"{distance}", f"{math.exp(-(distance**2)):.4f}", *(f"{sum(v) / len(v):.3f}" for v in runs.values())]
        for distance, runs in distances.items()
    ]
    table("As p leaves g: relative errors", ["distance", "ESS, exact", *distances[1.0]], rows)
    if arguments.plot:
        points = torch.cat([imaged.p.sample((1500,)), imaged.g.sample((1500,))])
        plot(arguments.plot, (imaged.log_ratio(points), network(points)), risks, distances)


if __name__ == "__main__":
    main()
