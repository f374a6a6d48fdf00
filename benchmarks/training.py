"""How fast does a training run? Iterations per second of every phase, time spent waiting for data, peak memory.

    python benchmarks/training.py TILES [--preset quick] [--iterations 30] [--set KEY=VALUE ...] [--json FILE]

Runs the bundle ``nuclei_segmentation`` with each phase of the preset cut to so many iterations, on the device that the
configuration chooses. The first iterations of each phase, in which caches fill and kernels are chosen, are not counted.
Beside it, in the same run, stands the time of one step of the task network alone on a batch that is already there: the
ratio of a phase's iteration to it does not depend on how busy the machine is.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from nucleosynth.threads import let_threads_sleep

let_threads_sleep()  # As the command line does, before torch is there.

import torch  # noqa: E402
import yaml  # noqa: E402
from ignite.engine import Events  # noqa: E402
from monai.bundle import ConfigParser  # noqa: E402

from nucleosynth.engines.training import TrainingSettings, read_configuration  # noqa: E402

WARM_UP = 5


class Clock:
    """Seconds of each iteration, and of the wait for its data, by phase."""

    def __init__(self) -> None:
        self.phases: dict[int, list[tuple[float, float]]] = {}
        self._begun = self._fetched = 0.0

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._begin)
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self._fetch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._end)

    def _begin(self, engine: Any) -> None:
        self._begun = time.perf_counter()

    def _fetch(self, engine: Any) -> None:
        self._fetched = time.perf_counter()

    def _end(self, engine: Any) -> None:
        if engine.state.device.type == "cuda":
            torch.cuda.synchronize()
        number = engine.schedule.phase_number(engine.state.iteration - 1)
        waited, done = self._fetched - self._begun, time.perf_counter() - self._begun
        self.phases.setdefault(number, []).append((done, waited))


def configuration(arguments: argparse.Namespace, output: str) -> dict[str, Any]:
    """The preset with short phases and without what is not trained: tracking, diagnostics, validation."""
    config = read_configuration(TrainingSettings(arguments.preset))
    phases = [{**phase, "iterations": arguments.iterations + WARM_UP} for phase in config["phases"]]
    config |= {"phases": phases, "dataset_dir": arguments.tiles, "output_dir": output, "mlflow_run": None}
    parser = ConfigParser(config)
    for change in arguments.set:
        key, _, value = change.partition("=")
        parser[key] = yaml.safe_load(value)
    return parser.get()


def step_alone(trainer: Any, size: int, batch: int, repeats: int = 10) -> float:
    """Median seconds of one step of the task network on a batch of noise."""
    learner, device = trainer.learners["task"], trainer.state.device
    images = torch.rand(batch, 3, size, size, device=device).to(memory_format=torch.channels_last)
    targets = torch.rand(batch, 2, size, size, device=device).round()
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        with trainer.autocast():
            loss = learner.loss(learner.network(images), targets).mean()
        loss.backward()
        learner.optimizer.step()
        learner.optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tiles")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--iterations", type=int, default=30, help="counted iterations of each phase")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="other changes of the configuration")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    clock = Clock()
    with tempfile.TemporaryDirectory() as output:
        config = configuration(arguments, output)
        config["train"]["handlers"] = "$[clock]"
        workflow = ConfigParser(config, globals={"monai": "monai", "clock": clock})
        workflow.get_parsed_content("initialize")
        trainer = workflow.get_parsed_content("train#trainer")
        trainer.run()
        alone = step_alone(trainer, config["patch_size"], config["batch_size"])
    rows = []
    for number, times in sorted(clock.phases.items()):
        iteration, waiting = (statistics.fmean(each) for each in zip(*times[WARM_UP:], strict=True))
        rows.append(
            {
                "phase": trainer.schedule.phases[number].title,
                "iterations/s": 1 / iteration,
                "waiting for data [%]": 100 * waiting / iteration,
                "iteration / bare task step": iteration / alone,
            }
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print("|" + "|".join(rows[0]) + "|\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(v if isinstance(v, str) else f"{v:.3g}" for v in row.values()) + " |")
    print(
        f"\nbare task step {1000 * alone:.0f} ms; peak memory {peak:.0f} MB, of the largest worker {workers:.0f} MB",
        end="",
    )
    on_gpu = trainer.state.device.type == "cuda"
    gpu = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else None
    print(f", GPU {gpu:.0f} MB" if on_gpu else "; no GPU")
    if arguments.json:
        found = {"rows": rows, "bare_step_s": alone, "peak_mb": peak, "worker_mb": workers, "gpu_mb": gpu}
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
