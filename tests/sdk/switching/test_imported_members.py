"""Members of fusions and compositions are what these were made from, under whatever refs they have in a registry."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tars import change_index

from pointsman.registry import Registry, VersionKind
from pointsman.registry.errors import CompositionError, PointsmanError, SettingsError, VersionNotFoundError
from pointsman.registry.upkeep import export_bundle, import_bundle
from pointsman.registry.versions import manifest
from pointsman.sdk import Switcher, compose

from helpers import TEXTS, MakeVersion


@pytest.fixture
def composed(make_version: MakeVersion, registry: Registry, tmp_path: Path) -> Path:
    """A bundle of a composition of two adapters."""
    make_version("a", seed=1)
    make_version("b", seed=2)
    compose("pair", "average(a, b)", registry=registry)
    export_bundle(registry, ["pair"], tmp_path / "pair.tar")
    return tmp_path / "pair.tar"


def refused(registry: Registry, base: Path, ref: str, error: type[PointsmanError], message: str) -> None:
    """It is not loaded, and nothing stays in memory."""
    with Switcher(str(base), registry=registry) as switcher:
        with pytest.raises(error, match=message):
            switcher.load(ref)
        assert switcher.loaded == ()


def test_a_composition_is_of_its_own_members_where_others_have_their_numbers(
    composed: Path, make_version: MakeVersion, registry: Registry, *, tiny_base: Path, tmp_path: Path
) -> None:
    """Also where it comes from a registry that had given them other numbers already."""
    with Switcher(str(tiny_base), registry=registry) as switcher:
        expected = switcher.logits("pair", TEXTS)
    other = make_version("c", seed=3)
    about = {field: getattr(other, field) for field in ("task", "method", "config", "base", "max_length")}
    bundle = composed
    for hop in (2, 3):
        with Registry(tmp_path / f"home{hop}") as theirs:
            for name in ("a", "b"):
                for _ in range(hop - 1):
                    theirs.add_version(name, files=registry.read_files(other), parameters=1, **about)
            assert [one.ref for one in import_bundle(theirs, bundle)] == [f"a@{hop}", f"b@{hop}", "pair@1"]
            with Switcher(str(tiny_base), registry=theirs) as switcher:
                assert torch.equal(switcher.logits("pair", TEXTS), expected)
                assert sorted(switcher.loaded) == [f"a@{hop}", f"b@{hop}"]
            bundle = tmp_path / f"hop{hop}.tar"
            export_bundle(theirs, ["pair"], bundle)


def test_a_member_that_was_removed_is_named(composed: Path, registry: Registry, tiny_base: Path) -> None:
    registry.remove("b@1", force=True)
    refused(registry, tiny_base, "pair", VersionNotFoundError, r"pair@1 needs b@1 \(sha256 [0-9a-f]{12}…\), which is")


@pytest.mark.parametrize(
    ("composition", "message"),
    [
        ({"average": ["a@1", "pair@1"]}, "pair@1 names pair@1 as a member, which it was not made from"),
        ({"average": ["a@1", "a@7"]}, "pair@1 names a@7 as a member, which it was not made from"),
        ({"odd": ["a@1"]}, "the configuration of pair@1 is no composition: expected one of the keys"),
        ({"average": ["a@1", "b@1"], "weights": [2, 1]}, "configuration of pair@1 is no composition: weights must add"),
        ({"average": ["a@1", "b@1"], "weights": [None, 1]}, "configuration of pair@1 is no composition: a weight"),
        ({"fuse": ["a@1"]}, "the configuration of pair@1 is no composition: fuse takes at least 2"),
        ({"stack": [{"stack": [{"stack": [{"stack": ["a@1"]}]}]}]}, "the configuration of pair@1 is no composition: "),
    ],
)
def test_a_strangers_composition_of_what_it_was_not_made_from_is_refused(
    composed: Path, composition: dict[str, Any], message: str, *, tiny_base: Path, tmp_path: Path
) -> None:
    def forged(index: Any) -> None:
        pair = index["versions"][-1]
        pair["config"] = {"composition": composition}
        text = manifest.build(
            files={file["name"]: file["sha256"] for file in pair["files"]},
            base=pair["base"]["fingerprint"],
            parents=[parent["digest"] for parent in pair["parents"]],
            **{field: pair[field] for field in ("task", "method", "config", "max_length")},
        )
        pair["digest"] = manifest.digest(text)

    with Registry(tmp_path / "theirs") as theirs:
        import_bundle(theirs, change_index(composed, forged))
        refused(theirs, tiny_base, "pair", CompositionError, message)


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        (VersionKind.FUSION, {}, "config.composition is None: it must be the members of a fusion"),
        (VersionKind.FUSION, {"composition": {"stack": ["a@1"]}}, "the members of a fusion"),
        (VersionKind.COMPOSITION, {}, "the members of a composition"),
        (VersionKind.COMPOSITION, {"composition": {"stack": ["a@best"]}}, "which do not move"),
    ],
)
def test_a_fusion_without_a_fuse_is_no_version(
    kind: VersionKind, config: dict[str, Any], message: str, *, make_version: MakeVersion, registry: Registry
) -> None:
    version = make_version("a")
    about = {field: getattr(version, field) for field in ("task", "method", "base", "max_length")}
    with pytest.raises(SettingsError, match=message):
        registry.add_version("odd", files={"x": b""}, kind=kind, parameters=0, config=config, **about)


def test_a_composition_of_compositions_is_refused(composed: Path, registry: Registry, tiny_base: Path) -> None:
    pair = registry.version("pair")
    content = {"stack": ["pair@1"]}
    registry.add_version(
        "nested", files={"composition.json": json.dumps(content).encode()}, task=pair.task, method="stack",
        config={"composition": content}, base=pair.base, max_length=32, parameters=0, kind="composition",
        parents=[("member", "pair@1")],
    )  # fmt: skip
    refused(
        registry, tiny_base, "nested", CompositionError, "^nested@1 names pair@1 as a member, which is a composition"
    )
