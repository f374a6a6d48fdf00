import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleosynth.data.keys import PatchKeys as Keys
from nucleosynth.engines import HistoryBuffer


def batch(*numbers):
    """Examples that tell their number in both of their tensors."""
    image = torch.tensor(numbers, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2).clone()
    return {Keys.IMAGE: image, Keys.TARGET: 255 - image[:, :2]}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def numbers(examples):
    """The numbers of examples, after a check that what belongs together still does."""
    assert torch.equal(examples[Keys.IMAGE][:, :2], 255 - examples[Keys.TARGET])
    return examples[Keys.IMAGE][:, 0, 0, 0].tolist()


def kept(history):
    return sorted(numbers(history.state_dict()))


def test_examples_come_back_as_they_were():
    history = HistoryBuffer(10)
    history.push(batch(1, 2, 3), seeded())
    history.push(batch(4, 5), seeded())
    assert len(history) == 5
    drawn = history.sample(5, seeded())
    assert set(drawn) == {"image", "target"}
    assert (drawn["image"].dtype, drawn["image"].shape) == (torch.uint8, (5, 3, 2, 2))
    assert drawn["target"].shape == (5, 2, 2, 2)
    assert sorted(numbers(drawn)) == [1, 2, 3, 4, 5]


@settings(deadline=None, derandomize=True)
@given(st.integers(0, 9), st.lists(st.integers(0, 7), max_size=8), st.integers(0, 99))
def test_it_never_holds_more_than_its_capacity_and_always_the_newest(capacity, sizes, seed):
    history, generator, pushed = HistoryBuffer(capacity), seeded(seed), 0
    for size in sizes:
        new = list(range(pushed, pushed + size))
        history.push(batch(*new), generator)
        pushed += size
        assert len(history) == min(pushed, capacity)
        if not len(history):
            continue
        held = kept(history)
        assert len(held) == len(history) == len(set(held))
        assert set(held) <= set(range(pushed))
        # All of the newest batch are there, or as many of them as fit.
        assert len(set(held) & set(new)) == min(size, capacity)


def test_old_examples_are_replaced_at_random():
    survivors = set()
    for seed in range(20):
        history = HistoryBuffer(4)
        history.push(batch(0, 1, 2, 3), seeded(seed))
        history.push(batch(4, 5), seeded(seed))
        survivors.add(tuple(kept(history)))
    assert {held[2:] for held in survivors} == {(4, 5)}
    assert len(survivors) > 3  # of six pairs


def test_a_buffer_that_is_nearly_full_is_filled_first():
    history = HistoryBuffer(5)
    history.push(batch(0, 1, 2), seeded())
    history.push(batch(3, 4), seeded())
    assert kept(history) == [0, 1, 2, 3, 4]
    history = HistoryBuffer(5)
    history.push(batch(0, 1, 2, 3), seeded())
    history.push(batch(4, 5, 6), seeded())
    assert len(history) == 5
    assert len(set(kept(history)) & {0, 1, 2, 3}) == 2


def test_without_capacity_nothing_is_kept():
    history = HistoryBuffer(0)
    history.push(batch(1, 2), seeded())
    assert len(history) == 0
    assert history.state_dict() == {}


def test_a_sample_repeats_no_example_and_draws_each():
    history, generator = HistoryBuffer(8), seeded()
    history.push(batch(*range(8)), generator)
    seen = set()
    for _ in range(20):
        drawn = numbers(history.sample(5, generator))
        assert len(set(drawn)) == 5
        seen |= set(drawn)
    assert seen == set(range(8))


def test_draws_come_from_the_generator_alone():
    def run(seed):
        torch.manual_seed(torch.seed())
        history, generator = HistoryBuffer(4), seeded(seed)
        for number in range(0, 12, 3):
            history.push(batch(number, number + 1, number + 2), generator)
        return numbers(history.sample(4, generator))

    assert run(3) == run(3)
    assert len({tuple(run(seed)) for seed in range(6)}) > 2


def test_what_is_kept_does_not_change_with_what_was_given_or_drawn():
    history, given_ = HistoryBuffer(4), batch(1, 2)
    history.push(given_, seeded())
    given_[Keys.IMAGE].zero_()
    history.sample(2, seeded())["image"].zero_()
    assert kept(history) == [1, 2]


def test_only_as_many_as_there_are_can_be_drawn():
    history = HistoryBuffer(8)
    history.push(batch(1, 2, 3), seeded())
    with pytest.raises(ValueError, match="4 examples were asked for, there are 3"):
        history.sample(4, seeded())


@pytest.mark.parametrize("dtype", [torch.float32, torch.int32, torch.bool])
def test_only_8_bits_are_kept(dtype):
    examples = batch(1, 2)
    examples[Keys.TARGET] = examples[Keys.TARGET].to(dtype)
    with pytest.raises(ValueError, match="history keeps 8-bit examples only"):
        HistoryBuffer(4).push(examples, seeded())


@pytest.mark.parametrize("count", [0, 2, 5, 7])
def test_its_state_survives_a_file_of_plain_tensors(tmp_path, count):
    history = HistoryBuffer(5)
    if count:
        history.push(batch(*range(1, count + 1)), seeded())
    torch.save(history.state_dict(), tmp_path / "history.pt")
    restored = HistoryBuffer(5)
    restored.push(batch(100, 101), seeded())
    restored.load_state_dict(torch.load(tmp_path / "history.pt", weights_only=True, mmap=True))
    assert len(restored) == len(history) == min(count, 5)
    # And both go on alike.
    for each, generator in ((history, seeded(1)), (restored, seeded(1))):
        each.push(batch(20, 21, 22), generator)
    assert torch.equal(history.state_dict()["image"], restored.state_dict()["image"])
    assert numbers(history.sample(3, seeded(2))) == numbers(restored.sample(3, seeded(2)))


def test_a_file_of_a_nearly_empty_history_is_small(tmp_path):
    """Not as large as the history could become: a checkpoint is written often."""
    history = HistoryBuffer(10_000)
    history.push(batch(1, 2), seeded())
    torch.save(history.state_dict(), tmp_path / "history.pt")
    assert (tmp_path / "history.pt").stat().st_size < 5_000


def test_a_restored_history_may_be_larger_but_not_smaller():
    history = HistoryBuffer(4)
    history.push(batch(1, 2, 3), seeded())
    larger = HistoryBuffer(6)
    larger.load_state_dict(history.state_dict())
    larger.push(batch(4, 5, 6), seeded())
    assert kept(larger) == [1, 2, 3, 4, 5, 6]
    with pytest.raises(ValueError, match="3 examples do not fit into a history of 2"):
        HistoryBuffer(2).load_state_dict(history.state_dict())


def test_a_negative_capacity_is_refused():
    with pytest.raises(ValueError, match="capacity must not be negative, got -1"):
        HistoryBuffer(-1)
