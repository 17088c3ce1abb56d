"""What comes in is checked as what is made here is: no odd version spoils the reading of any other."""

import copy
import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tars import read_members, write_members

from pointsman.cli.main import cli
from pointsman.registry import Registry
from pointsman.registry.errors import BundleError, PointsmanError
from pointsman.registry.upkeep import export_bundle, import_bundle
from pointsman.registry.versions import manifest

from shapes import FIELDS, RUN

EXAMPLES = int(os.environ.get("POINTSMAN_EXAMPLES", "40"))
DEEP = json.loads('{"a":' * 33 + "1" + "}" * 33)
ODD = [
    None, True, -1, 0, 2**31, 2**63, 10**400, 0.5, math.nan, math.inf, "", "a", "sst2@1", "\0", "\ud800", "\x1b[2J",
    "9999-12-31T23:59:59-12:00", [], {}, [[]], [1], ["a"], [["a", 1]], {"a": 1}, {"": {}}, {"\ud800": 1}, DEEP,
]  # fmt: skip
TASK = {
    "name": "sst2", "description": "d", "text": ["s"], "label": "label", "labels": ["a", "b"], "metrics": ["accuracy"],
    "primary": "accuracy", "validation": ["v"], "bounds": None, "scored_with": None,
}  # fmt: skip
TRAINED = {
    "settings": {"learning_rate": 0.1, "config": {"r": 3}, "asked": ["learning_rate"]},
    "data": {"rows": {"train": 3}, "majority": 0.5, "fingerprint": "f", "given": {"data": "d"}},
    "environment": {"python": "3.11", "packages": {"torch": "2"}, "git": {"commit": "c", "changed": True}},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a trained adapter, a fusion and a composition."""
    directory = tmp_path_factory.mktemp("made")
    fields = {**FIELDS, "task": TASK}
    member = [("member", "sst2@1")]
    with Registry(directory / "home") as registry:
        with registry.start_run("sst2", **{**RUN, **TRAINED}) as run:
            run.log({"loss": 1.0}, step=1, epoch=0.5)
        registry.add_version("sst2", **fields, run=run.uid, tags={"a": "b"}, note="n")
        fields |= {"method": "fuse", "config": {"composition": {"fuse": ["sst2@1", "sst2@1"]}, "fusion": {}}}
        registry.add_version("fused", **fields, kind="fusion", parents=member)
        fields |= {"method": "stack", "config": {"composition": {"stack": ["sst2@1", "fused@1"]}}}
        registry.add_version("pair", **fields, kind="composition", parents=member)
        registry.set_alias("sst2@1", "production")
        export_bundle(registry, ["pair", "fused"], directory / "made.tar")
    return directory / "made.tar"


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a JSON value."""
    if path:
        yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*path, key))


def changed(bundle: Path, path: tuple[Any, ...], value: Any, target: Path) -> Path:
    """Write a bundle with another value at a path of its index, and with the digest that the version then has."""
    members = read_members(bundle)
    index = json.loads(members["bundle.json"])
    inner = index
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = copy.deepcopy(value)
    if path[0] == "versions" and len(path) > 2 and path[2] != "digest":
        version = index["versions"][path[1]]
        try:
            text = manifest.build(
                files={file["name"]: file["sha256"] for file in version["files"]},
                base=version["base"]["fingerprint"],
                parents=[parent["digest"] for parent in version["parents"]],
                **{field: version[field] for field in ("task", "method", "config", "max_length")},
            )
            version["digest"] = manifest.digest(text)
        except (PointsmanError, TypeError, KeyError, ValueError):
            pass  # there is no digest of such a version
    write_members(target, {**members, "bundle.json": json.dumps(index).encode()})
    return target


def read_everything(home: Path, ref: str, other: str) -> None:
    """Run the commands that read; none ends in a traceback, or is refused."""
    for arguments in [
        ["list", "--all"], ["list", "--all", "--json"], ["list", "--csv"], ["show", ref], ["show", ref, "--json"],
        ["show", ref, "--all"], ["show", ref, "--tree"], ["show", other], ["compare", "mine", ref], ["runs", "--json"],
        ["runs"], ["log", "--json"], ["verify"], ["export", ref, other, f"{home}.tar"],
    ]:  # fmt: skip
        result = CliRunner().invoke(cli, ["--home", str(home), *arguments])
        # Whatever was made from the version as it was lacks a member now, which is a problem to verify.
        good = (0, 1) if arguments == ["verify"] else (0,)
        assert result.exit_code in good, (arguments, result.output, result.exception)
        assert result.exception is None or isinstance(result.exception, SystemExit), (arguments, result.exception)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_odd_record_is_refused_or_spoils_nothing(
    made: Path, empty_home: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    index = json.loads(read_members(made)["bundle.json"])
    path = data.draw(st.sampled_from([*places(index)]))
    directory = tmp_path_factory.mktemp("odd")
    odd = changed(made, path, data.draw(st.sampled_from(ODD)), directory / "odd.tar")
    shutil.copytree(empty_home, directory / "home")
    with Registry(directory / "home") as registry:
        registry.add_version("mine", **FIELDS)
        try:
            imported = import_bundle(registry, odd)
        except BundleError:
            assert registry.versions().total == 1
            return
    refs = [one.ref for one in imported] or ["mine"]
    place = path[1] if path[0] == "versions" and len(path) > 1 and path[1] < len(refs) else 0
    read_everything(directory / "home", refs[place], refs[-1])
