"""The trainer: which network moves when, what it learns from, and what it leaves for handlers."""

import copy
import random

import pytest
import torch
from ignite.engine import Events
from monai.engines.utils import IterationEvents
from monai.utils.enums import CommonKeys
from torch import nn
from torch.utils.data import DataLoader

from nucleosynth.data.keys import PatchKeys as Keys
from nucleosynth.engines import HistoryBuffer, Learner, TrainingDiverged
from nucleosynth.handlers import TrainingEvents
from nucleosynth.losses import SegmentationLoss
from nucleosynth.networks import from_uint8

NAMES = ("refiner", "discriminator", "task")


def parameters(trainer):
    """A copy of all parameters, by network."""
    return {name: copy.deepcopy(learner.network.state_dict()) for name, learner in trainer.learners.items()}


def moved(before, after):
    return {name for name in before if any(not torch.equal(before[name][k], after[name][k]) for k in before[name])}


def equal(one, other):
    return moved(one, other) == set()


@pytest.mark.parametrize("name", NAMES)
def test_a_phase_moves_the_networks_that_take_steps_and_no_other(make_trainer, name):
    trainer = make_trainer([{name: 1, "iterations": 2}])
    before = parameters(trainer)
    trainer.run()
    assert moved(before, parameters(trainer)) == {name}


def test_steps_are_taken_as_often_as_the_phase_says_and_announced(make_trainer):
    trainer = make_trainer([{"refiner": 2, "discriminator": 1, "task": 3, "iterations": 4}])
    events = []
    for event in TrainingEvents:
        trainer.add_event_handler(event, lambda _, event=event: events.append(event))
    trainer.run()
    round_ = [TrainingEvents.REFINER_COMPLETED] * 2 + [TrainingEvents.DISCRIMINATOR_COMPLETED]
    round_ += [TrainingEvents.TASK_COMPLETED] * 3
    assert events == [TrainingEvents.PHASE_STARTED, *round_ * 4, TrainingEvents.ENDED]


def test_each_phase_is_announced_once(make_trainer):
    trainer = make_trainer()
    starts = []
    trainer.add_event_handler(TrainingEvents.PHASE_STARTED, lambda: starts.append(trainer.state.iteration))
    trainer.run()
    assert starts == [1, 4, 7, 11]


def test_the_output_always_has_a_loss_that_is_the_sum_of_all(make_trainer):
    trainer = make_trainer()
    outputs = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: outputs.append(dict(*trainer.state.output)))
    trainer.run()
    assert len(outputs) == 12
    for output in outputs:
        parts = [float(value) for key, value in output.items() if key.endswith("_loss")]
        assert float(output["loss"]) == pytest.approx(sum(parts), rel=1e-5)
    assert set(outputs[0]) == {"loss", "discriminator_loss"}
    assert set(outputs[8]) == {"loss", *(f"{name}_loss" for name in NAMES), "image", "label", "pred"}


def test_scalars_are_plain_numbers_of_the_last_iteration(make_trainer):
    trainer = make_trainer([{"refiner": 1, "discriminator": 1, "task": 1, "iterations": 1}])
    trainer.run()
    scalars = trainer.state.scalars
    assert all(type(value) is float for value in scalars.values())
    for name in NAMES:
        assert {f"loss/{name}", f"gradient_norm/{name}", f"learning_rate/{name}"} <= set(scalars)
    assert {"refiner/realism", "refiner/regularization", "refiner/hard", "weights/mean", "phase"} <= set(scalars)


def test_model_completed_is_fired_so_that_postprocessing_runs(make_trainer):
    seen = []
    trainer = make_trainer(
        [{"task": 1, "iterations": 2}],
        postprocessing=lambda data: {**data, "seen": seen.append(1)},
        decollate=True,
        history=None,
    )
    trainer.add_event_handler(IterationEvents.MODEL_COMPLETED, lambda: seen.append("event"))
    trainer.run()
    assert seen.count(1) == 2 * 4
    assert seen.count("event") == 2
    assert isinstance(trainer.state.output, list)
    assert len(trainer.state.output) == 4


