import ast
import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
import typing
from pathlib import Path
from types import ModuleType

import pytest

import pointsman.registry
from pointsman.registry import Registry, errors

LAYERS = ("registry", "sdk", "cli")
"""From the bottom to the top: each may import itself and what stands before it."""

ROOMS = {
    "registry": (
        ("errors",),
        ("locks", "records", "refs", "values"),
        ("storage",),
        ("database",),
        ("metrics",),
        ("search",),
        ("runs",),
        ("versions",),
        ("registry",),
        ("upkeep",),
    ),
    "sdk": (
        ("core",),
        ("tasks",),
        ("data",),
        ("methods",),
        ("patches",),
        ("bases",),
        ("formats",),
        ("engines",),
        ("training",),
        ("switching.memory",),
        ("switching.resolve",),
        ("switching.execute",),
        ("switching",),
        ("combining",),
        ("details", "tuning", "benchmark", "web"),
        ("dashboard",),
        ("serving",),
    ),
}
"""The rooms of a layer, from the bottom to the top: each may import itself and those above it in this table. Rooms of
one line know nothing of each other."""

PARTS = (
    "registry",
    "runs.part",
    "versions.part",
    "versions.labels_part",
    "versions.history_part",
    "versions.bases_part",
)
"""The modules with the public methods of ``Registry``."""

LONGEST_FILE = 400

FEWEST_MODULES = {"registry": 12, "sdk": 15, "cli": 1}
HEAVY = {"torch", "transformers", "adapters", "datasets"}


def folder(layer):
    (path,) = importlib.util.find_spec(f"pointsman.{layer}").submodule_search_locations
    return Path(path)


def modules(layer):
    """The name and path of every module of a layer."""
    for path in sorted(folder(layer).rglob("*.py")):
        parts = path.relative_to(folder(layer)).with_suffix("").parts
        yield ".".join(("pointsman", layer, *(part for part in parts if part != "__init__"))), path


def imported(name, path):
    """Every module that a module imports, at its head or anywhere inside, by absolute name."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            absolute = importlib.util.resolve_name(source, package)
            yield absolute
            yield from (f"{absolute}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_run_one_way(layer):
    allowed = {f"pointsman.{below}" for below in LAYERS[: LAYERS.index(layer) + 1]}
    checked = 0
    for name, path in modules(layer):
        for target in imported(name, path):
            top, _, rest = target.partition(".")
            assert top not in LAYERS, f"{name} imports {target}, a second copy of pointsman.{target}"
            if top == "pointsman" and rest:
                assert ".".join(target.split(".")[:2]) in allowed, f"{name} imports {target}"
        checked += 1
    assert checked >= FEWEST_MODULES[layer]


def room_of(layer, name):
    """The line and the room of the table that a module, or a name in one, is in; None: the layer's own face."""
    inside = name.removeprefix(f"pointsman.{layer}").lstrip(".")
    names = [
        (len(room), line, room)
        for line, rooms in enumerate(ROOMS[layer])
        for room in rooms
        if f"{inside}.".startswith(f"{room}.")
    ]
    return max(names)[1:] if names else None


@pytest.mark.parametrize("layer", ROOMS)
def test_rooms_import_one_way(layer):
    rooms = set()
    for name, path in modules(layer):
        home = room_of(layer, name)
        if name == f"pointsman.{layer}":
            continue  # the face, which shows what is in the rooms
        assert home is not None, f"{name} is in no room: give it one in ROOMS"
        rooms.add(home[1])
        for target in imported(name, path):
            if not f"{target}.".startswith(f"pointsman.{layer}."):
                continue
            other = room_of(layer, target)
            assert other is None or other == home or other[0] < home[0], f"{name} ({home[1]}) imports {target}"
            assert other is not None or target == f"pointsman.{layer}", f"{name} imports {target}, which is in no room"
    assert rooms == {room for line in ROOMS[layer] for room in line}


def test_no_file_is_long():
    lengths = {name: path.read_text(encoding="utf-8").count("\n") for layer in LAYERS for name, path in modules(layer)}
    assert len(lengths) >= 150
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_the_registry_knows_nothing_of_models():
    targets = {target for name, path in modules("registry") for target in imported(name, path)}
    assert {"sqlalchemy", "alembic", "sqlite3", "pointsman.registry.errors"} <= targets
    assert not {target.partition(".")[0] for target in targets} & HEAVY


def test_the_registry_starts_without_models():
    code = "import sys, pointsman.registry; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "pointsman.registry.versions.catalog" in loaded
    assert not HEAVY & set(loaded)
    # Needed once in a database's life, and slower to import than all else here.
    assert "alembic" not in loaded


def test_the_public_face_is_complete_and_sorted():
    names = pointsman.registry.__all__
    assert names == sorted(set(names))
    public = {
        name
        for name, value in vars(pointsman.registry).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert set(names) == public
    assert len(names) >= 13


def test_the_public_face_has_all_that_a_registry_takes_and_gives():
    used = set()
    functions = [value for name, value in inspect.getmembers(Registry, inspect.isfunction) if name[0] != "_"]
    assert len(functions) >= 25
    assert {function.__module__ for function in functions} >= {f"pointsman.registry.{part}" for part in PARTS}
    for function in functions:
        for hint in typing.get_type_hints(function).values():
            used |= {hint, *flattened(hint)}
    ours = {hint.__name__ for hint in used if getattr(hint, "__module__", "").startswith("pointsman.")}
    assert {"Version", "Run", "RunRecorder", "Ref"} <= ours <= set(pointsman.registry.__all__)


def flattened(hint):
    for argument in typing.get_args(hint):
        yield argument
        yield from flattened(argument)


def drawn_tree():
    """Each error in the drawing at the head of errors.py, with the error that it hangs on."""
    parents, line_of_ancestors = {}, []
    for line in errors.__doc__.splitlines():
        if found := re.match(r"    ((?:│   |    )*(?:[├└]── )?)([A-Z]\w+)", line):
            depth = len(found[1]) // 4
            del line_of_ancestors[depth:]
            assert found[2] not in parents
            parents[found[2]] = line_of_ancestors[-1] if line_of_ancestors else "Exception"
            line_of_ancestors.append(found[2])
    return parents


def test_the_tree_of_errors_is_drawn_as_it_is():
    real = {
        name: value.__bases__[0].__name__
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, BaseException)
    }
    assert drawn_tree() == real
    assert len(real) >= 27
    assert all(len(getattr(errors, name).__bases__) == 1 for name in real)


def test_every_error_says_what_it_is_for():
    for name in drawn_tree():
        assert getattr(errors, name).__doc__.endswith(".")


def test_errors_imports_nothing_of_ours():
    targets = set(imported(errors.__name__, Path(errors.__file__)))
    assert not any(target.startswith("pointsman") for target in targets)
    assert importlib.import_module("pointsman.registry.errors") is errors
