import os
import signal
import subprocess
import sys
from pathlib import Path

# Tests run in several processes, which must not fight for the cores. Libraries read these when they are first
# imported, so they stand before all other imports; commands that tests start inherit them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")

import numpy as np
import pytest

# A shell starts background jobs with interrupts ignored, and what they start inherits that. Tests interrupt commands.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def shared_data():
    """Real histology, outside the repository: ``../shared/data``. Tests that need it are skipped where it is not."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs real histology in {folder}, which is not there")
    return folder


# Python runs this at the start of every process of the command, its workers too. Of the renames that put files into
# place, the one that is due never happens: all processes are killed instead.
_KILL_WHEN_DUE = """
import os, signal, sys

left = int(os.environ["KILL_AT_COUNT"])

def kill_when_due(event, arguments):
    global left
    if event == "os.rename" and os.fspath(arguments[1]).endswith(os.environ["KILL_AT_FILE"]):
        left -= 1
        if left == 0:
            os.killpg(0, signal.SIGKILL)

sys.addaudithook(kill_when_due)
"""


@pytest.fixture
def run_until_killed(tmp_path_factory):
    """Run ``nucleosynth ARGUMENTS``, SIGKILL at the moment when a file is written and not yet renamed into place.

    A test that watches for a file and then kills may come too late on a busy machine; this one kills from inside.
    Its arguments: those of the command; how the path of the file ends; how many of such renames it is (from 1).
    """
    if not hasattr(signal, "SIGKILL"):
        pytest.skip("needs SIGKILL")
    hook = tmp_path_factory.mktemp("hook")
    (hook / "sitecustomize.py").write_text(_KILL_WHEN_DUE)

    def run(arguments, destination, count=1):
        command = [sys.executable, "-m", "nucleosynth", *map(str, arguments)]
        environment = {"PYTHONPATH": str(hook), "KILL_AT_FILE": destination, "KILL_AT_COUNT": str(count)}
        ended = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | environment, start_new_session=True
        )
        assert ended.returncode == -signal.SIGKILL, f"it ended with {ended.returncode}: {ended.stderr}"

    return run


@pytest.fixture(scope="session")
def tiny_training():
    """An overlay of ``train.yaml``, after ``quick``, that trains all three networks within seconds."""
    return {
        "patch_size": 64,
        "batch_size": 2,
        "num_workers": 0,
        "phases": [
            {"discriminator": 1, "iterations": 2},
            {"refiner": 1, "discriminator": 1, "iterations": 2},
            {"task": 1, "iterations": 4},
        ],
        "refiner_def#width": 4,
        "discriminator_def#widths": [4, 4, 4, 4, 4],
        "network_def#channels": [4, 8, 8, 8, 8],
        "train#checkpoint#every": 3,
        "train#history#capacity": 4,
        "train#held_out#count": 4,
        "validate#dataset#indices": "$range(2)",
    }
