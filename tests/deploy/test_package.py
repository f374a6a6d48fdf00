"""What ``monai-deploy package`` needs, given to its own code as far as that goes without a Docker engine."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from nucleosynth import __version__
from nucleosynth.data.images import write_png

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "app" / "deploy"

pytestmark = pytest.mark.deploy
needs_extra = pytest.mark.skipif(importlib.util.find_spec("holoscan_cli") is None, reason="needs the extra deploy")


def names_and_versions(lines):
    """Requirements by name, without remarks and markers."""
    wanted = [re.match(r"([\w.-]+)([^;#]*)", line.strip()) for line in lines if re.match(r"\w", line.strip())]
    return {match[1]: match[2].strip() for match in wanted}


def listed(key):
    """A list of requirements in ``pyproject.toml``."""
    block = re.search(rf"^{key} = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    return names_and_versions(re.findall(r'"(.+)"', block[1]))


def test_the_container_gets_what_pyproject_asks_for():
    inside = names_and_versions((DEPLOY / "requirements.txt").read_text().splitlines())
    pinned = names_and_versions((ROOT / "constraints.txt").read_text().splitlines())
    assert {**inside, **listed("dependencies"), **pinned} == inside
    extra = listed("deploy")
    extra["monai-deploy-app-sdk"] = inside["monai-deploy-app-sdk"]  # There in one version only.
    assert {**inside, **extra} == inside


def test_the_packager_and_holoscan_are_of_the_versions_that_fit():
    """holoscan-cli knows base images for its own version only, and lost ``package`` after 4.2."""
    inside = names_and_versions((DEPLOY / "requirements.txt").read_text().splitlines())
    assert inside["holoscan-cli"] == inside["holoscan-cu13"] == "==4.2.0"


def test_the_manifest_is_of_this_version():
    assert yaml.safe_load((DEPLOY / "app.yaml").read_text())["application"]["version"] == __version__


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """What ``make map`` makes."""
    folder = tmp_path_factory.mktemp("staged") / "map"
    result = subprocess.run(["make", "map", f"MAP={folder}"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Next: monai-deploy package" in result.stdout
    return folder


# What holoscan-cli 4.2.0 downloads where it is not given such a file.
ARTIFACTS = {
    "4.2.0": {
        "holoscan": {
            "debian-version": "4.2.0.1-1",
            "wheel-version": "4.2.0",
            "base-images": {"dgpu": "cuda:13.0.0-runtime-ubuntu24.04"},
            "build-images": {"dgpu": {}, "igpu": {}, "cpu": {}},
        },
        "health-probes": {},
    }
}


@pytest.fixture(scope="module")
def context(staged, tmp_path_factory):
    """The folder that the packager would give to Docker."""
    pytest.importorskip("holoscan_cli", reason="needs the extra deploy")
    from holoscan_cli.__main__ import parse_args
    from holoscan_cli.packager.arguments import PackagingArguments
    from holoscan_cli.packager.container_builder import PythonAppBuilder
    from holoscan_cli.packager.packager import _create_app_manifest, _create_package_manifest

    folder = tmp_path_factory.mktemp("context")
    source = folder / "artifacts.json"
    source.write_text(json.dumps(ARTIFACTS))
    arguments = ["monai-deploy", "package", staged / "app", "--config", staged / "app" / "app.yaml"]
    arguments += ["--models", staged / "models", "--platform", "x86_64", "--tag", "nucleosynth"]
    arguments += ["--source", source, "--build-cache", folder / "cache", "--sdk", "monai-deploy"]
    package = PackagingArguments(parse_args([str(each) for each in arguments]), str(folder))
    _create_app_manifest(package.application_manifest, str(folder))
    _create_package_manifest(package.package_manifest, str(folder))
    builder = PythonAppBuilder(package.build_parameters, str(folder))
    (platform,) = package.platforms
    assert platform.tag == f"nucleosynth-x64-workstation-dgpu-linux-amd64:{__version__}"  # As docs/deploy.md says.
    builder._copy_supporting_files(platform)
    builder._write_dockerfile(platform)
    return folder


@pytest.mark.slow
@needs_extra
def test_the_packager_finds_application_model_and_versions(context):
    application, package = (json.loads((context / "map" / f"{name}.json").read_text()) for name in ("app", "pkg"))
    assert json.loads(application["command"]) == ["python3", "/opt/holoscan/app"]
    assert application["version"] == __version__
    assert package["models"] == {"nuclei_segmentation": "/opt/holoscan/models/nuclei_segmentation"}
    assert package["resources"]["gpu"] == 1
    dockerfile = (context / "Dockerfile").read_text()
    assert "FROM cuda:13.0.0-runtime-ubuntu24.04" in dockerfile
    assert "monai-deploy-app-sdk==4.0.0" in dockerfile
    assert "torch==2.13.0" in (context / "pip" / "requirements.txt").read_text()


@pytest.mark.slow
@needs_extra
def test_what_goes_into_the_container_runs_as_the_container_runs_it(context, tmp_path, rng):
    write_png(tmp_path / "input" / "a.png", rng.integers(0, 256, (96, 96, 3), np.uint8))
    # What is installed here would do as well: the copy is made to tell itself apart.
    module = context / "app" / "nucleosynth" / "deploy" / "summary.py"
    module.write_text(module.read_text().replace('"summary.json"', '"packaged.json"'))
    variables = {
        "HOLOSCAN_INPUT_PATH": str(tmp_path / "input"),
        "HOLOSCAN_OUTPUT_PATH": str(tmp_path / "output"),
        "HOLOSCAN_MODEL_PATH": str(context / "models"),
    }
    command = [sys.executable, str(context / "app"), "--mpp", "0.25"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | variables)
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / "output" / "a" / "run.json").read_text())
    summary = json.loads((tmp_path / "output" / "packaged.json").read_text())
    assert summary["nuclei"] == record["nuclei"]
