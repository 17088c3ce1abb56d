"""What users install: the wheel holds all of it and nothing else, and works where the source is not."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
FOLDERS = ("registry", "sdk", "cli", "migrations")
FEWEST_MODULES = 50

IMPORT_ALL = """
import importlib, pathlib, sys
for name in sys.argv[2:]:
    module = importlib.import_module(name)
    assert pathlib.Path(module.__file__).is_relative_to(sys.argv[1]), module.__file__
print(len(sys.argv) - 2)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that nothing is left in the source."""
    copy = tmp_path_factory.mktemp("source")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests" / "cli", copy / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", copy / "dist", copy],
        check=True,
        capture_output=True,
    )
    (built,) = (copy / "dist").glob("*.whl")
    return built


def sources() -> set[str]:
    """What has to be in the wheel, by its path there."""
    paths = [path for folder in FOLDERS for kind in ("*.py", "*.json") for path in (ROOT / folder).rglob(kind)]
    paths += [path for path in (ROOT / "sdk" / "dashboard" / "static").rglob("*") if path.is_file()]
    return {f"pointsman/{path.relative_to(ROOT).as_posix()}" for path in paths}


def test_what_the_wheel_holds(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert len(sources()) >= FEWEST_MODULES
    more = {f"pointsman/{folder}/py.typed" for folder in FOLDERS}
    more |= {"pointsman/migrations/script.py.mako", "pointsman/sdk/methods/defaults.json"}
    (info,) = {name.partition("/")[0] for name in names if not name.startswith("pointsman/")}
    assert info.startswith("pointsman-")
    assert info.endswith(".dist-info")
    assert {name for name in names if name.startswith("pointsman/")} == sources() | more
    assert f"{info}/licenses/LICENSE" in names
    assert f"{info}/entry_points.txt" in names


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel, which sees the dependencies of this one but not this one's pointsman."""
    path = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(path, symlinks=True)
    python = path / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", wheel],
        check=True,
    )
    (packages,) = path.glob("lib/python*/site-packages")
    # Python follows .pth files in its own directories only: the one of an editable install over there stays unread.
    lines = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (packages / "dependencies.pth").write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A directory with modules of its own that are called as our folders are."""
    for folder in FOLDERS:
        (tmp_path / f"{folder}.py").write_text("raise ImportError('this is a module of the user\\'s own')\n")
    return tmp_path


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "POINTSMAN"))}
    result = subprocess.run(command, cwd=cwd, env={**kept, **environment}, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("name", ["registry", "pointsman"])
def test_the_program_starts(name: str, installed: Path, elsewhere: Path) -> None:
    version = run(sys.executable, "-c", "from importlib.metadata import version as v; print(v('pointsman'))", cwd=ROOT)
    assert run(installed / "bin" / name, "--version", cwd=elsewhere) == f"pointsman {version}"


def test_every_module_can_be_imported(wheel: Path, installed: Path, elsewhere: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = [name for name in archive.namelist() if name.startswith("pointsman/") and name.endswith(".py")]
    names = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in files]
    names.remove("pointsman.migrations.env")  # only Alembic can run it
    assert len(names) >= FEWEST_MODULES - 1
    python = installed / "bin" / "python"
    # With -c, the directory that it is called from comes first on Python's path.
    assert run(python, "-c", IMPORT_ALL, installed.resolve(), *names, cwd=elsewhere) == f"{len(names)}\n"


def test_the_migrations_come_from_the_wheel(installed: Path, elsewhere: Path) -> None:
    home = elsewhere / "home"
    assert run(installed / "bin" / "registry", "list", "--json", cwd=elsewhere, POINTSMAN_HOME=str(home)) == "[]\n"
    assert (home / "registry.db").stat().st_size > 10_000
    assert not (ROOT / "build" / "lib").exists()
