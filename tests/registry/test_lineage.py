"""What versions are made from and what is made from them, and how a version goes."""

from itertools import pairwise

import pytest

from pointsman.registry import Parent, Registry
from pointsman.registry.errors import (
    Action,
    AdapterNotFoundError,
    Advice,
    ConflictError,
    InUseError,
    InvalidNameError,
    SettingsError,
    VersionNotFoundError,
)

from helpers import interrupted_before

pytestmark = pytest.mark.databases


@pytest.fixture
def make(add):
    """Add a version of its own content, made from others."""
    return lambda name, *parents, role="init": add(
        name, files={"weights": name.encode()}, parents=[(role, parent) for parent in parents]
    )


def graph(lineage):
    """Who was made from whom, as ``{child: [parents]}``."""
    return {child: [parent.ref for parent in parents] for child, parents in lineage.parents.items()}


def assert_both_ways(lineage):
    """Each child of a parent that is there is named as one, and nothing else is."""
    children = {}
    for child, parents in lineage.parents.items():
        for parent in parents:
            if parent.present:
                children.setdefault(parent.ref, set()).add(child)
    assert {parent: set(found) for parent, found in lineage.children.items()} == children
    assert all(len(set(found)) == len(found) for found in lineage.children.values())


# What was made from what


def test_a_version_of_its_own_has_no_lineage(registry, make):
    make("a"), make("b")
    lineage = registry.lineage("a")
    assert (lineage.ref, lineage.parents, lineage.children) == ("a@1", {}, {})


def test_a_parent_is_what_it_was(registry, make):
    parent = make("a")
    make("b", "a", role="merged")
    assert registry.lineage("b").parents == {
        "b@1": (Parent(ref="a@1", digest=parent.digest, role="merged", present=True),)
    }
    assert registry.lineage("b").children == registry.lineage("a").children == {"a@1": ("b@1",)}
    assert registry.lineage("a").parents == registry.lineage("b").parents


def test_a_deep_chain_is_shown_whole_from_anywhere(registry, make):
    refs = [make("a").ref]
    for number in range(200):
        refs.append(make("a" if number % 3 else "b", refs[-1]).ref)
    expected = {child: [parent] for parent, child in pairwise(refs)}
    for ref in (refs[0], refs[100], refs[-1]):
        with interrupted_before(0) as statements:
            lineage = registry.lineage(ref)
        assert graph(lineage) == expected
        assert_both_ways(lineage)
        assert len([statement for statement in statements if not statement.startswith(("BEGIN", "SET "))]) <= 3


def test_a_diamond_has_its_top_once(registry, make):
    make("top"), make("left", "top"), make("right", "top")
    make("bottom", "left", "right", "top")
    make("below", "bottom")
    expected = {
        "left@1": ["top@1"],
        "right@1": ["top@1"],
        "bottom@1": ["left@1", "right@1", "top@1"],
        "below@1": ["bottom@1"],
    }
    for ref in ("top", "bottom", "below"):
        lineage = registry.lineage(ref)
        assert graph(lineage) == expected
        assert_both_ways(lineage)
    # From a side, only what is above and below it; what else its child was made from is named, and ends there.
    side = registry.lineage("left")
    assert graph(side) == {child: parents for child, parents in expected.items() if child != "right@1"}
    assert_both_ways(side)


def test_one_parent_twice_is_named_twice_and_has_one_child(registry, make):
    make("a")
    make("b", "a", "a")
    lineage = registry.lineage("a")
    assert graph(lineage) == {"b@1": ["a@1", "a@1"]}
    assert lineage.children == {"a@1": ("b@1",)}


def test_of_equal_versions_the_one_that_was_named_is_the_parent(registry, add):
    first, second = add(), add()
    assert first.digest == second.digest
    add("child", parents=[("init", "sst2@1")])
    assert registry.lineage("sst2@1").children == {"sst2@1": ("child@1",)}
    assert registry.lineage("sst2@2").children == {}
    registry.remove("sst2@2")
    with pytest.raises(InUseError):
        registry.remove("sst2@1")


def test_the_lineage_of_what_is_not_there(registry, make):
    with pytest.raises(AdapterNotFoundError):
        registry.lineage("a")
    make("a")
    with pytest.raises(VersionNotFoundError):
        registry.lineage("a@2")
    with pytest.raises(InvalidNameError):
        registry.lineage("../a")


# What is taken out


def test_a_removed_parent_is_still_named(registry, make):
    parent = make("a")
    make("b", "a"), make("c", "b")
    assert str(registry.remove("a@1", force=True)) == "a@1"
    with pytest.raises(AdapterNotFoundError):
        registry.version("a")
    assert registry.version("b").parents == ("a@1",)
    lineage = registry.lineage("c")
    assert lineage.parents["b@1"] == (Parent(ref="a@1", digest=parent.digest, role="init", present=False),)
    assert lineage.children == {"b@1": ("c@1",)}
    assert [version.ref for version in registry.versions("parent = a@1")] == ["b@1"]


def test_the_digest_of_a_child_stays_when_its_parent_goes(registry, make):
    make("a")
    before = make("b", "a")
    registry.remove("a@1", force=True)
    after = registry.version("b")
    assert (after.digest, after.files, after.parents) == (before.digest, before.files, before.parents)


