"""The wheel holds the packages of the tree, whole, and nothing else."""

import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import nucleosynth

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"app": "nucleosynth", "bundles": "nucleosynth/bundles", "transforms": "nucleosynth/transforms"}
NOT_PACKAGED = ("benchmarks", "docs", "mlflow", "tests")


def packaged_files():
    """Files of the tree that belong into the wheel, by their names there."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            # Python code travels anywhere, data only as the mark of a typed package and inside of bundles.
            if path.is_file() and (path.suffix in {".py", ".pyi"} or path.name == "py.typed" or folder == "bundles"):
                found[f"{package}/{path.relative_to(ROOT / folder).as_posix()}"] = path
    return {name: path for name, path in found.items() if "__pycache__" not in name}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy of the tree, so that leftovers of other builds cannot get into it."""
    copy, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for folder in (*FOLDERS, *NOT_PACKAGED):
        shutil.copytree(ROOT / folder, copy / folder)
    for path in filter(Path.is_file, ROOT.iterdir()):
        shutil.copy(path, copy)
    for folder in FOLDERS:  # Compiled code is there once somebody ran the tree.
        (copy / folder / "__pycache__").mkdir(exist_ok=True)
        (copy / folder / "__pycache__" / "left.cpython-310.pyc").touch()
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(copy)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = out.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_packages_and_no_other(wheel):
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert inside == set(packaged_files())


@pytest.mark.slow
def test_the_wheel_has_the_same_bytes(wheel):
    assert [name for name, path in packaged_files().items() if wheel.read(name) != path.read_bytes()] == []


@pytest.mark.slow
def test_the_wheel_has_licence_description_and_command(wheel):
    names = {name.partition(".dist-info/")[2]: name for name in wheel.namelist() if ".dist-info/" in name}
    assert wheel.read(names["licenses/LICENSE"]) == (ROOT / "LICENSE").read_bytes()
    about = wheel.read(names["METADATA"]).decode()
    assert "\nLicense-Expression: Apache-2.0\n" in about
    assert "\nRequires-Python: >=3.10\n" in about
    assert about.endswith((ROOT / "README.md").read_text())
    assert "nucleosynth = nucleosynth.cli:main" in wheel.read(names["entry_points.txt"]).decode()


def test_packages_of_the_tree_and_of_pyproject_are_the_same():
    listed = re.search(r"^packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    in_tree = {name.rpartition("/")[0].replace("/", ".") for name in packaged_files() if name.endswith("/__init__.py")}
    assert set(re.findall(r'"([\w.]+)"', listed[1])) == in_tree


def test_every_folder_with_code_is_a_package():
    folders = {path.parent for path in packaged_files().values() if path.suffix == ".py"}
    assert [str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_bundles_hold_no_code():
    assert list((ROOT / "bundles").glob("*/**/*.py")) == []


def test_what_is_installed_is_the_tree_as_it_is_now():
    """Else these tests test something else: after a file came or went, `make test` installs anew."""
    installed = Path(nucleosynth.__file__).parents[1]
    missing, changed = [], []
    for name, path in packaged_files().items():
        if not (installed / name).is_file():
            missing.append(name)
        elif (installed / name).read_bytes() != path.read_bytes():
            changed.append(name)
    assert (missing, changed) == ([], [])


def test_the_installed_version_is_the_one_of_pyproject_and_changelog():
    version = metadata.version("nucleosynth")
    assert f'\nversion = "{version}"\n' in (ROOT / "pyproject.toml").read_text()
    assert f"\n## [{version}]" in (ROOT / "CHANGELOG.md").read_text()
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
