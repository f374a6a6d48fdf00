import math

import pytest
from ignite.engine import Engine, Events

from nucleosynth.handlers import MLflowLogger


class Notebook:
    """A run that writes down what it is told."""

    def __init__(self):
        self.metrics, self.flushes, self.errors = [], 0, []

    def log_metrics(self, values, step):
        self.metrics.append((step, dict(values)))

    def flush(self):
        self.flushes += 1

    def fail(self, error):
        self.errors.append(error)


def train(scalars, every, epochs=1, before=None):
    """Run an engine whose n-th iteration leaves ``scalars(n)``; ``before`` prepares it."""

    def step(engine, batch):
        engine.state.scalars = scalars(engine.state.iteration)
        return {"loss": 0.0}

    engine, run = Engine(step), Notebook()
    if before is not None:
        before(engine)
    MLflowLogger(run, every).attach(engine)
    try:
        engine.run(range(10), max_epochs=epochs)
    except BaseException as error:
        run.raised = error
    return run


def test_means_are_logged_every_so_often_and_at_the_end():
    run = train(lambda n: {"loss": float(n)}, every=4)
    assert run.metrics == [(4, {"loss": 2.5}), (8, {"loss": 6.5}), (10, {"loss": 9.5})]
    assert run.flushes == 1
    assert run.errors == []


def test_epochs_make_no_difference():
    run = train(lambda n: {"loss": float(n)}, every=10, epochs=2)
    assert run.metrics == [(10, {"loss": 5.5}), (20, {"loss": 15.5})]


def test_a_scalar_is_averaged_over_the_iterations_that_have_it():
    run = train(lambda n: {"loss": 1.0, "odd": float(n)} if n % 2 else {"loss": 3.0}, every=5)
    assert run.metrics == [(5, {"loss": 1.8, "odd": 3.0}), (10, {"loss": 2.2, "odd": 8.0})]


def test_nothing_is_logged_when_there_is_nothing():
    assert train(lambda n: {}, every=2).metrics == []


def test_one_value_that_is_not_finite_shows():
    ((_, values), _) = train(lambda n: {"loss": math.nan if n == 3 else 1.0}, every=5).metrics
    assert math.isnan(values["loss"])


@pytest.mark.parametrize("error", [ValueError("no nuclei"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_training_that_breaks_off_is_logged_and_raises(error):
    def scalars(n):
        if n == 7:
            raise error
        return {"loss": float(n)}

    run = train(scalars, every=5)
    assert run.raised is error
    assert run.errors[0] is error
    assert run.metrics == [(5, {"loss": 3.0}), (7, {"loss": 6.0})]


def test_a_training_that_is_terminated_is_logged():
    def stop_at_three(engine):
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=3), lambda engine: engine.terminate())

    run = train(lambda n: {"loss": float(n)}, every=5, before=stop_at_three)
    assert run.metrics == [(3, {"loss": 2.0})]
    assert run.flushes == 1


def test_a_wrong_interval_is_refused():
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        MLflowLogger(Notebook(), every=0)
