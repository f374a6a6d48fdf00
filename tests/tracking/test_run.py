import json
import math
import os
import re
import shlex
import shutil
import threading
import time
from dataclasses import replace

import mlflow
import pytest

from nucleosynth.errors import InputError
from nucleosynth.record import run_record
from nucleosynth.tracking import RunDescription, TrackedRun, open_run, record_tags
from nucleosynth.tracking import run as run_module


def history(client, run, key):
    return [(metric.step, metric.value) for metric in client.get_metric_history(run.run_id, key)]


def artifacts(output):
    files = [path for path in output.glob("mlruns/*/artifacts/**/*") if path.is_file()]
    return {"/".join(path.relative_to(output / "mlruns").parts[2:]): path.read_text() for path in files}


def monitors():
    return [thread for thread in threading.enumerate() if thread.name == "SystemMetricsMonitor"]


def test_a_training_is_recorded(output, description, client):
    with open_run(output, description) as run:
        assert client(output).get_run(run.run_id).info.status == "RUNNING"
        run.log_metrics({"loss/task": 0.5, "lr/task": 1e-3}, step=20)
        run.log_metrics({"loss/task": 0.25}, step=40)
    recorded = client(output).get_run(run.run_id)
    assert recorded.info.status == "FINISHED"
    assert recorded.info.run_name == "first"
    assert recorded.data.params == {"epochs": "3"}
    assert recorded.data.tags["seed"] == "7"
    assert client(output).get_experiment(run.experiment_id).name == "nuclei"
    assert history(client(output), run, "loss/task") == [(20, 0.5), (40, 0.25)]
    assert history(client(output), run, "lr/task") == [(20, 1e-3)]
    assert artifacts(output) == {"config/train.yaml": "epochs: 3\n"}
    assert monitors() == []
    assert mlflow.active_run() is None


def test_metrics_are_written_in_batches(output, description, client, monkeypatch):
    with open_run(output, description) as run:
        run.log_metrics({"loss": 1.0}, step=1)
        assert history(client(output), run, "loss") == []
        run.flush()
        assert history(client(output), run, "loss") == [(1, 1.0)]
        monkeypatch.setattr(run_module, "_FLUSH_SECONDS", 0.0)
        run.log_metrics({"loss": 2.0}, step=2)
        assert history(client(output), run, "loss") == [(1, 1.0), (2, 2.0)]
        monkeypatch.setattr(run_module, "_FLUSH_SECONDS", 1e9)
        for step in range(3, 1503):
            run.log_metrics({"loss": 0.0}, step)
        assert len(history(client(output), run, "loss")) == 1002
    assert len(history(client(output), run, "loss")) == 1502


def test_what_is_not_finite_is_a_gap(output, description, client):
    with open_run(output, description) as run:
        for step, value in enumerate([1.0, math.nan, math.inf, -math.inf, 2.0]):
            run.log_metrics({"loss": value}, step)
        run.log_metrics({"loss": math.nan}, step=1)
    values = history(client(output), run, "loss")
    assert [(step, value) for step, value in values if math.isfinite(value)] == [(0, 1.0), (4, 2.0)]
    assert {step for step, value in values if math.isnan(value)} == {1, 2, 3}


def test_a_metric_with_a_strange_name_is_logged(output, description, client):
    with open_run(output, description) as run:
        run.log_metrics({"dice (%)": 80.0}, step=1)
    assert history(client(output), run, "dice ___") == [(1, 80.0)]


def test_files_tables_and_bundles_are_kept(output, description, tmp_path):
    bundle = tmp_path / "my_bundle"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "configs" / "inference.yaml").write_text("mpp: 0.25\n")
    picture = tmp_path / "preview.txt"
    picture.write_text("nuclei")
    with open_run(output, description) as run:
        run.log_artifact(picture)
        run.log_artifact(picture, "diagnostics")
        run.log_model_files(bundle)
        run.log_table("scores", {"image": ["old"], "dice": [0.0]})
        run.log_table("scores", {"image": ["a", "b, c"], "dice": [0.5, 0.75]})
    kept = artifacts(output)
    assert kept["preview.txt"] == kept["diagnostics/preview.txt"] == "nuclei"
    assert kept["bundle/configs/inference.yaml"] == "mpp: 0.25\n"
    assert kept["scores.csv"] == 'image,dice\na,0.5\n"b, c",0.75\n'


def test_a_wrong_call_is_an_error(output, description, tmp_path):
    with open_run(output, description) as run:
        with pytest.raises(ValueError, match="one length"):
            run.log_table("scores", {"image": ["a"], "dice": []})
        with pytest.raises(FileNotFoundError, match=r"missing\.png"):
            run.log_artifact(tmp_path / "missing.png")


