"""What the tests share: a tiny real BERT with random weights, a registry in an empty directory, and no network."""

import os

# Before any library reads them: no test may look for the hub, and libraries must not fight over the cores.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:
    # Two processes that both compute with several threads on the same cores slow each other down many times.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from pointsman.registry import Registry
from pointsman.registry.database.database import Database

from helpers import make_tiny_base
from postgres import server

# The same examples in every run; --hypothesis-profile=default looks for others.
hypothesis.settings.register_profile("fixed", derandomize=True)
hypothesis.settings.load_profile("fixed")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give tests that hold on either kind of database a registry on both, one after the other."""
    if "registry" in metafunc.fixturenames and metafunc.definition.get_closest_marker("databases"):
        sqlite_only = metafunc.definition.get_closest_marker("sqlite") is not None
        metafunc.parametrize("registry", ["sqlite"] if sqlite_only else ["sqlite", "postgres"], indirect=True)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers, hidden size 128, with random weights and a tokenizer of its own, as a directory."""
    return make_tiny_base(tmp_path_factory.mktemp("base") / "tiny-bert", seed=0)


@pytest.fixture(scope="session")
def other_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same architecture with other weights."""
    return make_tiny_base(tmp_path_factory.mktemp("base") / "other-bert", seed=1)


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of an empty registry, to copy: that takes a fiftieth of making one."""
    home = tmp_path_factory.mktemp("empty") / "home"
    Registry(home).close()
    return home


@pytest.fixture
def registry(request: pytest.FixtureRequest, empty_home: Path, tmp_path: Path) -> Iterator[Registry]:
    """An empty registry, on SQLite unless a test is parametrised to have it on PostgreSQL."""
    home, on_postgres = tmp_path / "home", getattr(request, "param", "sqlite") == "postgres"
    if not on_postgres:
        shutil.copytree(empty_home, home)
    with Registry(home, database=request.getfixturevalue("postgres_made") if on_postgres else None) as opened:
        yield opened


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory on a disk of one mebibyte."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", path], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL database of the tests' own."""
    with server() as started:
        yield started.url


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """The URL of an empty schema in it."""
    import psycopg

    name = f"s{secrets.token_hex(6)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        yield f"{postgres}?options=-csearch_path%3D{name}"
        connection.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture(scope="session")
def postgres_template(postgres: str) -> str:
    """The name of a database in it that is a registry, to copy: that takes a tenth of making one."""
    import psycopg

    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE made")
    Database(f"{postgres.removesuffix('/postgres')}/made").close()
    return "made"


@pytest.fixture
def postgres_made(postgres: str, postgres_template: str) -> Iterator[str]:
    """The URL of an empty registry in it."""
    import psycopg

    name = f"d{secrets.token_hex(6)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {postgres_template} STRATEGY file_copy")
        yield f"{postgres.removesuffix('/postgres')}/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
