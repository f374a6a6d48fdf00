"""A registered model at work: in this process, in one that knows only what is installed, and behind HTTP."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import cv2
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from nucleosynth import segment
from nucleosynth.data.images import read_image

pytestmark = pytest.mark.registry

ADDRESS = "models:/nuclei-segmentation@champion"


@pytest.fixture(scope="module")
def model(registry):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", registry.uri)
        return mlflow.pyfunc.load_model(ADDRESS)


@pytest.fixture(scope="module")
def files(labelled):
    return [labelled / "images" / f"{number}.png" for number in range(2)]


@pytest.fixture(scope="module")
def images(files):
    return [read_image(file) for file in files]


@pytest.fixture(scope="module")
def texts(files):
    return [base64.b64encode(file.read_bytes()).decode() for file in files]


@pytest.fixture(scope="module")
def expected(images):
    return [segment(image, mpp=0.25) for image in images]


def as_label(answer):
    return cv2.imdecode(np.frombuffer(base64.b64decode(answer["label_png"]), np.uint8), cv2.IMREAD_UNCHANGED)


def test_one_image(model, images, expected):
    answer = model.predict(images[0])
    (label,) = answer["labels"]
    assert label.dtype == np.int32
    assert (label == expected[0].label).all()
    nuclei = answer["nuclei"]
    assert len(nuclei) == len(expected[0].polygons) > 0
    assert list(nuclei["label"]) == list(range(1, len(nuclei) + 1))
    pd.testing.assert_frame_equal(nuclei[expected[0].table.columns], expected[0].table)
    assert list(nuclei["polygon"]) == list(expected[0].polygons)


def test_a_batch_and_a_list_of_several_sizes(model, images, expected):
    answer = model.predict(np.stack(images))
    assert all((label == each.label).all() for label, each in zip(answer["labels"], expected, strict=True))
    assert answer["nuclei"].groupby("image").size().to_dict() == {i: len(e.polygons) for i, e in enumerate(expected)}
    small = np.ascontiguousarray(images[1][:100, :120])
    answer = model.predict([images[0], small])
    assert [label.shape for label in answer["labels"]] == [(160, 200), (100, 120)]
    assert (answer["labels"][0] == expected[0].label).all()


def test_files_come_back_as_text(model, texts, files, expected):
    as_bytes = [file.read_bytes() for file in files]
    for given in (texts, pd.DataFrame({"image": texts}), as_bytes, np.array(texts)):
        answers = model.predict(given)
        for answer, each in zip(answers, expected, strict=True):
            assert (as_label(answer) == each.label).all()
            assert [nucleus["x_px"] for nucleus in answer["nuclei"]] == list(each.table["x_px"])
            assert answer["nuclei"][0]["polygon"][0] == list(each.polygons[0].exterior.coords[0])
    json.dumps(answers)


def test_the_scale_is_a_parameter(model, images):
    at_half = segment(images[0], mpp=0.5)
    answer = model.predict(images[0], params={"mpp": 0.5})
    assert (answer["labels"][0] == at_half.label).all()


def test_images_that_cannot_be_used(model, images, texts):
    grey = base64.b64encode(cv2.imencode(".png", images[0][..., 0])[1].tobytes()).decode()
    for given, reason in (
        (images[0].astype(float), "image 0: must be uint8 of shape"),
        ([images[0], images[0][..., :2]], "image 1: must be uint8 of shape"),
        ([images[0], texts[0]], "either arrays or image files"),
        (["%"], "image 0: not base64"),
        ([texts[0], texts[0][:400]], "image 1: damaged, truncated or not an image"),
        ([grey], "image 0: is grayscale, but 8-bit RGB is needed"),
        ([], "there is no image"),
        (None, "give an image"),
        (pd.DataFrame({"picture": texts}), "has a column 'image', got picture"),
    ):
        with pytest.raises(MlflowException, match=reason):
            model.predict(given)
    with pytest.raises(MlflowException, match="mpp must be positive"):
        model.predict(images[0], params={"mpp": -1.0})


def test_another_process_needs_nothing_but_what_is_installed(registry, files, expected, tmp_path):
    script = (
        "import sys, mlflow, numpy as np; from PIL import Image\n"
        f"model = mlflow.pyfunc.load_model({ADDRESS!r})\n"
        "print(len(model.predict(np.array(Image.open(sys.argv[1])))['nuclei']))\n"
    )
    command = [sys.executable, "-I", "-c", script, str(files[0])]
    environment = os.environ | {"MLFLOW_TRACKING_URI": registry.uri}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) == len(expected[0].polygons)


@pytest.fixture(scope="module")
def server(registry, tmp_path_factory):
    """``mlflow models serve`` on a free port of this machine."""
    if not hasattr(os, "killpg"):
        pytest.skip("needs process groups")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", ADDRESS, "--env-manager", "local"]
    folder = tmp_path_factory.mktemp("server")
    # It starts uvicorn by name.
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    environment = os.environ | {"MLFLOW_TRACKING_URI": registry.uri, "PATH": path}
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [*program, "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        for _ in range(600):
            assert process.poll() is None, (folder / "log.txt").read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ask(server, **body):
    request = urllib.request.Request(server, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["predictions"]


@pytest.mark.slow
def test_a_server_answers_with_nuclei(server, texts, expected):
    for body in (
        {"inputs": texts},
        {"dataframe_split": {"columns": ["image"], "data": [[text] for text in texts]}},
        {"dataframe_records": [{"image": text} for text in texts]},
    ):
        answers = ask(server, **body)
        for answer, each in zip(answers, expected, strict=True):
            assert (as_label(answer) == each.label).all()
            assert len(answer["nuclei"]) == len(each.polygons)
            assert answer["nuclei"][0]["area_um2"] == pytest.approx(each.table["area_um2"][0])
    assert len(ask(server, inputs=texts[0])) == 1
    assert len(ask(server, inputs=texts, params={"mpp": 0.5})) == 2


@pytest.mark.slow
def test_a_server_says_what_is_wrong_with_a_request(server, texts):
    for body, reason in (
        ({"inputs": ["%"]}, "image 0: not base64"),
        ({"inputs": [[[[1, 2, 3]]]]}, "got int64 of shape (1, 1, 3)"),
        ({"inputs": texts, "params": {"mpp": -1}}, "mpp must be positive"),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(server, **body)
        assert refused.value.code == 400
        assert reason in json.load(refused.value)["message"]
