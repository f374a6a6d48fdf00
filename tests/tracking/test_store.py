import re
import socket
import sqlite3
import threading
import time

import mlflow
import pytest

from nucleosynth.errors import InputError
from nucleosynth.tracking import open_store, tracking_uri


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_store_is_a_database_in_the_output_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tracking_uri(tmp_path / "out") == f"sqlite:///{tmp_path}/out/mlflow.db"
    assert tracking_uri("out") == f"sqlite:///{tmp_path}/out/mlflow.db"


def test_the_variable_wins(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking_uri(tmp_path) == "http://127.0.0.1:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"


@pytest.mark.parametrize("name", ["with space", "Grüße", "#1", "50% tumour", "a+b&c=d"])
def test_a_folder_may_have_any_name(new_output, name):
    folder = new_output(name)
    store = open_store(folder)
    run = store.client.create_run(store.experiment("nuclei"))
    store.client.log_text(run.info.run_id, "epochs: 3", "config/train.yaml")
    assert store.own
    assert sqlite3.connect(folder / "mlflow.db").execute("SELECT run_uuid FROM runs").fetchall() == [(run.info.run_id,)]
    assert [path.read_text() for path in folder.glob("mlruns/*/artifacts/config/train.yaml")] == ["epochs: 3"]
    assert [path.name for path in folder.parent.iterdir()] == [name], "nothing is made beside the folder"


@pytest.mark.parametrize("name", ["what?", "a%20b"])
def test_but_for_what_the_address_of_a_database_cannot_hold(tmp_path, name):
    with pytest.raises(InputError, match="give another folder or set MLFLOW_TRACKING_URI"):
        open_store(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_the_global_address_of_mlflow_stays(output):
    before = mlflow.get_tracking_uri()
    open_store(output)
    assert mlflow.get_tracking_uri() == before
    assert mlflow.active_run() is None


def test_an_experiment_is_made_once_and_its_files_lie_beside_the_database(output):
    store = open_store(output)
    assert store.experiment("nuclei") == store.experiment("nuclei")
    experiment = store.client.get_experiment_by_name("nuclei")
    assert experiment.artifact_location == (output / "mlruns").as_uri()


def test_a_deleted_experiment_is_refused(output):
    store = open_store(output)
    number = store.experiment("nuclei")
    store.client.delete_experiment(number)
    with pytest.raises(InputError, match=rf"'nuclei' was deleted; .* mlflow experiments restore .*{number}"):
        store.experiment("nuclei")


def test_files_of_another_database_lie_beside_it(output, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{output}/mlflow.db")
    store = open_store(tmp_path / "elsewhere")
    assert store.artifacts == (output / "mlruns").as_uri()
    assert not store.own
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("uri", ["runs", "./mlruns", "file:///runs"])
def test_a_folder_as_a_store_is_refused(tmp_path, monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(InputError, match=rf"MLFLOW_TRACKING_URI={uri}: MLflow no longer keeps runs in folders"):
        open_store(tmp_path)


@pytest.mark.parametrize("scheme", ["http", "postgresql+psycopg2"])
def test_a_server_that_is_down_is_reported_at_once_without_the_password(tmp_path, monkeypatch, free_port, scheme):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}://ada:secret@127.0.0.1:{free_port}/runs")
    start = time.monotonic()
    address = re.escape(f"{scheme}://ada@127.0.0.1:{free_port}/runs")
    with pytest.raises(InputError, match=f"{address}: .* cannot be reached") as info:
        open_store(tmp_path)
    assert time.monotonic() - start < 10
    assert "secret" not in str(info.value)
    assert "\n" not in str(info.value)


def test_a_server_that_does_not_answer_is_reported(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{mute.getsockname()[1]}")
        monkeypatch.setattr("nucleosynth.servers._TIMEOUT_SECONDS", 0.2)
        with pytest.raises(InputError, match=r"cannot be reached .*timed out"):
            open_store(tmp_path)


def test_a_server_that_is_not_able_to_serve_is_reported(tmp_path, monkeypatch):
    def answer(listener):
        connection, _ = listener.accept()
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, args=(listener,), daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(InputError, match=r"cannot be reached .*503"):
            open_store(tmp_path)


@pytest.mark.parametrize("uri", ["sqlite:////nowhere/at/all/mlflow.db", "nonsense://host", "nonsense+driver://"])
def test_an_address_that_mlflow_cannot_use_is_reported(tmp_path, monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(InputError, match=r"MLFLOW_TRACKING_URI=.*: MLflow cannot use this as its tracking store"):
        open_store(tmp_path)


def test_a_file_that_is_no_database_is_reported(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(InputError, match=r"mlflow\.db: MLflow cannot use this as its tracking store"):
        open_store(tmp_path)


def test_a_folder_in_place_of_the_database_is_reported(tmp_path):
    (tmp_path / "mlflow.db").mkdir()
    with pytest.raises(InputError, match=r"mlflow\.db: MLflow cannot use this as its tracking store"):
        open_store(tmp_path)


def test_a_new_database_is_made_in_silence(empty_database):
    assert empty_database.with_name("remarks.txt").read_text() == ""
