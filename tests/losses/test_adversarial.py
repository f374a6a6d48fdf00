import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleosynth.losses import DiscriminatorLoss, RealismLoss

LOG3 = math.log(3)  # logit of D = 3/4


def minimise(loss, *starts):
    """Logits at the minimum of a convex loss."""
    logits = [start.clone().requires_grad_() for start in starts]
    optimizer = torch.optim.LBFGS(logits, max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss(*logits)
        value.backward()
        return value

    optimizer.step(closure)
    return [values.detach() for values in logits]


def test_realism_of_known_probabilities():
    logits = torch.tensor([LOG3, -LOG3])  # D = 3/4 and 1/4
    assert RealismLoss()(logits).item() == pytest.approx(-(math.log(3 / 4) + math.log(1 / 4)) / 2)
    assert RealismLoss(saturating=True)(logits).item() == pytest.approx((math.log(1 / 4) + math.log(3 / 4)) / 2)


@pytest.mark.parametrize("saturating", [False, True])
@settings(deadline=None, derandomize=True)
@given(logit=st.floats(-1e4, 1e4, width=32))
def test_realism_falls_with_the_logit_and_stays_finite(saturating, logit):
    logits = torch.tensor([logit], requires_grad=True)
    loss = RealismLoss(saturating)(logits)
    loss.backward()
    assert loss.isfinite()
    assert -1 <= logits.grad.item() <= 0


def test_only_the_saturating_loss_has_no_gradient_while_the_discriminator_wins():
    for saturating, gradient in ((False, -1.0), (True, 0.0)):
        logits = torch.tensor([-100.0], requires_grad=True)
        RealismLoss(saturating)(logits).backward()
        assert logits.grad.item() == pytest.approx(gradient, abs=1e-6)


@pytest.mark.parametrize(("saturating", "at_minus_100", "at_100"), [(False, 100, 0), (True, 0, -100)])
def test_realism_is_exact_where_probabilities_are_rounded(saturating, at_minus_100, at_100):
    loss = RealismLoss(saturating)
    assert loss(torch.tensor([-100.0])).item() == pytest.approx(at_minus_100)
    assert loss(torch.tensor([100.0])).item() == pytest.approx(at_100)


def test_the_discriminators_loss_of_known_probabilities():
    real, synthetic = torch.tensor([LOG3, LOG3]), torch.tensor([0.0])
    assert DiscriminatorLoss()(real, synthetic).item() == pytest.approx(-math.log(3 / 4) - math.log(1 / 2))


def test_mismatched_pairs_count_as_not_real():
    real, synthetic, mismatched = torch.tensor([0.0]), torch.tensor([0.0]), torch.tensor([LOG3])
    loss = DiscriminatorLoss(mismatched=0.5)(real, synthetic, mismatched)
    assert loss.item() == pytest.approx(2 * math.log(2) - 0.5 * math.log(1 / 4))
    assert DiscriminatorLoss()(real, synthetic, mismatched).item() == pytest.approx(2 * math.log(2))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 5), st.integers(1, 5))
def test_the_numbers_of_patches_do_not_matter(n_real, n_synthetic):
    real, synthetic = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])
    repeated = DiscriminatorLoss()(real.repeat(n_real), synthetic.repeat(n_synthetic))
    assert repeated.item() == pytest.approx(DiscriminatorLoss()(real, synthetic).item(), rel=1e-5)


@pytest.mark.parametrize("extreme", [100.0, -100.0, 1e4, -1e4])
def test_the_discriminators_loss_and_gradient_stay_finite(extreme):
    logits = [torch.tensor([extreme, 0.0], requires_grad=True) for _ in range(3)]
    loss = DiscriminatorLoss(mismatched=1.0)(*logits)
    loss.backward()
    assert loss.isfinite()
    assert all(values.grad.isfinite().all() for values in logits)


def test_the_optimum_is_the_log_density_ratio():
    # Three kinds of patches: how often each is real, synthetic, and a mismatched pair.
    p, g, q = torch.tensor([6, 3, 1]), torch.tensor([2, 3, 5]), torch.tensor([1, 8, 1])
    kinds = torch.arange(3)

    def loss(m):
        def of(logits):
            return DiscriminatorLoss(m)(*(logits[kinds.repeat_interleave(n)] for n in (p, g, q)))

        return of

    for m in (0.0, 0.5):
        (logits,) = minimise(loss(m), torch.zeros(3))
        torch.testing.assert_close(logits, (p / (g + m * q)).log(), atol=1e-3, rtol=0)


def test_half_precision_is_computed_in_float32():
    logits = torch.tensor([1.0, 2.0], dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        losses = RealismLoss()(logits), DiscriminatorLoss()(logits, logits)
    assert [loss.dtype for loss in losses] == [torch.float32] * 2
    assert losses[0].item() == pytest.approx(RealismLoss()(logits.float()).item(), rel=1e-6)


def test_a_weight_without_mismatched_pairs_is_refused():
    with pytest.raises(ValueError, match=r"mismatched_logits must be given, since mismatched is 0\.5"):
        DiscriminatorLoss(0.5)(torch.zeros(2), torch.zeros(2))


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="mismatched must not be negative, got -1"):
        DiscriminatorLoss(-1)


@pytest.mark.parametrize("shape", [(4, 1), (0,), ()])
def test_logits_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"synthetic_logits must have shape \(B,\), one for each patch, got \("):
        DiscriminatorLoss()(torch.zeros(4), torch.zeros(shape))
    with pytest.raises(ValueError, match=r"logits must have shape \(B,\)"):
        RealismLoss()(torch.zeros(shape))
