"""A base's name that came with a bundle is a hint: it is loaded only if the user says so."""

import shutil
from pathlib import Path
from typing import Any

from pointsman.registry import Registry
from pointsman.registry.upkeep import export_bundle

TEXT = "a gripping film"


def test_predict_loads_no_name_that_came_with_a_bundle(
    run: Any, trained: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """After an import, a base is loaded from where the user says, and from there on by itself."""
    theirs = shutil.copytree(trained, tmp_path / "theirs")
    with Registry(theirs) as registry:
        version = registry.version("sst2@1")
        export_bundle(registry, [version.ref], tmp_path / "theirs.tar")
    home = tmp_path / "mine"
    assert run("import", tmp_path / "theirs.tar", home=home).code == 0
    refused = run("predict", version.ref, TEXT, home=home)
    refused.refused("is known only as", "a name that came with a bundle", f"try: --base {version.base.name}")
    copy = shutil.copytree(tiny_base, tmp_path / "copy")
    first = run("predict", version.ref, TEXT, "--base", copy, home=home)
    assert first.code == 0, first.err
    assert run("predict", version.ref, TEXT, home=home).out == first.out
    assert run("show", version.ref, "--json", home=home).json["base"]["name"] == str(copy)
