"""Checkpoints: a training that is continued ends as one that never stopped."""

import pytest
import torch
from ignite.engine import Events

from nucleosynth.engines import HistoryBuffer, TrainingCheckpoint
from nucleosynth.errors import InputError


class Stopped(Exception):
    pass


def stop_after(trainer, iteration):
    def stop():
        raise Stopped

    trainer.add_event_handler(Events.ITERATION_STARTED(once=iteration + 1), stop)


def states(trainer):
    return {name: learner.state_dict() for name, learner in trainer.learners.items()}


def assert_same(one, other):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    else:
        assert one == other


class Calibrate:
    """Stands for the diagnostics, which change the weighting in the middle of the training."""

    def attach(self, engine):
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=2), self.calibrate)

    def calibrate(self, engine):
        real, synthetic = torch.tensor([2.0, 1.0, -0.5]), torch.tensor([-2.0, -1.0, 0.5 / engine.state.iteration])
        engine.weighting.calibrate(real, synthetic)


@pytest.mark.parametrize("stop", [1, 3, 5, 8, 11])
def test_a_training_that_was_stopped_anywhere_ends_as_one_that_never_was(make_trainer, tmp_path, stop):
    """In every phase; bit for bit: networks, optimisers, learning rates, averages, history and calibration."""
    whole = make_trainer(handlers=[Calibrate()])
    whole.run()
    first = make_trainer(handlers=[Calibrate(), TrainingCheckpoint(tmp_path, every=2)])
    stop_after(first, stop)
    with pytest.raises(Stopped):
        first.run()
    second = make_trainer(handlers=[Calibrate(), checkpoint := TrainingCheckpoint(tmp_path, every=2)])
    assert checkpoint.restore(second) == stop // 2 * 2
    second.run()
    assert_same(states(second), states(whole))
    assert_same(second.history.state_dict(), whole.history.state_dict())
    assert_same(second.weighting.state_dict(), whole.weighting.state_dict())


def test_without_a_checkpoint_a_training_begins_at_the_start(make_trainer, tmp_path):
    checkpoint = TrainingCheckpoint(tmp_path, every=2)
    assert checkpoint.saved_iteration() == 0
    assert checkpoint.restore(make_trainer()) == 0


def test_a_checkpoint_is_one_flat_dictionary_of_plain_tensors(make_trainer, tmp_path):
    trainer = make_trainer(handlers=[checkpoint := TrainingCheckpoint(tmp_path, every=100)])
    trainer.run()
    state = torch.load(checkpoint.path, weights_only=True)
    assert checkpoint.saved_iteration() == state["iteration"] == 12
    assert {"refiner_network", "discriminator_optimizer", "task_scheduler", "task_ema", "history"} <= set(state)
    network = trainer.learners["task"].network
    network.load_state_dict(state["task_network"])


def test_a_diverged_training_leaves_the_last_good_checkpoint(make_trainer, tmp_path):
    trainer = make_trainer([{"task": 1, "iterations": 6}], handlers=[TrainingCheckpoint(tmp_path, every=2)])

    def spoil():
        with torch.no_grad():
            next(trainer.learners["task"].network.parameters()).fill_(float("nan"))

    trainer.add_event_handler(Events.ITERATION_STARTED(once=4), spoil)
    with pytest.raises(Exception, match="at iteration 4: the training diverged"):
        trainer.run()
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["iteration"] == 2
    assert all(torch.isfinite(value).all() for value in state["task_network"].values())


def test_a_write_that_fails_leaves_the_old_checkpoint(make_trainer, tmp_path, monkeypatch):
    trainer = make_trainer([{"task": 1, "iterations": 2}], handlers=[TrainingCheckpoint(tmp_path, every=100)])
    trainer.run()
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def full(state, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        TrainingCheckpoint(tmp_path, every=1).save(trainer)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"x" * 99])
def test_a_damaged_checkpoint_is_refused(make_trainer, tmp_path, damage):
    trainer = make_trainer([{"task": 1, "iterations": 2}], handlers=[checkpoint := TrainingCheckpoint(tmp_path, 1)])
    trainer.run()
    checkpoint.path.write_bytes(damage(checkpoint.path.read_bytes()))
    for read in (checkpoint.saved_iteration, lambda: checkpoint.restore(make_trainer())):
        with pytest.raises(InputError, match=r"checkpoint\.pt: damaged"):
            read()


def test_a_checkpoint_of_another_training_is_refused(make_trainer, tmp_path):
    make_trainer(handlers=[TrainingCheckpoint(tmp_path, 100, identity="one")]).run()
    with pytest.raises(InputError, match="of a training with other settings"):
        TrainingCheckpoint(tmp_path, 100, identity="other").restore(make_trainer())
    smaller = make_trainer(history=HistoryBuffer(2))
    with pytest.raises(InputError, match=r"other networks or processes .*do not fit"):
        TrainingCheckpoint(tmp_path, 100, identity="one").restore(smaller)
    phases = [{"task": 1, "iterations": 1}]
    other = make_trainer(phases, task=make_trainer().learners["refiner"])
    with pytest.raises(InputError, match="of a training with other networks"):
        TrainingCheckpoint(tmp_path, 100, identity="one").restore(other)


def test_every_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        TrainingCheckpoint(tmp_path, every=0)