def test_many_parameters_and_tags_are_all_logged(output, client):
    params = {f"network.{index}": str(index) for index in range(350)}
    tags = {f"input.{index}": "x" * 9000 for index in range(120)}
    with open_run(output, RunDescription("nuclei", "big", params, tags)) as run:
        pass
    recorded = client(output).get_run(run.run_id).data
    assert recorded.params == params
    assert recorded.tags["input.119"] == "x" * 7997 + "..."


@pytest.mark.parametrize(
    ("error", "status", "tag"),
    [
        (ValueError("no nuclei in patch 7"), "FAILED", "ValueError: no nuclei in patch 7"),
        (KeyboardInterrupt(), "KILLED", "KeyboardInterrupt"),
        (RuntimeError("x" * 9000), "FAILED", "RuntimeError: " + "x" * 7983 + "..."),
    ],
    ids=["error", "interrupt", "long"],
)
def test_a_training_that_breaks_off_says_why(output, description, client, error, status, tag):
    with pytest.raises(type(error)), open_run(output, description) as run:  # noqa: PT012
        run.log_metrics({"loss": 1.0}, step=1)
        raise error
    recorded = client(output).get_run(run.run_id)
    assert recorded.info.status == status
    assert recorded.data.tags["error"] == tag
    assert history(client(output), run, "loss") == [(1, 1.0)]
    assert ("raise error" in artifacts(output).get("error.txt", "")) == (status == "FAILED")
    assert monitors() == []


def test_the_first_end_counts(output, description, client):
    run = open_run(output, description)
    run.fail(ValueError("first"))
    run.fail(ValueError("second"))
    run.finish()
    recorded = client(output).get_run(run.run_id)
    assert (recorded.info.status, recorded.data.tags["error"]) == ("FAILED", "ValueError: first")


def test_the_same_folder_continues_the_same_run(output, description, client):
    with pytest.raises(ValueError), open_run(output, description) as first:  # noqa: PT012
        first.log_metrics({"loss": 4.0}, step=20)
        first.log_metrics({"loss": 3.0}, step=40)
        raise ValueError("disk full")
    later = replace(description, name="second", params={"epochs": "5", "amp": "true"}, tags={"seed": "7", "host": "b"})
    with open_run(output, later, iteration=20) as second:
        assert client(output).get_run(second.run_id).info.status == "RUNNING"
        second.log_metrics({"loss": 2.5}, step=40)
    assert second.run_id == first.run_id
    recorded = client(output).get_run(second.run_id)
    assert recorded.info.status == "FINISHED"
    assert recorded.info.run_name == "first"
    assert recorded.data.params == {"epochs": "3", "amp": "true"}
    assert recorded.data.tags["changed_on_resume"] == "epochs: 3 -> 5"
    assert recorded.data.tags["resumed_at"] == "20"
    assert "error" not in recorded.data.tags
    assert sorted(history(client(output), second, "loss")) == [(20, 4.0), (40, 2.5), (40, 3.0)]
    assert recorded.data.metrics["loss"] == 2.5
    with open_run(output, later, iteration=40):
        pass
    assert client(output).get_run(second.run_id).data.tags["resumed_at"] == "20, 40"


def test_runs_in_two_folders_do_not_mix(new_output, description, client):
    one, two = new_output("one"), new_output("two")
    with open_run(one, description) as first, open_run(two, description) as second:
        first.log_metrics({"loss": 1.0}, step=1)
        second.log_metrics({"loss": 2.0}, step=1)
    assert history(client(one), first, "loss") == [(1, 1.0)]
    assert history(client(two), second, "loss") == [(1, 2.0)]
    for folder, run in ((one, first), (two, second)):
        runs = client(folder).search_runs([run.experiment_id])
        assert [found.info.run_id for found in runs] == [run.run_id]