def test_the_same_seed_gives_the_same_networks_and_another_seed_others(make_trainer):
    first, again, other = make_trainer(), make_trainer(), make_trainer(seed=1)
    for trainer in (first, again, other):
        trainer.run()
    assert equal(parameters(first), parameters(again))
    assert moved(parameters(first), parameters(other)) >= {"discriminator", "task"}


def test_the_number_of_workers_changes_nothing(make_trainer):
    alone, helped = make_trainer(), make_trainer(workers=2)
    alone.run()
    helped.run()
    assert equal(parameters(alone), parameters(helped))


def test_global_random_state_before_the_run_changes_nothing(make_trainer):
    first, second = make_trainer(), make_trainer()
    first.run()
    torch.manual_seed(99)
    random.seed(99)
    second.run()
    assert equal(parameters(first), parameters(second))


def test_accumulated_batches_are_one_large_batch(make_trainer):
    """With a mean loss of equal parts and no draw in between."""
    phases = [{"task": 1, "iterations": 3}]
    plain = {"refiner": None, "discriminator": None, "weighting": None, "augment": None, "history": None}
    whole, parts = make_trainer(phases, 8, **plain), make_trainer(phases, 4, accumulation=2, **plain)
    whole.run()
    parts.run()
    for one, other in zip(*(parameters(t)["task"].values() for t in (whole, parts)), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_without_a_refiner_patches_are_used_as_they_are(make_trainer, noise):
    trainer = make_trainer([{"task": 1, "iterations": 1}], refiner=None)
    batch = next(iter(DataLoader(noise, batch_sampler=[[0, 1, 2]])))
    assert torch.equal(trainer._examples(batch)[Keys.IMAGE], batch[Keys.IMAGE])


def test_patches_are_used_as_they_are_until_the_refiner_takes_its_first_step(make_trainer, noise):
    trainer = make_trainer([{"discriminator": 1, "iterations": 2}, {"refiner": 1, "iterations": 2}], history=None)
    batch = next(iter(DataLoader(noise, batch_sampler=[[0, 1, 2]])))
    with torch.no_grad():
        trainer.learners["refiner"].network.last.bias += 1
    changed = []
    for trainer.state.iteration in (1, 2, 3, 4):
        changed.append(not torch.equal(trainer._examples(batch, averaged=False)[Keys.IMAGE], batch[Keys.IMAGE]))
    assert changed == [False, False, True, True]


def test_the_discriminator_learns_from_the_averaged_refiner_once_it_rests(make_trainer):
    both, alone = {"refiner": 1, "discriminator": 1, "iterations": 2}, {"discriminator": 1, "iterations": 2}
    trainer = make_trainer([alone, both, alone], history=None)
    own, seen = trainer._examples, []

    def examples(batch, averaged=True, **more):
        seen.append(averaged)
        return own(batch, averaged, **more)

    trainer._examples = examples
    trainer.run()
    assert seen == [True, True, False, False, True, True]


def test_as_many_examples_come_from_history_once_it_is_full_enough(make_trainer, noise):
    trainer = make_trainer([{"task": 1, "iterations": 1}])
    first, second = DataLoader(noise, batch_sampler=[[0, 1, 2, 3], [4, 5, 6, 7]])
    assert torch.equal(trainer._examples(first)[Keys.TARGET], first[Keys.TARGET])
    assert len(trainer.history) == 4
    mixed = trainer._examples(second)
    assert torch.equal(mixed[Keys.TARGET][:4], second[Keys.TARGET])
    old = {tuple(target.flatten().tolist()) for target in first[Keys.TARGET]}
    assert {tuple(target.flatten().tolist()) for target in mixed[Keys.TARGET][4:]} == old
    assert len(trainer.history) == 6


def test_the_task_network_sees_as_many_earlier_patches_as_it_should(make_trainer):
    trainer = make_trainer([{"task": 1, "iterations": 4}], history=HistoryBuffer(64), replay=2)
    seen = []

    @trainer.on(IterationEvents.MODEL_COMPLETED)
    def count(engine):
        seen.append(len(engine.state.output[CommonKeys.IMAGE]))

    trainer.run()
    size = trainer.sampler.batch_size
    # It holds two batches when the third comes.
    assert seen == [size, size, 3 * size, 3 * size]
    with pytest.raises(ValueError, match="replay must be at least 1, got 0"):
        make_trainer([{"task": 1, "iterations": 1}], replay=0)


def test_refined_patches_have_8_bits_and_judging_leaves_no_gradient(make_trainer, noise):
    trainer = make_trainer([{"task": 1, "iterations": 1}])
    batch = next(iter(DataLoader(noise, batch_sampler=[[0, 1]])))
    refined = trainer.refine(batch[Keys.IMAGE], batch[Keys.REFERENCE])
    assert refined.dtype == torch.uint8
    assert refined.shape == batch[Keys.IMAGE].shape
    logits = trainer.discriminate(refined, batch[Keys.REFERENCE])
    assert logits.shape == (2,)
    assert not logits.requires_grad


def test_weights_scale_what_an_example_teaches(make_trainer):
    """With weights of zero and no labelled data there is nothing to learn: only weight decay moves parameters."""

    class Nothing:
        calibration = None

        def __call__(self, logits):
            return torch.zeros_like(logits)

    trainer = make_trainer([{"task": 1, "iterations": 1}], weighting=Nothing())
    trainer.run()
    assert trainer.state.scalars["loss/task"] == 0
    assert trainer.state.scalars["gradient_norm/task"] == 0


def test_the_refiner_is_pushed_towards_examples_that_are_hard_for_the_task_network(make_trainer, make_learners):
    phases = [{"refiner": 1, "iterations": 1}]
    without, with_ = (make_trainer(phases, learners=make_learners(hard=hard)) for hard in (0.0, 5.0))
    without.run()
    with_.run()
    assert without.state.scalars["refiner/hard"] == 0
    assert with_.state.scalars["refiner/hard"] < 0
    assert moved(parameters(without), parameters(with_)) == {"refiner"}


def test_mismatched_pairs_are_real_patches_beside_references_of_another_type(make_trainer, make_learners):
    learners = make_learners(mismatched=1.0)
    seen = {}

    class Spy(nn.Module):
        mismatched = 1.0

        def forward(self, real, synthetic, mismatched=None):
            seen["counts"] = [len(real), len(synthetic), len(mismatched)]
            return real.mean() * 0 + learners["discriminator"].network.patch[0][0].weight.sum()

    learners["discriminator"].loss = Spy()
    trainer = make_trainer([{"discriminator": 1, "iterations": 1}], 6, learners=learners)
    types = []
    trainer.add_event_handler(Events.GET_BATCH_COMPLETED, lambda: types.extend(trainer.state.batch[Keys.REAL_TYPE]))
    trainer.run()
    differing = sum(int(types[i] != types[i - 1]) for i in range(6))
    assert 0 < differing < 6
    assert seen["counts"] == [6, 6, differing]


def test_labelled_examples_are_mixed_in_with_weight_one(make_trainer, noise):
    class Mixed:
        def __getitem__(self, number):
            example = noise[number]
            real = {Keys.LABELLED_IMAGE: example[Keys.REAL], Keys.LABELLED_TARGET: 1 - example[Keys.TARGET]}
            return example | {str(key): value for key, value in real.items()}

    counted = []

    class Count(SegmentationLoss):
        def forward(self, logits, target):
            counted.append(len(logits))
            return super().forward(logits, target)

    trainer = make_trainer([{"task": 1, "iterations": 1}], dataset=Mixed())
    trainer.learners["task"].loss = Count()
    trainer.run()
    assert counted == [8]


def test_mixed_precision_in_bfloat16_trains_on_a_cpu(make_trainer):
    seen = set()
    trainer = make_trainer(bfloat16=True)
    trainer.learners["task"].network[0].register_forward_hook(lambda *each: seen.add(each[2].dtype))
    trainer.run()
    assert seen == {torch.bfloat16}
    assert all(torch.isfinite(value).all() for state in parameters(trainer).values() for value in state.values())
    assert {value.dtype for value in parameters(trainer)["task"].values()} == {torch.float32}


def test_networks_see_channels_last(make_trainer):
    seen = []
    trainer = make_trainer([{"task": 1, "iterations": 1}])
    hook = (
        trainer.learners["task"]
        .network[0]
        .register_forward_pre_hook(
            lambda module, inputs: seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
        )
    )
    trainer.run()
    hook.remove()
    assert seen == [True]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_a_loss_that_is_not_finite_or_explodes_ends_the_training(make_trainer, value):
    class Bad(SegmentationLoss):
        def forward(self, logits, target):
            return super().forward(logits, target) * value

    trainer = make_trainer([{"discriminator": 1, "iterations": 1}, {"task": 1, "iterations": 2}])
    trainer.learners["task"].loss = Bad()
    before = parameters(trainer)
    with pytest.raises(TrainingDiverged, match=r"the loss of the task is .* at iteration 2: the training diverged"):
        trainer.run()
    assert moved(before, parameters(trainer)) == {"discriminator"}


def test_a_training_that_is_done_is_not_begun_again(make_trainer):
    trainer = make_trainer([{"task": 1, "iterations": 2}])
    trainer.run()
    after = parameters(trainer)
    trainer.run()
    assert trainer.state.iteration == 2
    assert equal(after, parameters(trainer))


def test_wrong_combinations_are_refused(make_trainer, make_learners):
    learners = make_learners()
    with pytest.raises(ValueError, match="the schedule has steps of the task, but there is no task"):
        make_trainer(learners={**learners, "task": None})
    with pytest.raises(ValueError, match="a refiner cannot be trained without a discriminator"):
        make_trainer([{"refiner": 1, "iterations": 1}], learners={**learners, "discriminator": None})
    trainer = make_trainer([{"task": 1, "iterations": 1}])
    trainer_class = type(trainer)
    with pytest.raises(ValueError, match="needs a ScheduleSampler"):
        trainer_class("cpu", DataLoader([1, 2]), **learners)


def test_patches_are_judged_by_the_averaged_discriminator(make_trainer, noise):
    trainer = make_trainer([{"discriminator": 1, "iterations": 6}])
    trainer.run()
    learner = trainer.learners["discriminator"]
    image, reference = (torch.stack([noise[i][key] for i in range(3)]) for key in (Keys.IMAGE, Keys.REFERENCE))
    logits = trainer.discriminate(image, reference)
    learner.network.eval()
    with torch.no_grad():
        own, averaged = (
            network(from_uint8(image), from_uint8(reference)) for network in (learner.network, learner.trained)
        )
    assert torch.equal(logits, averaged)
    assert not torch.allclose(own, averaged)
    # One patch is judged as it is among others.
    torch.testing.assert_close(trainer.discriminate(image[:1], reference[:1]), logits[:1])


def test_the_averaged_network_is_the_trained_one(make_trainer):
    trainer = make_trainer([{"task": 1, "iterations": 3}])
    trainer.run()
    learner = trainer.learners["task"]
    assert isinstance(learner, Learner)
    own, averaged = learner.network.state_dict(), learner.trained.state_dict()
    assert set(own) == set(averaged)
    assert not torch.equal(own["0.weight"], averaged["0.weight"])
