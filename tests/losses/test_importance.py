import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleosynth.losses import clipped_share, effective_sample_size, importance_weights, log_mean_weight

LOG3 = math.log(3)

logits = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=12).map(torch.tensor)
extreme = st.lists(
    st.one_of(st.floats(-1e4, 1e4, width=32), st.sampled_from([math.inf, -math.inf])), min_size=1, max_size=12
).map(torch.tensor)
bounds = st.tuples(st.floats(0, 1), st.floats(1, 100))


def test_equation_5_by_hand():
    # D = 1/4, 1/2 and 3/4: odds of 1/3, 1 and 3.
    values = torch.tensor([-LOG3, 0, LOG3])
    torch.testing.assert_close(importance_weights(values, normalize=False), torch.tensor([1 / 3, 1, 3]))
    torch.testing.assert_close(importance_weights(values, 6, normalize=False), torch.tensor([2.0, 6, 18]))
    torch.testing.assert_close(importance_weights(values), torch.tensor([1 / 3, 1, 3]) / (13 / 9))


def test_a_temperature_softens():
    weights = importance_weights(torch.tensor([0, 2 * LOG3]), temperature=2, normalize=False)
    torch.testing.assert_close(weights, torch.tensor([1.0, 3.0]))


def test_clipping_is_relative_to_the_mean_and_keeps_it():
    values = torch.tensor([1.0, 1.0, 1.0, 5.0]).log()  # normalised: 0.5 three times, and 2.5
    clipped = importance_weights(values, clip=(0.75, 2))
    torch.testing.assert_close(clipped, torch.tensor([0.75, 0.75, 0.75, 2]) / 1.0625)


def test_unnormalised_weights_are_clipped_as_they_are():
    values = torch.tensor([0.1, 1.0, 10.0]).log()
    clipped = importance_weights(values, clip=(0.5, 2), normalize=False)
    torch.testing.assert_close(clipped, torch.tensor([0.5, 1, 2]))


def test_a_lower_bound_of_0_is_none():
    assert importance_weights(torch.tensor([-math.inf, 0.0]), clip=(0, 5)).tolist() == [0, 2]


@settings(deadline=None, derandomize=True)
@given(logits)
def test_normalised_weights_have_a_mean_of_1(values):
    assert importance_weights(values).mean().item() == pytest.approx(1, rel=1e-4)
    assert importance_weights(values, clip=(0.2, 5)).mean().item() == pytest.approx(1, rel=1e-4)


@settings(deadline=None, derandomize=True)
@given(logits, st.floats(-20, 20), st.floats(0.01, 100))
def test_a_constant_and_the_ratio_cancel_when_normalised(values, constant, ratio):
    torch.testing.assert_close(
        importance_weights(values + constant, ratio), importance_weights(values), rtol=1e-3, atol=1e-6
    )


@settings(deadline=None, derandomize=True)
@given(extreme, st.booleans(), st.none() | bounds)
def test_weights_are_in_the_order_of_the_logits(values, normalize, clip):
    weights = importance_weights(values, normalize=normalize, clip=clip)
    assert (weights[values.argsort()].diff() >= 0).all()


@settings(deadline=None, derandomize=True)
@given(extreme, st.booleans(), st.none() | bounds, st.none() | st.floats(-50, 50), st.floats(0.05, 20))
def test_weights_are_finite_whatever_the_logits(values, normalize, clip, log_mean, temperature):
    weights = importance_weights(
        values, temperature=temperature, clip=clip, normalize=normalize, log_mean=log_mean if normalize else None
    )
    assert weights.isfinite().all()
    assert (weights >= 0).all()


@settings(deadline=None, derandomize=True)
@given(extreme, bounds, st.floats(-5, 5))
def test_bounds_hold(values, clip, log_mean):
    low, high = (torch.tensor(bound) for bound in clip)
    for how in ({"log_mean": log_mean}, {"normalize": False}):
        weights = importance_weights(values, clip=clip, **how)
        assert (weights >= low).all()
        assert (weights <= high).all()
    weights = importance_weights(values, clip=clip)
    assert weights.max() * low <= weights.min() * high * (1 + 1e-5)


@pytest.mark.parametrize("value", [-math.inf, -1e4, 0.0, 1e4, math.inf])
def test_equal_logits_have_equal_weights(value):
    assert importance_weights(torch.full((3,), value)).tolist() == [1, 1, 1]


