"""Does a discriminator give importance weights, and is the weighted loss that of real data (paper, section 3)?

    python benchmarks/importance_weights.py [--seeds 10] [--plot FILE]

On distributions p (real) and g (synthetic) whose ratio is known in closed form: Gaussians, and noise images that show a
blob of random contrast. Every seed trains its own discriminator with ``DiscriminatorLoss``; what is measured is measured
on points that it never saw. Prints the tables of docs/importance_weights.md.
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

SIDE = 12
HELD_OUT = 20_000
AdversarialLoss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Problem:
    """Two distributions over (n, d) points, and a loss of which the mean under p, the risk, is sought.

    Attributes:
        p: real data.
        g: synthetic data.
        loss: of each point, shape (n,).
        risk: mean loss under p; None if it has to be found with many samples.
        network: builds an untrained discriminator, (n, d) to logits (n,).
        steps: of training.
    """

    name: str
    p: Distribution
    g: Distribution
    loss: Callable[[Tensor], Tensor]
    risk: float | None
    network: Callable[[], nn.Module]
    steps: int

    def log_ratio(self, points: Tensor) -> Tensor:
        return self.p.log_prob(points) - self.g.log_prob(points)

    def true_risk(self) -> float:
        if self.risk is not None:
            return self.risk
        torch.manual_seed(12345)
        return torch.stack([self.loss(self.p.sample((50_000,))).mean() for _ in range(10)]).mean().item()


def gaussian(mean: list[float], covariance: list[list[float]]) -> Distribution:
    return MultivariateNormal(torch.tensor(mean), torch.tensor(covariance))


def blob() -> Tensor:
    """A bump of height 1 in the middle of an image, shape (SIDE, SIDE)."""
    offset = torch.arange(SIDE) - (SIDE - 1) / 2
    return torch.exp(-(offset[:, None] ** 2 + offset**2) / 18)


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


def dense(d: int) -> nn.Module:
    return nn.Sequential(nn.Linear(d, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1), nn.Flatten(0))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, SIDE, SIDE)),
        nn.Conv2d(1, 8, 4, stride=2),
        nn.SiLU(),
        nn.Conv2d(8, 16, 3, stride=2),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(64, 32),
        nn.SiLU(),
        nn.Linear(32, 1),
        nn.Flatten(0),
    )


PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem(
            "Gaussians, 1-D",
            gaussian([0.0], [[1.0]]),
            gaussian([1.0], [[2.25]]),
            lambda x: x.square().sum(1),
            1.0,
            lambda: dense(1),
            400,
        ),
        Problem(
            "Gaussians, 2-D",
            gaussian([0.5, -0.5], [[1.0, 0.6], [0.6, 1.0]]),
            gaussian([0.0, 0.0], [[2.25, 0.0], [0.0, 2.25]]),
            lambda x: (x[:, 0] - x[:, 1]).square(),
            1.8,
            lambda: dense(2),
            800,
        ),
        Problem("images, 12x12", images(1.0, 0.2), images(0.7, 0.3), threshold_loss, None, convolutional, 600),
    )
}


def pooled_cross_entropy(real: Tensor, synthetic: Tensor) -> Tensor:
    """Cross-entropy over all patches at once, in which the more numerous kind counts for more: c of Eq. 5 is not 1."""
    labels = torch.cat([torch.ones_like(real), torch.zeros_like(synthetic)])
    return binary_cross_entropy_with_logits(torch.cat([real, synthetic]), labels)


def train_discriminator(
    problem: Problem, loss: AdversarialLoss | None = None, real: int = 256, synthetic: int = 256
) -> nn.Module:
    """A discriminator trained on batches of so many new points each."""
    loss = DiscriminatorLoss() if loss is None else loss
    network = problem.network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, problem.steps)
    for _ in range(problem.steps):
        optimizer.zero_grad()
        loss(network(problem.p.sample((real,))), network(problem.g.sample((synthetic,)))).backward()
        optimizer.step()
        schedule.step()
    return network.eval().requires_grad_(False)


def overfitted_discriminator(problem: Problem, n: int) -> nn.Module:
    """A discriminator that sees the same n real and n synthetic points again and again, and begins to know them by heart."""
    real, synthetic = problem.p.sample((n,)), problem.g.sample((n,))
    network = problem.network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for _ in range(problem.steps):
        optimizer.zero_grad()
        some = torch.randint(n, (2, 128))
        DiscriminatorLoss()(network(real[some[0]]), network(synthetic[some[1]])).backward()
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
        "log mean": log_mean_weight(logits),
        "unweighted": losses.mean().item(),
        "weighted": weighted_mean(losses, importance_weights(logits)).item(),
        "clipped": weighted_mean(losses, importance_weights(logits, clip=(0.2, 2))).item(),
    }


def calibrate(problem: Problem, n: int) -> dict[str, float]:
    """An overfitted discriminator before and after the temperature that held-out points suggest."""
    network = overfitted_discriminator(problem, n)
    temperature = calibrate_temperature(network(problem.p.sample((2000,))), network(problem.g.sample((2000,))))
    real, synthetic = problem.p.sample((HELD_OUT,)), problem.g.sample((HELD_OUT,))
    result = {"temperature": temperature}
    for when, t in (("before", 1.0), ("after", temperature)):
        weights = importance_weights(network(synthetic), temperature=t)
        result |= {
            f"{key} {when}": value for key, value in agreement(network(real) / t, problem.log_ratio(real)).items()
        }
        result[f"ess {when}"] = effective_sample_size(weights)
        result[f"weighted {when}"] = weighted_mean(problem.loss(synthetic), weights).item()
    return result


def unequal_numbers(problem: Problem, c: int) -> dict[str, float]:
    """Unnormalised weighted risk from c synthetic points for each real one: of Eq. 5, and with c left out."""
    pooled = train_discriminator(problem, pooled_cross_entropy, real=128, synthetic=128 * c)
    apart = train_discriminator(problem, DiscriminatorLoss(), real=128, synthetic=128 * c)
    points = problem.g.sample((HELD_OUT,))

    def risk(network: nn.Module, ratio: float) -> float:
        weights = importance_weights(network(points), ratio, normalize=False)
        return weighted_mean(problem.loss(points), weights).item()

    return {"pooled, ratio=c": risk(pooled, c), "pooled, ratio=1": risk(pooled, 1), "apart, ratio=1": risk(apart, 1)}


def train_task(
    problem: Problem, source: Distribution, weigh: Callable[[Tensor], Tensor | None], seed: int, steps: int = 300
) -> float:
    """Risk under p of a small task network that learnt from points of ``source``: a threshold on the colour of a pixel.

    So small a network cannot be right about all images, and has to choose which to be right about.
    """
    torch.manual_seed(seed)
    network = nn.Conv2d(1, 2, 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
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


def shifted(shift: float) -> Problem:
    """Real data that moves away from the synthetic: the exact effective sample size is exp(-shift^2)."""
    return Problem(
        f"{shift}",
        gaussian([shift], [[1.0]]),
        gaussian([0.0], [[1.0]]),
        lambda x: x.square().sum(1),
        1 + shift**2,
        lambda: dense(1),
        400,
    )


def apart(problem: Problem, n: int = 2000, repeats: int = 10) -> dict[str, float]:
    """Relative root mean square errors of risks, each estimated from n synthetic points with one discriminator."""
    network, risk = train_discriminator(problem), problem.true_risk()
    errors: dict[str, list[float]] = {}
    share = 0.0
    for _ in range(repeats):
        points = problem.g.sample((n,))
        logits, losses = network(points), problem.loss(points)
        share += effective_sample_size(importance_weights(logits)) / repeats
        for name, weights in (
            ("unweighted", None),
            ("weighted", importance_weights(logits)),
            ("clipped", importance_weights(logits, clip=(0.2, 5))),
            ("exact ratio", importance_weights(problem.log_ratio(points))),
        ):
            errors.setdefault(name, []).append(weighted_mean(losses, weights).item() / risk - 1)
    return {"ess": share} | {name: torch.tensor(e).square().mean().sqrt().item() for name, e in errors.items()}


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


def plot(path: Path, logits: tuple[Tensor, Tensor], risks: dict[str, dict], shifts: dict[float, dict]) -> None:
    """What discriminators learn, what weights do to the risk, and where they fail."""
    figure, (ratio, risk, error) = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    true, learned = logits
    ratio.plot(true, learned, ".", ms=2, alpha=0.35)
    ends = [true.min().item(), true.max().item()]
    ratio.plot(ends, ends, color="black", lw=1)
    ratio.set(title="what the discriminator learns (images)", xlabel="exact log p/g", ylabel="logit")
    for number, (key, label) in enumerate(
        (("unweighted", "unweighted"), ("clipped", "clipped to 0.2 ... 2"), ("weighted", "weighted"))
    ):
        for place, runs in enumerate(risks.values()):
            relative = torch.tensor(runs[key]) / runs["true"]
            where = place + (number - 1) * 0.2 + torch.linspace(-0.06, 0.06, len(relative))
            risk.plot(where, relative, ".", ms=5, color=f"C{number}", label=label if place == 0 else None)
    risk.axhline(1, color="black", lw=1)
    risk.set_yscale("log")
    risk.set_yticks([0.9, 1, 1.5, 2, 3], ["0.9", "1", "1.5", "2", "3"])
    risk.minorticks_off()
    risk.set_xticks(range(len(risks)), list(risks))
    risk.set(title="mean loss of synthetic data / of real data")
    risk.legend(frameon=False, fontsize=9)
    for key, style in (("unweighted", "C0"), ("clipped", "C1"), ("weighted", "C2")):
        label = {"clipped": "clipped to 0.2 ... 5"}.get(key, key)
        error.plot(
            list(shifts),
            [sum(runs[key]) / len(runs[key]) for runs in shifts.values()],
            "o-",
            ms=4,
            color=style,
            label=label,
        )
    error.plot(
        list(shifts),
        [sum(runs["ess"]) / len(runs["ess"]) for runs in shifts.values()],
        "k--",
        lw=1,
        label="effective sample size",
    )
    error.set_yscale("log")
    error.set(
        title="relative error of the mean loss, as p leaves g", xlabel="distance of the means [standard deviations]"
    )
    error.legend(frameon=False, fontsize=9)
    for axis in (ratio, risk, error):
        axis.spines[["top", "right"]].set_visible(False)
        axis.title.set_fontsize(10)
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="discriminators for each problem")
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    # Networks this small are slower on many cores.
    torch.set_num_threads(1)
    plane, pictures = PROBLEMS["Gaussians, 2-D"], PROBLEMS["images, 12x12"]
    risks: dict[str, dict] = {name: {"true": problem.true_risk()} for name, problem in PROBLEMS.items()}
    measured: dict[str, list] = {}
    tasks = []
    for seed in track(range(arguments.seeds), "discriminators"):
        for name, problem in PROBLEMS.items():
            torch.manual_seed(seed)
            network = train_discriminator(problem)
            measured.setdefault(name, []).append(measure(problem, network))
        tasks.append(train_tasks(pictures, network, seed))
    example = torch.cat([pictures.p.sample((1500,)), pictures.g.sample((1500,))])
    logits = pictures.log_ratio(example), network(example)
    for name, runs in measured.items():
        risks[name] |= gather(runs)
    others: dict[str, list] = {"c": [], plane.name: [], pictures.name: []}
    for seed in track(range(arguments.seeds), "unequal numbers, overfitting"):
        torch.manual_seed(seed)
        others["c"].append(unequal_numbers(plane, 4))
        others[plane.name].append(calibrate(plane, 200))
        others[pictures.name].append(calibrate(pictures, 1000))
    shifts = {}
    for shift in track((0.5, 1.0, 1.5, 2.0, 2.5, 3.0), "shifts"):
        torch.manual_seed(0)
        shifts[shift] = gather([apart(shifted(shift)) for _ in range(arguments.seeds)])

    rows = []
    for name, r in risks.items():
        cells = [show(r[k]) for k in ("correlation", "slope", "rmse", "ess")]
        rows.append([name, *cells, f"{r['true']:.3f}", *(show(r[k]) for k in ("unweighted", "clipped", "weighted"))])
    columns = [
        "",
        "correlation with log p/g",
        "slope",
        "RMSE",
        "ESS",
        "true risk",
        "unweighted",
        "clipped to 0.2 ... 2",
        "weighted",
    ]
    table("Density ratio and risk", columns, rows)
    table("A task network's risk on real images", list(tasks[0]), [[show(v) for v in gather(tasks).values()]])
    counts = gather(others["c"])
    table(
        "Four synthetic patches for each real one, 2-D",
        ["true risk", *counts],
        [[f"{plane.true_risk():.3f}", *map(show, counts.values())]],
    )
    rows = []
    for name in (plane.name, pictures.name):
        r = gather(others[name])
        for when in ("before", "after"):
            t = show(r["temperature"], 1) if when == "after" else "1"
            cells = [show(r[f"{k} {when}"]) for k in ("correlation", "slope", "rmse", "ess", "weighted")]
            rows.append([name, t, *cells, f"{risks[name]['true']:.3f}"])
    table(
        "Overfitted discriminators",
        ["", "T", "correlation", "slope", "RMSE", "ESS", "weighted risk", "true risk"],
        rows,
    )
    rows = [
        [f"{shift}", f"{math.exp(-(shift**2)):.4f}", *(f"{sum(v) / len(v):.3f}" for v in runs.values())]
        for shift, runs in shifts.items()
    ]
    table("As p leaves g: relative errors", ["distance", "ESS, exact", *next(iter(shifts.values()))], rows)
    if arguments.plot:
        plot(arguments.plot, logits, risks, shifts)


if __name__ == "__main__":
    main()