def test_a_parent_that_comes_back_is_known_by_its_digest(registry, make):
    make("a"), make("b", "a")
    registry.remove("a@1", force=True)
    again = make("a")
    assert again.ref == "a@2"
    (parent,) = registry.lineage("b").parents["b@1"]
    assert (parent.digest, parent.present) == (again.digest, True)
    assert registry.version("b").parents == ("a@1",)
    with pytest.raises(InUseError, match="b@1 was made from it"):
        registry.remove("a@2")


def test_the_middle_of_a_chain_goes(registry, make):
    make("a"), make("b", "a"), make("c", "b")
    registry.remove("b@1", force=True)
    assert graph(registry.lineage("c")) == {"c@1": ["b@1"]}
    assert graph(registry.lineage("a")) == {}
    assert [parent.present for parent in registry.lineage("c").parents["c@1"]] == [False]
    assert registry.remove("a@1").name == "a"


def test_what_is_in_use_is_not_removed(registry, make):
    make("a"), make("b", "a"), make("c", "a"), make("c", "a")
    with pytest.raises(InUseError, match=r"^a@1 is in use: b@1, c@1, c@2 were made from it$") as refused:
        registry.remove("a@1")
    assert refused.value.advice == Advice(Action.REMOVE_VERSION, {"ref": "a@1", "force": True})
    for alias in ("production", "canary"):
        registry.set_alias("b@1", alias)
    with pytest.raises(
        InUseError, match=r"^b@1 is in use: the aliases b@canary and b@production point to it$"
    ) as refused:
        registry.remove("b@canary")
    assert refused.value.advice == Advice(Action.REMOVE_VERSION, {"ref": "b@1", "force": True})
    registry.set_alias("a@1", "production")
    with pytest.raises(InUseError, match=r"c@2 were made from it, and the alias a@production points to it"):
        registry.remove("a@1")
    make("d", "b")
    with pytest.raises(ConflictError, match=r"d@1 was made from it, and the alias"):
        registry.remove("b@1")
    assert len(registry.versions()) == 5
    assert registry.version("a@production").ref == "a@1"
    assert "remove" not in {event.action for event in registry.events()}


def test_force_takes_the_aliases_along(registry, make):
    version = make("a")
    make("a"), make("b", "a@1")
    for alias in ("production", "canary"):
        registry.set_alias("a@1", alias)
    registry.set_alias("a@2", "kept")
    assert str(registry.remove("a@production", force=True)) == "a@1"
    with pytest.raises(VersionNotFoundError, match=r"known: a@2, a@kept$") as unknown:
        registry.version("a@production")
    assert unknown.value.advice == Advice(Action.LIST_VERSIONS, {"adapter": "a"})
    (event,) = registry.events(limit=1)
    assert (event.action, event.subject) == ("remove", "a@1")
    assert event.details["digest"] == version.digest
    assert sorted(event.details["aliases"]) == ["canary", "production"]


@pytest.mark.sqlite
def test_numbers_are_never_given_again(registry, make):
    make("a"), make("a"), make("a")
    registry.remove("a@3")
    assert registry.version("a").ref == "a@2"
    assert make("a").ref == "a@4"
    for number in (1, 2, 4):
        registry.remove(f"a@{number}")
    assert list(registry.versions()) == []
    with Registry(registry.home) as other:
        assert other.events("a", limit=1)[0].subject == "a@4"
    assert make("a").ref == "a@5"


@pytest.mark.parametrize("ref", ["a", "a@latest", "a@best"])
@pytest.mark.parametrize("force", [True, False])
def test_what_moves_is_not_removed(registry, make, ref, force):
    make("a")
    with pytest.raises(
        SettingsError, match=f"^{ref} may mean another version tomorrow: name the one to remove, as in a@1$"
    ):
        registry.remove(ref, force=force)
    assert len(registry.versions()) == 1


def test_what_is_not_there_is_not_removed(registry, make):
    make("a")
    for ref in ("a@2", "a@canary"):
        with pytest.raises(VersionNotFoundError):
            registry.remove(ref, force=True)
    with pytest.raises(AdapterNotFoundError):
        registry.remove("b@1", force=True)
    registry.remove("a@1")
    with pytest.raises(AdapterNotFoundError):
        registry.remove("a@1")


def test_a_run_outlives_its_version(registry, start, add):
    with start() as run:
        run.log({"eval/accuracy": 0.5}, step=1)
    add(run=run.uid, tags={"a": "b"}, note="text")
    registry.remove("sst2@1")
    found = registry.run(run.uid)
    assert (found.version, found.status) == (None, "finished")
    assert [point.value for point in registry.history(f"run:{run.uid}", "eval/accuracy")] == [0.5]
    assert [summary.last for summary in registry.summaries(f"run:{run.uid}")] == [0.5]
    assert registry.database.problems() == []


def test_the_files_of_a_removed_version_stay_for_those_that_share_them(registry, add):
    removed, kept = add(), add("other")
    registry.remove(removed.ref)
    assert registry.read_file(kept, "adapter.safetensors") == b"weights"
    assert add().ref == "sst2@2"
