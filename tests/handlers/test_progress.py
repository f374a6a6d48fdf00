"""The progress bar: on a terminal from start to end, silent elsewhere."""

import os
import pty
import subprocess
import sys

SCRIPT = """
from types import SimpleNamespace
from ignite.engine import Engine, Events
from nucleosynth.handlers import TrainingEvents, TrainingProgress

phase = SimpleNamespace(title="1 task")
engine = Engine(lambda engine, batch: None)
engine.register_events(*TrainingEvents)
engine.schedule = SimpleNamespace(iterations=5, phase=lambda iteration: phase)
engine.state.rank, engine.state.scalars = 0, {"loss/task": 0.25}
TrainingProgress().attach(engine)
if FAIL:
    @engine.on(Events.ITERATION_COMPLETED(once=3))
    def fail():
        raise SystemExit(3)
try:
    engine.run(range(5))
finally:
    engine.fire_event(TrainingEvents.ENDED)
"""


def run(script, terminal):
    parent, child = pty.openpty()
    stderr = child if terminal else subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", script], stderr=stderr, stdout=subprocess.PIPE)
    out, err = process.communicate()
    os.close(child)
    if terminal:
        os.set_blocking(parent, False)
        err = b""
        try:
            while part := os.read(parent, 65536):
                err += part
        except (BlockingIOError, OSError):
            pass
    os.close(parent)
    return process.returncode, out, err.decode()


def test_it_shows_phase_count_and_losses_on_a_terminal_and_gives_the_cursor_back():
    code, out, err = run(SCRIPT.replace("FAIL", "False"), terminal=True)
    assert code == 0
    assert out == b""
    assert "Training 1 task" in err
    assert "5/5" in err
    assert "task 0.250" in err
    assert err.rstrip().endswith("\x1b[?25h")


def test_a_training_that_fails_gives_the_cursor_back_too():
    code, _, err = run(SCRIPT.replace("FAIL", "True"), terminal=True)
    assert code == 3
    assert "\x1b[?25h" in err


def test_it_is_silent_in_a_pipe():
    code, _, err = run(SCRIPT.replace("FAIL", "False"), terminal=False)
    assert code == 0
    assert err == ""