def test_all_weight_goes_to_the_only_realistic_patch():
    assert importance_weights(torch.tensor([-math.inf, 2.0, -math.inf])).tolist() == [0, 3, 0]
    assert importance_weights(torch.tensor([1e4, -1e4])).tolist() == [2, 0]


def test_small_batches_normalised_by_a_large_set_agree_with_it(rng):
    values = torch.from_numpy(rng.normal(size=64)).float()
    log_mean = log_mean_weight(values, ratio=2, temperature=1.5)
    batches = [importance_weights(batch, 2, temperature=1.5, log_mean=log_mean) for batch in values.split(8)]
    torch.testing.assert_close(torch.cat(batches), importance_weights(values, 2, temperature=1.5))


@settings(deadline=None, derandomize=True)
@given(logits, st.floats(0.01, 100))
def test_the_log_mean_is_that_of_the_weights(values, ratio):
    mean = importance_weights(values, ratio, normalize=False).double().mean().log().item()
    assert log_mean_weight(values, ratio) == pytest.approx(mean, abs=1e-3)


def test_the_log_mean_does_not_overflow():
    assert log_mean_weight(torch.tensor([1e4, 1e4])) == pytest.approx(1e4)


def test_weights_are_constants():
    values = torch.zeros(3, requires_grad=True)
    assert not importance_weights(values).requires_grad


def test_half_precision_is_computed_in_float32():
    values = torch.tensor([0.5, -1.0], dtype=torch.bfloat16)
    torch.testing.assert_close(importance_weights(values), importance_weights(values.float()))


@pytest.mark.parametrize(
    ("weights", "expected"),
    [([2, 2, 2], 1), ([1, 0, 0, 0], 1 / 4), ([1, 3], 16 / 20), ([0, 0], 0), ([3e38, 3e38], 1), ([1e-38, 1e-38], 1)],
)
def test_effective_sample_size_by_hand(weights, expected):
    assert effective_sample_size(torch.tensor(weights, dtype=torch.float32)) == pytest.approx(expected)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 1e30), min_size=1, max_size=20).filter(lambda weights: max(weights) > 1e-30))
def test_effective_sample_size_is_a_share(weights):
    share = effective_sample_size(torch.tensor(weights))
    assert 1 / len(weights) * (1 - 1e-5) <= share <= 1 + 1e-5


@settings(deadline=None, derandomize=True)
@given(st.floats(1e-30, 1e30), st.integers(2, 20), st.floats(0, 0.9))
def test_only_equal_weights_are_worth_all_examples(weight, n, factor):
    weights = torch.full((n,), weight)
    assert effective_sample_size(weights) == pytest.approx(1)
    weights[0] *= factor
    assert effective_sample_size(weights) < 1 - 1e-4


def test_clipping_raises_the_effective_sample_size(rng):
    values = torch.from_numpy(3 * rng.normal(size=500)).float()
    plain, clipped = importance_weights(values), importance_weights(values, clip=(0.2, 5))
    assert effective_sample_size(plain) < effective_sample_size(clipped)


def test_clipped_share_by_hand():
    weights = torch.tensor([0.1, 0.2, 1.0, 5.0, 6.0])
    assert clipped_share(weights, (0.2, 5)) == pytest.approx(2 / 5)
    assert clipped_share(weights, (0, 5)) == pytest.approx(1 / 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ratio": 0}, "ratio must be positive and finite, got 0"),
        ({"temperature": -1}, "temperature must be positive and finite, got -1"),
        ({"temperature": math.inf}, "temperature must be positive and finite, got inf"),
        ({"clip": (2, 3)}, r"clip must be finite bounds around 1, none negative, got \(2, 3\)"),
        ({"clip": (-1, 3)}, "clip must be finite bounds"),
        ({"clip": (0.1, math.inf)}, "clip must be finite bounds"),
        ({"log_mean": 0.5, "normalize": False}, "log_mean must be None if normalize is False, got 0.5"),
    ],
)
def test_wrong_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        importance_weights(torch.zeros(2), **arguments)


def test_wrong_weights_are_refused():
    with pytest.raises(ValueError, match="weights must not be negative, got -1"):
        effective_sample_size(torch.tensor([1.0, -1.0]))
    with pytest.raises(ValueError, match=r"weights must have shape \(n,\), one for each example, got \(2, 1\)"):
        clipped_share(torch.ones(2, 1), (0.2, 5))
    with pytest.raises(ValueError, match=r"logits must have shape \(B,\)"):
        importance_weights(torch.zeros(2, 1))
