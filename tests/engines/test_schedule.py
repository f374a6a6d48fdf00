import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleosynth.engines import Networks, Phase, Schedule

PHASES = [
    {"discriminator": 1, "iterations": 3},
    {"refiner": 2, "discriminator": 1, "iterations": 2},
    {"refiner": 1, "discriminator": 1, "task": 6, "iterations": 4},
    {"task": 1, "iterations": 5},
]

steps = st.integers(0, 3)
phases = st.lists(
    st.fixed_dictionaries(
        {"iterations": st.integers(0, 6), "refiner": steps, "discriminator": steps, "task": steps}
    ).filter(lambda phase: phase["refiner"] + phase["discriminator"] + phase["task"] > 0),
    min_size=1,
    max_size=5,
).filter(lambda phases: sum(phase["iterations"] for phase in phases) > 0)


def test_a_phase_has_its_steps_in_the_order_of_the_networks():
    phase = Phase(iterations=10, task=3, refiner=2, discriminator=1)
    assert phase.steps == ("refiner", "refiner", "discriminator", "task", "task", "task")
    assert phase.title == "2 refiner + 1 discriminator + 3 task"
    assert Phase(1, task=1).title == "1 task"


def test_a_phase_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Phase(1, task=1).task = 2


def test_each_iteration_belongs_to_its_phase():
    schedule = Schedule(PHASES)
    assert schedule.iterations == 14
    assert [schedule.phase_number(iteration) for iteration in range(14)] == [0] * 3 + [1] * 2 + [2] * 4 + [3] * 5
    assert schedule.phase(2) == Phase(3, discriminator=1)
    assert schedule.phase(3) == Phase(2, refiner=2, discriminator=1)
    assert schedule.phase(13) == Phase(5, task=1)


def test_steps_of_each_network_and_before_each_iteration():
    schedule = Schedule(PHASES)
    assert schedule.steps("refiner") == 2 * 2 + 4
    assert schedule.steps(Networks.DISCRIMINATOR) == 3 + 2 + 4
    assert schedule.steps("task") == 6 * 4 + 5
    before = [schedule.steps_before(iteration) for iteration in range(14)]
    assert before == [0, 1, 2, 3, 6, 9, 17, 25, 33, 41, 42, 43, 44, 45]


def test_the_first_step_of_each_network():
    schedule = Schedule(PHASES)
    assert [schedule.first(network) for network in ("discriminator", "refiner", "task")] == [0, 3, 5]
    assert Schedule([{"task": 1, "iterations": 2}]).first("refiner") == 0


@settings(deadline=None, derandomize=True)
@given(phases)
def test_steps_before_an_iteration_are_those_of_all_earlier_ones(phases):
    schedule = Schedule(phases)
    done = 0
    for iteration in range(schedule.iterations):
        assert schedule.steps_before(iteration) == done
        done += len(schedule.phase(iteration).steps)
    assert done == sum(schedule.steps(network) for network in ("refiner", "discriminator", "task"))
    assert schedule.iterations == sum(phase["iterations"] for phase in phases)


def test_phases_without_iterations_are_passed_over():
    """So that a file laid over another can switch a phase off."""
    schedule = Schedule([{"task": 1, "iterations": 0}, *PHASES[:2], {"refiner": 1, "iterations": 0}])
    assert schedule.phases == Schedule(PHASES[:2]).phases
    assert schedule.phase_number(0) == 0


def test_skipped_networks_take_no_steps_and_phases_without_others_disappear():
    schedule = Schedule(PHASES, skip=["refiner", "discriminator"])
    assert schedule.phases == (Phase(4, task=6), Phase(5, task=1))
    assert schedule.iterations == 9
    assert schedule.steps("refiner") == schedule.steps("discriminator") == 0
    without = Schedule(PHASES, skip=[Networks.REFINER])
    assert [phase.title for phase in without.phases] == [
        "1 discriminator", "1 discriminator", "1 discriminator + 6 task", "1 task",
    ]  # fmt: skip
    assert Schedule(PHASES, skip=["discriminator"]).iterations == 11


@settings(deadline=None, derandomize=True)
@given(phases, st.sampled_from(["refiner", "discriminator", "task"]))
def test_skipping_a_network_leaves_the_steps_of_the_others(phases, skipped):
    plain = Schedule(phases)
    others = {"refiner", "discriminator", "task"} - {skipped}
    if not any(plain.steps(network) for network in others):
        with pytest.raises(ValueError, match="a schedule needs at least one iteration"):
            Schedule(phases, skip=[skipped])
        return
    schedule = Schedule(phases, skip=[skipped])
    assert schedule.steps(skipped) == 0
    assert all(schedule.steps(network) == plain.steps(network) for network in others)


@pytest.mark.parametrize("iteration", [-1, 14, 100])
def test_an_iteration_outside_is_refused(iteration):
    schedule = Schedule(PHASES)
    for ask in (schedule.phase, schedule.phase_number, schedule.steps_before):
        with pytest.raises(ValueError, match=rf"iteration must lie in \[0, 14\), got {iteration}"):
            ask(iteration)


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([], "a schedule needs at least one iteration"),
        ([{"task": 1, "iterations": 0}], "a schedule needs at least one iteration"),
        ([{"task": 1}], r"a phase needs its number of iterations, got \{'task': 1\}"),
        ([{"iterations": 5}], "a phase needs at least one step of a network"),
        ([{"task": 1, "iterations": -5}], "iterations of a phase must be a whole number, not negative, got -5"),
        ([{"task": 1, "iterations": 2.5}], "iterations of a phase must be a whole number, not negative, got 2.5"),
        ([{"task": -1, "refiner": 2, "iterations": 5}], "task of a phase must be a whole number, not negative, got -1"),
        ([{"task": "1", "iterations": 5}], "task of a phase must be a whole number, not negative, got '1'"),
        (
            [{"generator": 1, "iterations": 5}],
            "a phase has discriminator, iterations, refiner, task, but not generator",
        ),
    ],
)
def test_wrong_phases_are_refused(phases, message):
    with pytest.raises(ValueError, match=message):
        Schedule(phases)


def test_a_network_to_skip_must_exist():
    with pytest.raises(ValueError, match=r"skip names networks \(refiner, discriminator, task\), but not generator"):
        Schedule(PHASES, skip=["generator"])


def test_skipping_all_leaves_nothing():
    with pytest.raises(ValueError, match="a schedule needs at least one iteration"):
        Schedule(PHASES, skip=["refiner", "discriminator", "task"])