def test_two_runs_in_one_store_do_not_mix(output, description, tmp_path, client, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{output}/mlflow.db")
    with open_run(tmp_path / "a", description) as first, open_run(tmp_path / "b", description) as second:
        first.log_metrics({"loss": 1.0}, step=1)
        second.log_metrics({"loss": 2.0}, step=1)
    assert first.run_id != second.run_id
    assert history(client(output), first, "loss") == [(1, 1.0)]
    assert history(client(output), second, "loss") == [(1, 2.0)]
    assert not (tmp_path / "a" / "mlflow.db").exists()
    with open_run(tmp_path / "a", description) as again:
        pass
    assert again.run_id == first.run_id


def test_another_store_begins_another_run(new_output, description, client, monkeypatch, caplog):
    folder, server = new_output("one"), new_output("server")
    with open_run(folder, description) as first:
        pass
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{server}/mlflow.db")
    with open_run(folder, description) as second:
        pass
    assert f"run {first.run_id} of this training is recorded in the folder's own database" in caplog.text
    tags = client(server).get_run(second.run_id).data.tags
    assert tags["continues"] == f"{first.run_id} (the folder's own database)"


def test_a_run_that_was_deleted_is_followed_by_another(output, description, client, caplog):
    with open_run(output, description) as first:
        pass
    client(output).delete_run(first.run_id)
    with open_run(output, description) as second:
        pass
    assert second.run_id != first.run_id
    assert "was deleted" in caplog.text
    content = json.loads((output / "mlflow_run.json").read_text())
    content["run_id"] = "0" * 32
    (output / "mlflow_run.json").write_text(json.dumps(content))
    with open_run(output, description):
        pass
    assert "is no longer in" in caplog.text


def test_a_folder_that_was_moved_is_refused(output, description, tmp_path):
    with open_run(output, description):
        pass
    shutil.copytree(output, tmp_path / "copy")
    with pytest.raises(InputError, match=f"{re.escape(str(output))}/mlruns/.*; move the folder back, or delete"):
        open_run(tmp_path / "copy", description)
    (tmp_path / "link").symlink_to(output)
    with open_run(tmp_path / "link", description):
        pass


def test_a_file_that_names_no_run_is_refused(output, description):
    for content in ("", "{}", "[]"):
        (output / "mlflow_run.json").write_text(content)
        with pytest.raises(InputError, match=r"mlflow_run\.json: does not name an MLflow run"):
            open_run(output, description)


def test_a_training_outlives_its_store(output, description, client, monkeypatch, caplog):
    with open_run(output, description) as run:
        database, away = output / "mlflow.db", output / "away.db"
        os.replace(database, away)
        database.mkdir()
        run.log_metrics({"loss": 1.0}, step=1)
        run.flush()
        run.log_artifact(description.config_files[0], "late")
        assert "1 values are kept back" in caplog.text
        assert "train.yaml is not kept there" in caplog.text
        database.rmdir()
        os.replace(away, database)
        run.log_metrics({"loss": 2.0}, step=2)
        run.flush()
        assert history(client(output), run, "loss") == [], "it waits a minute before it tries again"
    assert history(client(output), run, "loss") == [(1, 1.0), (2, 2.0)]
    assert client(output).get_run(run.run_id).info.status == "FINISHED"


def test_it_says_where_to_look(new_output, description):
    with open_run(new_output("my output"), description) as run:
        command = shlex.split(run.place)
    assert command == ["mlflow", "ui", "--backend-store-uri", run.store.uri, "--host", "127.0.0.1"]
    server = replace(run.store, uri="https://ada:secret@host/", label="https://ada@host/", own=False)
    assert TrackedRun(server, "b7", "1", None).place == "https://ada@host/#/experiments/1/runs/b7"


def test_a_monitor_that_hangs_does_not_hold_up_the_end(output, description, client, monkeypatch):
    run = open_run(output, description)
    stop, released = run._monitor.finish, threading.Event()
    monkeypatch.setattr(run._monitor, "finish", lambda: released.wait(60))
    monkeypatch.setattr(run_module, "_STOP_SECONDS", 0.1)
    start = time.monotonic()
    run.finish()
    assert time.monotonic() - start < 5
    assert client(output).get_run(run.run_id).info.status == "FINISHED"
    released.set()
    stop()


def test_the_tags_of_a_record(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tile.png").write_bytes(b"tissue")
    settings = RunDescription("nuclei", "first", {}, {})
    one, two = (record_tags(run_record("train", settings, [tmp_path / name / "tile.png"])) for name in "ab")
    assert one == two
    assert one["command"] == "train"
    assert one["version.torch"].startswith("2.")
    assert "seed" not in one
    (tmp_path / "b" / "tile.png").write_bytes(b"other tissue")
    other = record_tags(run_record("train", settings, [tmp_path / "b" / "tile.png"]))
    assert other["data.sha256"] != one["data.sha256"]
    assert record_tags({"command": "train", "settings": {"seed": 3}, "inputs": [], "versions": {}})["seed"] == "3"


def test_under_mlflow_run_it_is_a_child_of_the_commands_run(output, description, client, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "c0ffee")
    with open_run(output, description) as run:
        pass
    assert client(output).get_run(run.run_id).data.tags["mlflow.parentRunId"] == "c0ffee"
