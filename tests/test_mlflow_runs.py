"""``mlflow run mlflow/`` for real: with a database in a file, and with the server of ``compose.yaml`` on PostgreSQL."""

import contextlib
import getpass
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from nucleosynth.data.images import write_label, write_png
from nucleosynth.data.phantom import PhantomSettings, generate_phantom, write_phantom

pytestmark = [pytest.mark.registry, pytest.mark.slow]

PROJECT = Path(__file__).resolve().parents[1] / "mlflow"
PASSWORD = "of this test alone"


@dataclass(frozen=True)
class Store:
    """A tracking store, and where it keeps files."""

    uri: str
    artifacts: Path


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def environment(**more):
    """That of an activated installation, without what the one who runs the tests has set."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return clean | {"PATH": path, **more}


@contextlib.contextmanager
def running(command, log, **options):
    """A program that is ended, with all that it started, at the end of the block."""
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True, **options)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(process, log, ready):
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            ready()
            return
        time.sleep(0.5)
    pytest.fail(f"it does not answer: {log.read_text()}")


def find_program(name):
    found = [shutil.which(name), *map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}")))]
    programs = [program for program in found if program]
    if not programs:
        pytest.skip(f"needs PostgreSQL, whose {name} is not there")
    return programs[-1]


@pytest.fixture(scope="module")
def postgres():
    """A PostgreSQL of this test alone; gives its port. It refuses to run as root, so another user owns its folder."""
    pytest.importorskip("psycopg2", reason="needs psycopg2-binary")
    programs = {name: find_program(name) for name in ("initdb", "postgres")}
    user = getpass.getuser()
    if os.getuid() == 0:
        known = {each.pw_name for each in pwd.getpwall()}
        user = "postgres" if "postgres" in known else "nobody"
    account = pwd.getpwnam(user)
    as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
    # Not below pytest's own folders, which only their owner may enter.
    with tempfile.TemporaryDirectory(prefix="nucleosynth-postgres-") as name:
        folder = Path(name)
        os.chown(folder, account.pw_uid, account.pw_gid)
        (folder / "password").write_text(PASSWORD)
        os.chown(folder / "password", account.pw_uid, account.pw_gid)
        create = [programs["initdb"], "-D", str(folder / "data"), "--username=mlflow", "--auth=scram-sha-256"]
        subprocess.run(
            [*create, f"--pwfile={folder / 'password'}", "--encoding=UTF8", "--no-sync"],
            check=True,
            capture_output=True,
            cwd=folder,
            **as_user,
        )
        port = free_port()
        serve = [programs["postgres"], "-D", str(folder / "data"), "-p", str(port), "-k", str(folder)]
        with running([*serve, "-c", "listen_addresses=127.0.0.1"], folder / "log", cwd=folder, **as_user) as process:
            wait_for(process, folder / "log", lambda: socket.create_connection(("127.0.0.1", port)).close())
            yield port


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def store(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sqlite":
        yield Store(f"sqlite:///{folder}/mlflow.db", folder / "mlruns")
        return
    database = request.getfixturevalue("postgres")
    # The options of compose.yaml, with the addresses of this test.
    (_, _, *options) = yaml.safe_load((PROJECT / "compose.yaml").read_text())["services"]["server"]["command"]
    port = free_port()
    given = {
        "--host": "127.0.0.1",
        "--port": str(port),
        "--backend-store-uri": f"postgresql+psycopg2://mlflow@127.0.0.1:{database}/postgres",
        "--artifacts-destination": str(folder / "artifacts"),
    }
    named = [option.partition("=")[0] for option in options]
    assert set(given) < set(named)
    command = [sys.executable, "-m", "mlflow", "server", "--workers=1"]
    command += [f"{name}={given[name]}" if name in given else name for name in named]
    log = folder / "log.txt"
    # Eight processes for what nobody asks it here.
    no_jobs = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with running(command, log, cwd=folder, env=environment(PGPASSWORD=PASSWORD, **no_jobs)) as process:
        url = f"http://127.0.0.1:{port}"
        wait_for(process, log, lambda: urllib.request.urlopen(f"{url}/health", timeout=5).close())
        yield Store(url, folder / "artifacts")


@pytest.fixture(scope="module")
def tissue(tmp_path_factory):
    """Tissue that the project makes: ``images`` and ``labels``, and one of them as a slide, in ``slides``."""
    folder = tmp_path_factory.mktemp("tissue")
    for number in range(4):
        phantom = generate_phantom(PhantomSettings(width=96, height=96, seed=number, tissue_share=1.0))
        write_png(folder / "images" / f"{number}.png", phantom.image)
        write_label(folder / "labels" / f"{number}.png", phantom.labels)
    slide, _ = write_phantom(phantom, folder, "slide")
    (folder / "slides").mkdir()
    slide.rename(folder / "slides" / "3.tiff")
    (folder / "truth").mkdir()
    shutil.copy(folder / "labels" / "3.png", folder / "truth")
    return folder


def mlflow_run(store, folder, entry_point, **parameters):
    command = [sys.executable, "-m", "mlflow", "run", str(PROJECT), "--env-manager", "local", "-e", entry_point]
    for name, value in parameters.items():
        command += ["-P", f"{name}={value}"]
    ended = subprocess.run(
        command, cwd=folder, env=environment(MLFLOW_TRACKING_URI=store.uri), capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_train_register_segment_and_evaluate(store, tissue, tmp_path, tiny_training):
    """All in a row, as the second takes what the first has left."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny_training))
    for name in ("model", "nuclei"):
        (tmp_path / name).mkdir()
    tiny = {"overlay": tmp_path / "tiny.yaml", "preset": "quick"}
    mlflow_run(store, tmp_path, "train_overlay", tiles=tissue / "images", output="model", **tiny)
    mlflow_run(store, tmp_path, "register", bundle="model", evaluate=tissue)
    client = MlflowClient(store.uri)
    version = client.get_model_version_by_alias("nuclei-segmentation", "champion")
    assert str(version.version) == "1"
    assert "evaluation.aji" in version.tags
    mlflow_run(
        store,
        tmp_path,
        "segment",
        inputs=tissue / "slides",
        output="nuclei",
        model="models:/nuclei-segmentation@champion",
    )
    digest = json.loads((tmp_path / "nuclei" / "3" / "run.json").read_text())["settings"]["model_sha256"]
    assert digest == version.tags["model.sha256"]
    assert "\nmean" in mlflow_run(store, tmp_path, "evaluate", truth=tissue / "truth", prediction="nuclei")

    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    commands = {
        run.data.tags["mlflow.project.entryPoint"]: run for run in runs if "mlflow.project.entryPoint" in run.data.tags
    }
    assert set(commands) == {"train_overlay", "register", "segment", "evaluate"}
    training = next(run for run in runs if run.data.tags.get("command") == "train")
    assert training.data.tags["mlflow.parentRunId"] == commands["train_overlay"].info.run_id
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert "loss/task" in training.data.metrics
    assert version.tags["data.sha256"] == training.data.tags["data.sha256"]
    assert list(store.artifacts.rglob("model_card.md"))
    assert list(store.artifacts.rglob("nuclei_segmentation/models/model.pt"))
