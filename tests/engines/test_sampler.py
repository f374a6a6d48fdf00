import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from nucleosynth.engines import Schedule, ScheduleSampler, sampler

SCHEDULE = Schedule(
    [
        {"discriminator": 1, "iterations": 2},
        {"refiner": 2, "discriminator": 1, "iterations": 2},
        {"task": 1, "iterations": 1},
    ]
)


@pytest.fixture
def processes(monkeypatch):
    """Batches of each of several processes, as the sampler of each would see its rank."""

    def each(count, *arguments, start=0):
        batches = []
        monkeypatch.setattr(sampler, "world_size", lambda: count)
        for number in range(count):
            monkeypatch.setattr(sampler, "rank", lambda number=number: number)
            own = ScheduleSampler(*arguments)
            own.start = start
            batches.append(list(own))
        return batches

    return each


def test_batches_by_hand():
    assert list(ScheduleSampler(SCHEDULE, batch_size=2)) == [
        [0, 1], [2, 3], [4, 5, 6, 7, 8, 9], [10, 11, 12, 13, 14, 15], [16, 17],
    ]  # fmt: skip
    assert list(ScheduleSampler(SCHEDULE, 1, accumulation=2)) == list(ScheduleSampler(SCHEDULE, batch_size=2))


@settings(deadline=None, derandomize=True)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"iterations": st.integers(1, 4), "refiner": st.integers(0, 2), "task": st.integers(1, 3)}
        ),
        min_size=1,
        max_size=3,
    ),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_all_processes_together_see_every_example_once(phases, batch_size, accumulation, count):
    schedule = Schedule(phases)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampler, "world_size", lambda: count)
        seen = []
        for number in range(count):
            patch.setattr(sampler, "rank", lambda number=number: number)
            batches = list(ScheduleSampler(schedule, batch_size, accumulation))
            sizes = [len(schedule.phase(i).steps) * batch_size * accumulation for i in range(schedule.iterations)]
            assert [len(batch) for batch in batches] == sizes
            seen += [example for batch in batches for example in batch]
    steps = schedule.steps("refiner") + schedule.steps("task")
    assert sorted(seen) == list(range(steps * batch_size * accumulation * count))


def test_processes_see_different_examples_of_the_same_iteration(processes):
    first, second = processes(2, SCHEDULE, 2)
    assert first == [[0, 1], [4, 5], list(range(8, 14)), list(range(20, 26)), [32, 33]]
    assert second == [[2, 3], [6, 7], list(range(14, 20)), list(range(26, 32)), [34, 35]]
    assert not {n for batch in first for n in batch} & {n for batch in second for n in batch}


@pytest.mark.parametrize("start", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("count", [1, 3])
def test_a_training_that_goes_on_gets_the_examples_it_would_have_got(processes, start, count):
    whole, rest = processes(count, SCHEDULE, 2, 2), processes(count, SCHEDULE, 2, 2, start=start)
    assert rest == [batches[start:] for batches in whole]


def test_its_length_is_the_number_of_iterations_that_are_left():
    batches = ScheduleSampler(SCHEDULE, 2)
    assert len(batches) == 5
    batches.start = 3
    assert len(batches) == 2 == len(list(batches))


def test_it_can_be_gone_through_again():
    batches = ScheduleSampler(SCHEDULE, 2)
    assert list(batches) == list(batches)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_loader_takes_it_as_its_batch_sampler(workers):
    class Numbers(Dataset):
        def __getitem__(self, number):
            return number

    loader = DataLoader(Numbers(), batch_sampler=ScheduleSampler(SCHEDULE, 2), num_workers=workers)
    assert [batch.tolist() for batch in loader] == list(ScheduleSampler(SCHEDULE, 2))


@pytest.mark.parametrize("name", ["batch_size", "accumulation"])
@pytest.mark.parametrize("value", [0, -2])
def test_sizes_below_one_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got {value}"):
        ScheduleSampler(SCHEDULE, **{"batch_size": 2, "accumulation": 1, name: value})
