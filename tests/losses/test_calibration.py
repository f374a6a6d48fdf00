import math

import pytest
import torch

from nucleosynth.losses import calibrate_temperature


@pytest.fixture
def gaussians():
    """True log-ratios log p/g of samples of p = N(1, 1) and of g = N(-1, 1): they are 2x."""
    generator = torch.Generator().manual_seed(0)
    real, synthetic = torch.randn(2, 20_000, generator=generator)
    return 2 * (real + 1), 2 * (synthetic - 1)


def test_true_log_ratios_need_no_temperature(gaussians):
    assert calibrate_temperature(*gaussians) == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize("factor", [0.3, 3, 10])
def test_the_factor_of_exaggerated_logits_is_found(gaussians, factor):
    real, synthetic = gaussians
    assert calibrate_temperature(real * factor, synthetic * factor) == pytest.approx(factor, rel=0.03)


def test_the_numbers_of_patches_do_not_matter(gaussians):
    real, synthetic = gaussians
    repeated = calibrate_temperature(real.repeat(5), synthetic)
    assert repeated == pytest.approx(calibrate_temperature(real, synthetic), rel=1e-4)


def test_the_ratio_is_taken_into_account(gaussians):
    # A cross-entropy over all patches, 8 synthetic ones for each real one, gives log p/g - log 8; here 3 times that.
    real, synthetic = (3 * (values - math.log(8)) for values in gaussians)
    assert calibrate_temperature(real, synthetic, ratio=8) == pytest.approx(3, rel=0.03)
    assert calibrate_temperature(real, synthetic) != pytest.approx(3, rel=0.3)


def test_the_minimum_by_hand():
    # 3 of 4 are right, so the odds are 3 and the logit log 3.
    right = torch.tensor([6.0, 6.0, 6.0, -6.0])
    assert calibrate_temperature(right, -right) == pytest.approx(6 / math.log(3), rel=1e-4)


def test_logits_that_say_nothing_are_flattened():
    logits = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert calibrate_temperature(logits, logits) == 20
    assert calibrate_temperature(torch.tensor([-1.0]), torch.tensor([1.0])) == 20
    assert calibrate_temperature(torch.full((3,), 5.0), torch.full((3,), 5.0)) == 20


def test_logits_of_0_are_left_alone():
    assert calibrate_temperature(torch.zeros(3), torch.zeros(4)) == 1


@pytest.mark.parametrize("logit", [0.1, 10.0, 1e4])
def test_perfect_separation_ends_at_the_lower_bound(logit):
    real = torch.full((10,), logit)
    assert calibrate_temperature(real, -real) == 0.05
    assert calibrate_temperature(real, -real, bounds=(1, 20)) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratio": 0}, "ratio must be positive and finite, got 0"),
        ({"bounds": (2, 1)}, r"bounds must be two positive numbers, the smaller first, got \(2, 1\)"),
        ({"bounds": (0, 1)}, "bounds must be two positive numbers"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        calibrate_temperature(torch.ones(2), torch.ones(2), **settings)


def test_wrong_logits_are_refused():
    with pytest.raises(ValueError, match="synthetic_logits must be finite, got inf"):
        calibrate_temperature(torch.ones(2), torch.tensor([1.0, math.inf]))
    with pytest.raises(ValueError, match=r"real_logits must have shape \(B,\), one for each patch, got \(0,\)"):
        calibrate_temperature(torch.ones(0), torch.ones(2))
