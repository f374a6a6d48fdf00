import os
import signal
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
