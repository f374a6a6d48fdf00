import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nucleosynth.engines import Learner
from nucleosynth.engines.learner import frozen


def line(weight=0.0):
    """y = w x, without a bias: its gradient for the loss y is x."""
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(weight)
    return network


def learner(network, lr=1.0, **arguments):
    return Learner(network, torch.optim.SGD(network.parameters(), lr), nn.MSELoss(), **arguments)


def push(each, slope):
    """Take a step whose gradient is the slope; returns its norm."""
    each.network(torch.full((1, 1), float(slope))).sum().backward()
    return each.step()


def test_a_step_follows_the_gradient_and_forgets_it():
    each = learner(line(5.0), lr=0.5)
    assert push(each, 4) == 4
    assert each.network.weight.item() == 5 - 0.5 * 4
    assert each.network.weight.grad is None
    push(each, -2)
    assert each.network.weight.item() == 3 + 0.5 * 2


def test_the_average_by_hand():
    """It begins with the parameters after the first step; then each step moves it by 1 - decay towards the new ones."""
    each = learner(line(0.0), ema_decay=0.75)
    averages = []
    for slope in (-8, -8, 4):  # the weight becomes 8, 16 and 12
        push(each, slope)
        averages.append(each.ema.module.weight.item())
    assert each.network.weight.item() == 12
    assert averages == [8, 0.75 * 8 + 0.25 * 16, 0.75 * 10 + 0.25 * 12]
    assert each.trained is each.ema.module
    assert each.trained.weight.item() == 10.5


def test_the_average_holds_buffers_too():
    network = nn.BatchNorm1d(1)
    each = learner(network, ema_decay=0.5)
    means = []
    for level in (10.0, 30.0):
        network(torch.tensor([[level - 1], [level + 1]])).sum().backward()
        each.step()
        means.append(network.running_mean.item())
    assert each.trained.running_mean.item() == pytest.approx((means[0] + means[1]) / 2)


def test_without_a_decay_the_network_itself_is_what_was_trained():
    each = learner(line())
    assert each.ema is None
    assert each.trained is each.network


def test_gradients_are_clipped_to_a_norm_and_the_norm_before_is_told():
    network = nn.Linear(2, 1, bias=False)
    network.weight.data.zero_()
    each = learner(network, max_norm=1.0)
    network(torch.tensor([[3.0, -4.0]])).sum().backward()
    assert each.step() == pytest.approx(5)
    torch.testing.assert_close(network.weight.data, torch.tensor([[-0.6, 0.8]]), rtol=1e-5, atol=1e-5)
    before = network.weight.data.clone()
    network(torch.tensor([[0.3, -0.4]])).sum().backward()
    assert each.step() == pytest.approx(0.5)
    torch.testing.assert_close(network.weight.data, before + torch.tensor([[-0.3, 0.4]]))


def test_without_a_largest_norm_nothing_is_clipped():
    each = learner(line())
    assert push(each, 1e6) == 1e6
    assert each.network.weight.item() == -1e6


def test_a_step_without_a_gradient_moves_nothing():
    each = learner(line(2.0), max_norm=1.0)
    assert each.step() == 0
    assert each.network.weight.item() == 2


@settings(deadline=None, derandomize=True, max_examples=25)
@given(st.integers(1, 4), st.integers(1, 4), st.sampled_from([None, 0.05]), st.integers(0, 99))
def test_gradients_of_small_batches_add_up_to_those_of_a_larger_one(parts, size, max_norm, seed):
    torch.manual_seed(seed)
    data, target = torch.randn(parts * size, 3), torch.randn(parts * size, 2)
    start = nn.Linear(3, 2).state_dict()
    results = []
    for count in (parts, 1):
        network = nn.Linear(3, 2)
        network.load_state_dict(start)
        each = Learner(network, torch.optim.AdamW(network.parameters(), 0.1), nn.MSELoss(), max_norm=max_norm)
        for _ in range(2):
            for images, truth in zip(data.chunk(count), target.chunk(count), strict=True):
                (each.loss(network(images), truth) / count).backward()
            norm = each.step()
        results.append((norm, network.weight.data))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-4)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-4, atol=1e-5)


def test_the_learning_rate_follows_its_schedule_step_by_step():
    network = line()
    optimizer = torch.optim.SGD(network.parameters(), 1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.1)
    each = Learner(network, optimizer, nn.MSELoss(), scheduler)
    rates, weights = [], []
    for _ in range(5):
        rates.append(each.learning_rate)
        push(each, -1)
        weights.append(network.weight.item())
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    assert weights == pytest.approx([1, 2, 2.1, 2.2, 2.21])


