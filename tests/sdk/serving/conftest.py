"""A base with a few versions, and a real server of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pointsman.registry import Registry
from pointsman.sdk import Switcher
from pointsman.sdk.serving.app import Server
from pointsman.sdk.tasks import GLUE

from helpers import MakeVersion
from served import HOSTS, Running, serving


@pytest.fixture
def switcher(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> Iterator[Switcher]:
    """With three versions, of which two fit into memory."""
    for seed, name in enumerate("abc"):
        make_version(name, seed=seed)
    with Switcher(str(tiny_base), registry=registry, capacity=2) as made:
        yield made


@pytest.fixture
def running(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> Iterator[Running]:
    """With two versions of single texts, one of pairs and one of scores."""
    for seed, name in enumerate("ab"):
        make_version(name, seed=seed)
    make_version("pairs", GLUE["mrpc"], seed=2)
    make_version("score", GLUE["stsb"], seed=3)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        server = Server(switcher, registry, max_batch_tokens=10_000, max_queue=100, hosts=HOSTS)
        with serving(server.app) as client:
            yield Running(server, switcher, client)
