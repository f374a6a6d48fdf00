"""The house of the project: what may import what, how long a file may be, and what must never be in the tree."""

import ast
import re
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"app": "nucleosynth", "transforms": "nucleosynth.transforms", "bundles": "nucleosynth.bundles"}
FOLDERS = (*PACKAGES, ".ci", "benchmarks", "docs", "mlflow", "tests")

# From the bottom up. A unit may import from its own layer and from those below it.
LAYERS = (
    {"transforms"},
    {"data", "handlers", "metrics", "postprocess", "losses", "networks"},
    {"tracking", "slides", "engines"},
    {"cli", "summaries", "demo", "experiment", "deploy", "__main__"},
)
# Usable by all but the transforms, and using nothing but each other. The empty name is the package itself.
LEAVES = {"", "atomic", "bundles", "cuda_runtime", "endings", "errors", "progress", "record", "report", "servers"}
LEAVES |= {"threads", "workers"}
# Import names of the optional extras: they may be missing, so they are imported where they are needed.
EXTRAS = {"anndata", "cucim", "highdicom", "pydicom"}
# Command lines start at once because each command imports its own code. All below these names:
DEFERRED = ("nucleosynth.cli", "nucleosynth.deploy.command")
# What runs outside of the package, where nothing is relative to it: a folder, and a file that MLflow keeps a copy of.
RUN_ELSEWHERE = {"nucleosynth.deploy.__main__", "nucleosynth.tracking.model_code"}
LONGEST = 400


def project_files():
    """Every file of the project, without caches and what a build or a run leaves behind."""
    files = [path for path in ROOT.iterdir() if path.is_file()]
    for top in FOLDERS:
        files += [path for path in (ROOT / top).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return files


def module_name(path):
    """Import name of a file of the packages: ``app/data/images.py`` is ``nucleosynth.data.images``."""
    top, *inner = path.relative_to(ROOT).with_suffix("").parts
    return ".".join([PACKAGES[top], *(part for part in inner if part != "__init__")])


def unit(name):
    """Part of the package that a module belongs to, or None outside: ``data`` for ``nucleosynth.data.images``."""
    first, _, rest = name.partition(".")
    return rest.partition(".")[0] if first == "nucleosynth" else None


def folder(name):
    """Folder of the tree that a module lives in."""
    return unit(name) if unit(name) in PACKAGES else "app"


MODULES = {module_name(path): path for top in PACKAGES for path in (ROOT / top).rglob("*.py")}


def imports(name, tree):
    """Pairs of an import statement and the absolute name of a module that it imports."""
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                yield node, whole if whole in MODULES else source


def source(path):
    """Text of a module, and of the stub from which it imports when a name is asked for."""
    stub = path.with_suffix(".pyi")
    return path.read_text() + (stub.read_text() if stub.exists() else "")


TREES = {name: ast.parse(source(path)) for name, path in MODULES.items()}
IMPORTS = {name: {target for _, target in imports(name, tree)} for name, tree in TREES.items()}


def layer(part):
    return next((number for number, parts in enumerate(LAYERS) if part in parts), None)


def find_cycle(graph):
    """Some cycle of a graph, as the list of its nodes, or None."""
    done, path = set(), []

    def visit(node):
        if node in path:
            return path[path.index(node) :]
        if node in done:
            return None
        path.append(node)
        found = next(filter(None, map(visit, sorted(graph.get(node, ())))), None)
        path.pop()
        done.add(node)
        return found

    return next(filter(None, map(visit, sorted(graph))), None)


def test_the_imports_are_found():
    assert "nucleosynth.errors" in IMPORTS["nucleosynth.data.images"]
    assert "nucleosynth.slides.settings" in IMPORTS["nucleosynth.cli.segment"]
    assert "nucleosynth.transforms.masks" in IMPORTS["nucleosynth.transforms.synthesis.patch"]
    assert "nucleosynth.postprocess.logits" in IMPORTS["nucleosynth.postprocess"]  # by a stub


def test_a_cycle_is_found():
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert find_cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_one_way(name):
    own = unit(name)
    assert own in LEAVES or layer(own) is not None, f"{name} is in no layer of docs/architecture.md"
    for target in IMPORTS[name]:
        other = unit(target)
        if other is None or other == own:
            continue
        if own in LEAVES:
            assert other in LEAVES, f"{name} is used by all, so it must not import {target}"
        elif other in LEAVES:
            assert own != "transforms", f"{name} is a transform, so it must not import {target} of the application"
        else:
            allowed = set().union(*LAYERS[: layer(own) + 1])
            assert other in allowed, f"{name} must not import {target}, which is built on top of it"


def test_modules_do_not_import_each_other_in_a_circle():
    assert find_cycle(IMPORTS) is None


def test_packages_do_not_import_each_other_in_a_circle():
    graph = {}
    for name, targets in IMPORTS.items():
        graph.setdefault(unit(name), set()).update({unit(target) for target in targets} - {unit(name), None})
    assert find_cycle(graph) is None


@pytest.mark.parametrize("name", sorted(name for name in MODULES if not name.startswith(DEFERRED)))
def test_imports_stand_at_the_top(name):
    top = {id(node) for node in TREES[name].body}
    for node in TREES[name].body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            top.update(id(inner) for inner in node.body)
    inside = {target for node, target in imports(name, TREES[name]) if id(node) not in top}
    assert {target for target in inside if target.partition(".")[0] not in EXTRAS} == set()


@pytest.mark.parametrize("name", sorted(set(MODULES) - RUN_ELSEWHERE))
def test_imports_are_relative_inside_a_folder_and_by_name_between_folders(name):
    """So that a reader, and every tool, can follow them in the tree."""
    for node, target in imports(name, TREES[name]):
        if unit(target) is not None:
            relative = isinstance(node, ast.ImportFrom) and node.level > 0
            assert relative == (folder(target) == folder(name)), f"{name}: {ast.unparse(node)}"


def test_no_python_file_outgrows_one_idea():
    lengths = {path: len(path.read_text().splitlines()) for path in project_files() if path.suffix == ".py"}
    assert {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > LONGEST} == {}


def test_nothing_in_the_mlflow_folder_can_shadow_the_library():
    assert list((ROOT / "mlflow").rglob("*.py")) == []


def test_no_module_is_named_after_nothing():
    vague = {"common.py", "helpers.py", "misc.py", "util.py", "utils.py"}
    assert [path for path in project_files() if path.name in vague] == []


def test_no_file_names_a_folder_of_some_machine():
    machine_path = re.compile(rb"(?<![\w.~}\])])/(?:" + b"|".join([b"work", b"root", b"home", b"Users"]) + rb")/")
    assert [str(path.relative_to(ROOT)) for path in project_files() if machine_path.search(path.read_bytes())] == []


def test_every_dependency_has_its_reason():
    explained = (ROOT / "docs" / "dependencies.md").read_text()
    names = {re.match(r"[\w.-]+", requirement)[0] for requirement in metadata.requires("nucleosynth")}
    assert {name for name in names if f"`{name}`" not in explained} == set()


def test_every_folder_and_layer_is_explained():
    explained = (ROOT / "docs" / "architecture.md").read_text()
    assert {part for part in set().union(*LAYERS, LEAVES) - {"", "__main__"} if f"`{part}`" not in explained} == set()
