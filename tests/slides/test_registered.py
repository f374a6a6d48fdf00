"""Addresses in MLflow's registry that lead nowhere; for others see tests/tracking/test_registration.py."""

import pytest

from nucleosynth.errors import InputError
from nucleosynth.slides.registered import fetch_bundle, is_registered


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)


def test_what_is_an_address():
    assert is_registered("models:/nuclei@champion")
    assert not any(map(is_registered, (None, "models", "my/models")))


@pytest.mark.parametrize(
    "address", ["models:/nuclei", "models:/nuclei/best", "models:nuclei@champion", "models:/a/b/1"]
)
def test_what_is_none(address):
    with pytest.raises(InputError, match=rf"^{address}: no address of a model; give models:/NAME@ALIAS"):
        fetch_bundle(address)


def test_no_database_is_made_where_there_is_none(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"mlflow.db: no such file; set MLFLOW_TRACKING_URI"):
        fetch_bundle("models:/nuclei@champion")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(InputError, match=r"other.db: there is no such database"):
        fetch_bundle("models:/nuclei@champion")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_down_is_said_to_be(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    with pytest.raises(InputError, match=r"cannot be reached .*start it, or set MLFLOW_TRACKING_URI") as refused:
        fetch_bundle("models:/nuclei@champion")
    assert "secret" not in str(refused.value)


def test_what_is_no_database_is_refused(tmp_path, monkeypatch):
    (tmp_path / "mlflow.db").write_text("not a database")
    with pytest.raises(InputError, match=r"mlflow.db: MLflow cannot use this as its model registry"):
        fetch_bundle("models:/nuclei@champion")
