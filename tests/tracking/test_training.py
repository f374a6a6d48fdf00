"""A real engine, the logger and a real database together."""

import signal
import subprocess
import sys
import time

import pytest
from ignite.engine import Engine
from monai.handlers import MLFlowHandler

from nucleosynth.handlers import MLflowLogger
from nucleosynth.tracking import open_run, tracking_uri

TRAINING = """
import sys, time
from pathlib import Path
from ignite.engine import Engine
from nucleosynth.handlers import MLflowLogger
from nucleosynth.tracking import RunDescription, open_run

def step(engine, batch):
    engine.state.scalars = {"loss/task": 1 / engine.state.iteration}
    if engine.state.iteration == 10:
        run.flush()
        print(run.run_id, flush=True)
        time.sleep(600)

engine = Engine(step)
with open_run(Path(sys.argv[1]), RunDescription("nuclei", "killed", {}, {})) as run:
    MLflowLogger(run, every=5).attach(engine)
    engine.run(range(100))
"""


MEMORY = "system/system_memory_usage_percentage"


def wait_until(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "no sample of the system has come"
        time.sleep(0.1)


def train(run, iterations, breaks_with=None):
    def step(engine, batch):
        if breaks_with is not None and engine.state.iteration == iterations:
            raise breaks_with
        engine.state.scalars = {"loss/task": float(engine.state.iteration), "weights/clipped share": 0.5}
        return {"loss": 0.0}

    engine = Engine(step)
    MLflowLogger(run, every=5).attach(engine)
    engine.run(range(iterations))


def history(client, run_id, key):
    return [(metric.step, metric.value) for metric in client.get_metric_history(run_id, key)]


def test_a_training_arrives_with_its_means_and_steps(output, description, client):
    with open_run(output, description) as run:
        train(run, 12)
    assert history(client(output), run.run_id, "loss/task") == [(5, 3.0), (10, 8.0), (12, 11.5)]
    assert history(client(output), run.run_id, "weights/clipped share") == [(5, 0.5), (10, 0.5), (12, 0.5)]
    assert client(output).get_run(run.run_id).info.status == "FINISHED"


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("no nuclei"), "FAILED"), (KeyboardInterrupt(), "KILLED")], ids=["error", "stop"]
)
def test_a_training_that_breaks_off_leaves_what_it_had(output, description, client, error, status):
    with pytest.raises(type(error)), open_run(output, description) as run:
        train(run, 8, breaks_with=error)
    recorded = client(output).get_run(run.run_id)
    assert recorded.info.status == status
    assert recorded.data.tags["error"].startswith(type(error).__name__)
    assert [step for step, _ in history(client(output), run.run_id, "loss/task")] == [5, 8]


def test_a_training_that_was_killed_is_continued_with_its_systems_metrics(output, description, client, monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")
    with subprocess.Popen([sys.executable, "-c", TRAINING, str(output)], stdout=subprocess.PIPE, text=True) as training:
        try:
            run_id = training.stdout.readline().strip()
            wait_until(lambda: history(client(output), run_id, MEMORY))
        finally:
            training.kill()
    assert training.returncode == -signal.SIGKILL
    assert client(output).get_run(run_id).info.status == "RUNNING"
    sampled = history(client(output), run_id, MEMORY)
    assert [step for step, _ in sampled] == list(range(len(sampled)))

    with open_run(output, description, iteration=5) as run:
        assert run.run_id == run_id
        assert client(output).get_run(run_id).info.status == "RUNNING"
        train(run, 5)
        wait_until(lambda: len(history(client(output), run_id, MEMORY)) > len(sampled))
    recorded = client(output).get_run(run_id)
    assert recorded.info.status == "FINISHED"
    assert recorded.data.tags["resumed_at"] == "5"
    steps = [step for step, _ in history(client(output), run_id, MEMORY)]
    assert steps == list(range(len(steps)))


def test_monais_handler_writes_into_the_same_database(output, description, client):
    def step(engine, batch):
        return {"loss": 0.5}

    with open_run(output, description) as run:
        run.log_metrics({"loss": 1.0}, step=1)
        engine = Engine(step)
        MLFlowHandler(
            tracking_uri=tracking_uri(output),
            experiment_name="nuclei",
            run_name="monai",
            iteration_log=True,
            epoch_log=False,
            close_on_complete=True,
            output_transform=lambda output: output["loss"],
        ).attach(engine)
        engine.run(range(3))
    runs = {found.info.run_name: found for found in client(output).search_runs([run.experiment_id])}
    assert set(runs) == {"first", "monai"}
    assert runs["monai"].info.status == "FINISHED"
    assert history(client(output), runs["monai"].info.run_id, "Loss") == [(1, 0.5), (2, 0.5), (3, 0.5)]
    assert history(client(output), run.run_id, "loss") == [(1, 1.0)]
