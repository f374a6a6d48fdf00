import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from nucleosynth.errors import InputError
from nucleosynth.workers import worker_pool

ENDLESS = """
import os, sys, time
from nucleosynth.workers import worker_pool
if __name__ == "__main__":
    with worker_pool(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        time.sleep(120)
"""


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_work():
    with worker_pool(2) as pool:
        assert list(pool.map(abs, [-1, 2])) == [1, 2]


def test_pytorch_has_one_thread_in_a_worker():
    with worker_pool(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 1


def test_a_worker_that_dies_is_one_line():
    with pytest.raises(InputError, match="a worker process died"), worker_pool(1) as pool:
        pool.submit(os._exit, 1).result()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_workers_end_with_a_killed_parent(tmp_path):
    (tmp_path / "endless.py").write_text(ENDLESS)
    parent = subprocess.Popen([sys.executable, tmp_path / "endless.py"], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    assert alive(worker)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    while alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(worker)
