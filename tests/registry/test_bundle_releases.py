"""Bundles of other releases: what newer ones add and older ones leave out."""

from dataclasses import replace

import pytest
from tars import change_index

from pointsman.registry import Registry
from pointsman.registry.errors import BundleError
from pointsman.registry.records import Origin
from pointsman.registry.upkeep import export_bundle, import_bundle, verify

from shapes import BASE, FIELDS, RUN


@pytest.fixture
def kinds(tmp_path):
    """A bundle of a trial, a fusion and a composition, on a base with a former fingerprint."""
    base = replace(BASE, former_fingerprint="ef" * 32)
    origin = Origin(kind="trial", name="study", item="3", details={"params": {"lr": 0.1}, "later": None})
    with Registry(tmp_path / "kinds") as registry:
        with registry.start_run("sst2", **{**RUN, "base": base, "origin": origin}) as run:
            run.log({"loss": 1.0}, step=1)
        registry.add_version("sst2", **{**FIELDS, "base": base}, run=run.uid)
        fuse = {"composition": {"fuse": ["sst2@1"]}, "fusion": {}}
        fields = {**FIELDS, "base": base, "method": "fuse", "config": fuse}
        registry.add_version("fused", **fields, kind="fusion", parents=[("member", "sst2@1")])
        fields |= {"method": "stack", "config": {"composition": {"stack": ["sst2@1", "fused@1"]}}}
        parents = [("member", "sst2@1"), ("member", "fused@1")]
        registry.add_version("pair", **fields, kind="composition", parents=parents)
        export_bundle(registry, ["pair"], tmp_path / "kinds.tar")
    return tmp_path / "kinds.tar"


def check_kinds(registry):
    found = {version.ref: version.kind.value for version in registry.versions()}
    assert found == {"sst2@1": "adapter", "fused@1": "fusion", "pair@1": "composition"}
    (run,) = registry.runs("origin.kind = trial and origin.name = study and origin.item = 3")
    assert run.origin.details == {"params": {"lr": 0.1}, "later": None}
    assert (run.settings, run.version) == (RUN["settings"], "sst2@1")
    assert verify(registry).problems == ()


@pytest.mark.databases
def test_kinds_origins_and_former_fingerprints_come_along(registry, kinds):
    import_bundle(registry, kinds)
    check_kinds(registry)
    assert {version.base.former_fingerprint for version in registry.versions()} == {"ef" * 32}


@pytest.mark.databases
def test_a_bundle_of_an_older_release_is_read_as_the_upgrade_reads_it(registry, kinds, tmp_path):
    def older(index):
        for version in index["versions"]:
            del version["kind"], version["base"]["former_fingerprint"]
        for run in index["runs"]:
            origin = run.pop("origin")
            run["settings"]["origin"] = {"study": origin["name"], "trial": int(origin["item"]), **origin["details"]}
            del run["base"]["former_fingerprint"]

    import_bundle(registry, change_index(kinds, older, tmp_path / "older.tar"))
    check_kinds(registry)
    assert {version.base.former_fingerprint for version in registry.versions()} == {None}


@pytest.mark.databases
def test_a_bundle_of_a_newer_release_may_say_more(registry, kinds, tmp_path):
    def newer(index):
        index["more"] = 1
        for record in (*index["versions"], *index["runs"]):
            record["more"] = record["base"]["more"] = {"a": 1}

    import_bundle(registry, change_index(kinds, newer, tmp_path / "newer.tar"))
    check_kinds(registry)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda index: index["versions"][0].update(kind="odd"),
            r"an invalid record, versions\[0\]: unknown kind of version 'odd'",
        ),
        (
            lambda index: index["runs"][0]["origin"].update(name=""),
            r"an invalid record, runs\[0\]: the origin's name '' is not valid",
        ),
        (lambda index: index["runs"][0]["origin"].update(kind=7), r"an invalid record, runs\[0\]: origin kind"),
        (
            lambda index: index["runs"][0].update(origin={"kind": "trial"}),
            r"a record, runs\[0\], that lacks the field 'name'$",
        ),
        (
            lambda index: index["versions"][0]["base"].update(former_fingerprint="x"),
            r"an invalid record, versions\[0\]: base.former_fingerprint is 'x': it must be a sha256",
        ),
    ],
)
def test_new_fields_that_cannot_be_are_refused(registry, kinds, tmp_path, change, message):
    with pytest.raises(BundleError, match=f"^the bundle 'odd.tar' has {message}"):
        import_bundle(registry, change_index(kinds, change, tmp_path / "odd.tar"))
    assert (registry.versions().total, registry.runs().total) == (0, 0)
