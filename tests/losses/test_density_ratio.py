"""The proof of section 3 of the paper, with the experiments of ``benchmarks/importance_weights.py``, seeds fixed.

Distributions p (real) and g (synthetic) are known, so what a discriminator learns is held against log p/g, and the
weighted mean loss of samples of g against the mean loss under p.
"""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from nucleosynth.losses import effective_sample_size, importance_weights

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "importance_weights.py"
SEEDS = 5

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("importance_weights_benchmark", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield module
    torch.set_num_threads(threads)
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def problems(study):
    return {"1-D": study.line(0.0, 1.0, 1.5), "2-D": study.plane(), "images": study.pictures()}


@pytest.fixture(scope="module")
def discriminators(study, problems):
    """Trained discriminators of each problem, each from its own seed; made when they are first asked for."""
    made = {}

    def of(name):
        if name not in made:
            made[name] = []
            for seed in range(SEEDS):
                torch.manual_seed(seed)
                made[name].append(study.train_discriminator(problems[name]))
        return made[name]

    return of


@pytest.fixture(scope="module")
def measured(study, problems, discriminators):
    """What is measured about a problem's discriminators: for each quantity its value for every seed."""
    found = {}

    def of(name):
        if name not in found:
            torch.manual_seed(100)
            found[name] = study.gather([study.measure(problems[name], network) for network in discriminators(name)])
        return found[name]

    return of


@pytest.fixture(params=["1-D", "2-D", "images"])
def name(request):
    return request.param


def test_the_logit_is_the_log_density_ratio(measured, name):
    found = measured(name)
    assert min(found["correlation"]) > 0.99
    assert found["slope"] == pytest.approx([1] * SEEDS, abs=0.06)
    assert max(found["rmse"]) < 0.12


def test_the_weighted_risk_is_that_of_real_data_and_the_unweighted_is_not(study, problems, measured, name):
    found, risk = measured(name), problems[name].risk
    mean, half = study.interval(found["weighted"], level=0.99)
    assert mean == pytest.approx(risk, abs=half)
    # The interval is no excuse: it is narrow itself.
    assert half < 0.04 * risk
    mean, half = study.interval(found["unweighted"], level=0.99)
    assert abs(mean - risk) > 5 * half


def test_clipping_lies_between_the_two(measured, name):
    found = {key: torch.tensor(values).mean() for key, values in measured(name).items()}
    assert sorted(found[k] for k in ("unweighted", "clipped", "weighted"))[1] == found["clipped"]


def test_small_batches_are_unbiased_only_by_the_mean_of_a_large_set(study, problems, discriminators):
    problem = problems["2-D"]
    torch.manual_seed(0)
    found = study.gather([study.by_eights(problem, network) for network in discriminators("2-D")])
    mean, half = study.interval(found["by 8, log_mean"], level=0.99)
    assert mean == pytest.approx(problem.risk, abs=half)
    assert half < 0.06 * problem.risk
    mean, half = study.interval(found["by 8, own mean"], level=0.99)
    assert mean > problem.risk + half


def test_a_network_trained_on_weighted_synthetic_data_is_as_good_as_one_trained_on_real_data(
    study, problems, discriminators
):
    runs = [study.train_tasks(problems["images"], d, seed) for seed, d in enumerate(discriminators("images")[:2])]
    for run in runs:
        assert run["synthetic, weighted"] == pytest.approx(run["real"], rel=0.02)
        assert run["synthetic"] > 1.05 * run["real"]


def test_unequal_numbers_need_the_ratio_unless_the_loss_has_evened_them_out(study, problems):
    torch.manual_seed(0)
    problem = problems["1-D"]
    found = study.gather([study.unequal_numbers(problem, 4) for _ in range(SEEDS)])
    for right in ("pooled, ratio=c", "apart, ratio=1"):
        mean, half = study.interval(found[right], level=0.99)
        assert mean == pytest.approx(problem.risk, abs=half)
        assert half < 0.12 * problem.risk
    assert found["pooled, ratio=1"] == pytest.approx([problem.risk / 4] * SEEDS, rel=0.15)


def test_the_temperature_repairs_exaggerated_logits(study, problems, discriminators):
    problem = problems["images"]
    torch.manual_seed(0)
    runs = [study.calibrate(problem, lambda points, d=d: 3 * d(points)) for d in discriminators("images")]
    before, after = (study.gather([run[step] for run in runs]) for step in (0, 1))
    assert after["temperature"] == pytest.approx([3] * SEEDS, rel=0.15)
    mean, half = study.interval(before["weighted"], level=0.99)
    assert abs(mean - problem.risk) > 2 * half
    mean, half = study.interval(after["weighted"], level=0.99)
    assert mean == pytest.approx(problem.risk, abs=half)
    assert half < 0.02 * problem.risk
    assert max(after["rmse"]) < 0.15 < min(before["rmse"])


def test_the_temperature_softens_a_discriminator_that_knows_its_images_by_heart(study, problems):
    problem = problems["images"]
    for seed in range(2):
        torch.manual_seed(seed)
        before, after = study.calibrate(problem, study.overfitted_discriminator(problem, 2000))
        assert after["temperature"] > 2
        assert after["rmse"] < 0.5 * before["rmse"]
        assert before["ess"] < 0.05
        assert after["ess"] > 0.2
        assert abs(after["weighted"] - problem.risk) < abs(before["weighted"] - problem.risk)
        # It repairs the scale and not the order.
        assert after["correlation"] == pytest.approx(before["correlation"], abs=0.05)
        assert after["correlation"] < 0.7


def test_the_effective_sample_size_of_shifted_gaussians_is_known():
    torch.manual_seed(0)
    for shift, expected in ((0.5, 0.7788), (1.0, 0.3679)):  # exp(-shift^2)
        points = torch.randn(200_000)
        weights = importance_weights(shift * points - shift**2 / 2)
        assert effective_sample_size(weights) == pytest.approx(expected, rel=0.02)