def test_its_state_survives_a_file_and_the_training_goes_on_alike(tmp_path):
    def make():
        torch.manual_seed(1)
        network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
        optimizer = torch.optim.AdamW(network.parameters(), 0.1)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=20)
        return Learner(network, optimizer, nn.MSELoss(), scheduler, max_norm=1.0, ema_decay=0.9)

    def train(each, steps):
        for step in steps:
            data = torch.randn(4, 2, generator=torch.Generator().manual_seed(step))
            each.loss(each.network(data), data.sum(1, keepdim=True)).backward()
            each.step()

    whole, before, after = make(), make(), make()
    train(whole, range(8))
    train(before, range(5))
    torch.save(before.state_dict(), tmp_path / "learner.pt")
    after.load_state_dict(torch.load(tmp_path / "learner.pt", weights_only=True))
    assert after.learning_rate == before.learning_rate
    train(after, range(5, 8))
    for key, value in whole.network.state_dict().items():
        assert torch.equal(after.network.state_dict()[key], value), key
    for key, value in whole.trained.state_dict().items():
        assert torch.equal(after.trained.state_dict()[key], value), key


def test_its_state_has_the_parts_that_it_has():
    assert set(learner(line()).state_dict()) == {"network", "optimizer"}
    assert set(learner(line(), ema_decay=0.5).state_dict()) == {"network", "optimizer", "ema"}
    with pytest.raises(KeyError, match="ema"):
        learner(line(), ema_decay=0.5).load_state_dict(learner(line()).state_dict())


@pytest.mark.parametrize("max_norm", [0, -1.0, float("nan")])
def test_a_norm_that_is_not_positive_is_refused(max_norm):
    with pytest.raises(ValueError, match=f"max_norm must be positive, got {max_norm}"):
        learner(line(), max_norm=max_norm)


@pytest.mark.parametrize("decay", [0, 1, -0.5, 1.5])
def test_a_decay_outside_of_0_to_1_is_refused(decay):
    with pytest.raises(ValueError, match=rf"ema_decay must lie in \(0, 1\), got {decay}"):
        learner(line(), ema_decay=decay)


# Frozen networks.


def test_gradients_flow_through_a_frozen_network_but_not_into_it():
    judge, maker = learner(line(3.0)), learner(line(2.0))
    with frozen(judge):
        judge.network(maker.network(torch.ones(1, 1))).sum().backward()
    assert maker.network.weight.grad.item() == 3
    assert judge.network.weight.grad is None
    judge.network(maker.network(torch.ones(1, 1))).sum().backward()
    assert judge.network.weight.grad.item() == 2


def test_frozen_networks_are_in_inference_and_as_they_were_afterwards():
    training, evaluated = learner(nn.Sequential(nn.Dropout(0.5), line())), learner(line())
    training.network.train()
    evaluated.network.eval()
    with frozen(training, None, evaluated):
        for each in (training, evaluated):
            assert not any(module.training for module in each.network.modules())
            assert not any(parameter.requires_grad for parameter in each.network.parameters())
    assert all(module.training for module in training.network.modules())
    assert not any(module.training for module in evaluated.network.modules())
    for each in (training, evaluated):
        assert all(parameter.requires_grad for parameter in each.network.parameters())


def test_networks_are_as_they_were_after_an_error_too():
    each = learner(line())
    with pytest.raises(RuntimeError, match="in the middle"), frozen(each):
        raise RuntimeError("in the middle")
    assert each.network.training
    assert each.network.weight.requires_grad


def test_gradients_from_before_stay():
    each = learner(line())
    each.network(torch.ones(1, 1)).sum().backward()
    with frozen(each):
        assert each.network.weight.grad.item() == 1
    push(each, 2)
    assert each.network.weight.item() == -3


def test_a_network_that_is_frozen_twice_stays_frozen_until_the_outer_end():
    each = learner(line())
    with frozen(each):
        with frozen(each):
            assert not each.network.weight.requires_grad
        assert not each.network.weight.requires_grad
        assert not each.network.training
    assert each.network.weight.requires_grad
    assert each.network.training


def test_parameters_and_layers_that_do_not_learn_stay_so():
    """Such as pretrained layers, which `step` leaves out, and a normalisation with fixed statistics."""
    network = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1), nn.Linear(1, 1))
    network[0].requires_grad_(False)
    network[1].eval()
    with frozen(learner(network)):
        pass
    assert [parameter.requires_grad for parameter in network.parameters()] == [False, False, True, True, True, True]
    assert [layer.training for layer in network] == [True, False, True]
