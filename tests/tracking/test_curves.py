import json

import pytest

from nucleosynth.errors import InputError
from nucleosynth.tracking import open_run, read_curves
from nucleosynth.tracking.run import RUN_FILE


def test_what_was_logged_is_read_back_by_steps(output, description):
    with open_run(output, description) as run:
        run.log_metrics({"loss/task": 0.5, "loss/refiner": 2.0}, step=20)
        run.log_metrics({"loss/task": 0.25}, step=40)
    curves = read_curves(output, ["loss/task", "loss/refiner", "loss/none"])
    assert curves == {"loss/task": [(20, 0.5), (40, 0.25)], "loss/refiner": [(20, 2.0)], "loss/none": []}


def test_of_a_step_that_was_done_twice_the_later_value_counts(output, description):
    for value in (0.5, 0.125):
        with open_run(output, description, iteration=20) as run:
            run.log_metrics({"loss": value}, step=20)
    assert read_curves(output, ["loss"]) == {"loss": [(20, 0.125)]}


def test_a_folder_without_a_run_and_a_run_that_is_gone_are_errors(output, description):
    output.mkdir(exist_ok=True)
    with pytest.raises(InputError, match=f"has no {RUN_FILE}, so no training was recorded here"):
        read_curves(output, ["loss"])
    with open_run(output, description):
        pass
    known = json.loads((output / RUN_FILE).read_text())
    (output / RUN_FILE).write_text(json.dumps({**known, "run_id": "0" * 32}))
    with pytest.raises(InputError, match="MLflow has no such run"):
        read_curves(output, ["loss"])
