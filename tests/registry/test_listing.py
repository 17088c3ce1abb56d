import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.registry import Page, Registry
from pointsman.registry.errors import InvalidNameError, MetricNotFoundError, SettingsError
from pointsman.registry.versions import listing

from helpers import interrupted_before
from shapes import BASE

pytestmark = pytest.mark.databases

NAN = math.nan


def refs(versions):
    return [version.ref for version in versions]


@pytest.fixture
def shelf(add, base):
    """Versions a@1 a@2 b@1 c@1 c@2, different in what one can filter by."""
    other = type(base)(**vars(base) | {"fingerprint": "cd" * 32, "name": "other"})
    add("a", metrics={"eval/accuracy": 0.5})
    add("a", metrics={"eval/accuracy": 0.9, "eval/f1.macro": 0.1}, base=other, parameters=300)
    add("b", metrics={"eval/accuracy": NAN, "eval/f1.macro": 0.3}, method="lora", files={"a": b"the longest of all"})
    add("c", metrics={"eval/accuracy": 0.7, "eval/loss": NAN}, task={"name": "cola"}, parameters=50)
    add("c", metrics={}, primary_metric=None, task={"name": "cola"}, method="lora", files={"a": b""})


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        ({}, "a@1 a@2 b@1 c@1 c@2"),
        ({"reverse": True}, "c@2 c@1 b@1 a@2 a@1"),
        ({"name": "a"}, "a@1 a@2"),
        ({"name": "nobody"}, ""),
        ({"task": "cola"}, "c@1 c@2"),
        ({"method": "lora"}, "b@1 c@2"),
        ({"base": "other"}, "a@2"),
        ({"base": "cdcd"}, "a@2"),
        ({"base": "c_c"}, ""),
        ({"base": "%"}, ""),
        ({"task": "cola", "method": "lora"}, "c@2"),
        ({"where": "task = cola", "method": "lora"}, "c@2"),
        ({"where": "task = cola", "newest_only": True}, "c@2"),
        ({"newest_only": True}, "a@2 b@1 c@2"),
        ({"newest_only": True, "task": "sst2"}, "a@2 b@1"),
        ({"limit": 2}, "a@1 a@2"),
        ({"limit": 2, "offset": 2}, "b@1 c@1"),
        ({"offset": 4}, "c@2"),
        ({"offset": 5}, ""),
        ({"sort": "created"}, "c@2 c@1 b@1 a@2 a@1"),
        ({"sort": "created", "reverse": True}, "a@1 a@2 b@1 c@1 c@2"),
        ({"sort": "parameters"}, "a@2 c@2 b@1 a@1 c@1"),
        ({"sort": "parameters", "reverse": True}, "c@1 a@1 b@1 c@2 a@2"),
        ({"sort": "size"}, "b@1 c@1 a@2 a@1 c@2"),
        ({"sort": "score"}, "a@2 c@1 a@1 c@2 b@1"),
        ({"sort": "score", "reverse": True}, "a@1 c@1 a@2 b@1 c@2"),
        ({"sort": "eval/accuracy"}, "a@2 c@1 a@1 c@2 b@1"),
        ({"sort": "eval/accuracy", "reverse": True}, "a@1 c@1 a@2 b@1 c@2"),
        ({"sort": "eval/f1.macro"}, "b@1 a@2 c@2 c@1 a@1"),
        ({"sort": "eval/accuracy", "limit": 1}, "a@2"),
        ({"sort": "eval/accuracy", "limit": 2, "offset": 2}, "a@1 c@2"),
        ({"sort": "eval/accuracy", "newest_only": True}, "a@2 c@2 b@1"),
        ({"sort": "eval/loss"}, "c@2 c@1 b@1 a@2 a@1"),
        ({"sort": "eval/loss", "limit": 1}, "c@2"),
        ({"sort": "eval/loss", "task": "cola", "method": "lora", "where": "name = nobody"}, ""),
    ],
    ids=repr,
)
def test_versions_filters_sorts_and_limits(registry, criteria, expected):
    page = registry.versions(**criteria)
    assert refs(page) == expected.split()
    everything = {name: value for name, value in criteria.items() if name not in ("limit", "offset", "sort")}
    assert page.total == len(registry.versions(**everything))
    assert page.offset == criteria.get("offset", 0)


@pytest.mark.usefixtures("shelf")
def test_a_page_is_a_sequence(registry):
    page = registry.versions(limit=2, offset=1)
    assert isinstance(page, Page)
    assert (len(page), page.total, page.offset) == (2, 5, 1)
    assert (page[0].ref, page[-1].ref, refs(page[:1])) == ("a@2", "b@1", ["a@2"])
    assert refs(reversed(page)) == ["b@1", "a@2"]
    assert page == registry.versions(limit=2, offset=1)
    assert not registry.versions(name="nobody")


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize("more", [{}, {"limit": 1}, {"newest_only": True}], ids=repr)
def test_sorting_by_an_unknown_metric_lists_those_known(registry, more):
    known = "eval/accuracy, eval/f1.macro" + ("" if "newest_only" in more else ", eval/loss")
    with pytest.raises(MetricNotFoundError, match=f"unknown metric 'eval/mcc'; .*known: {known}$"):
        registry.versions(sort="eval/mcc", **more)
    with pytest.raises(MetricNotFoundError, match=r"unknown metric 'eval/loss'; .*known: eval/accuracy, eval/f1"):
        registry.versions(sort="eval/loss", name="a", **more)
    with pytest.raises(InvalidNameError):
        registry.versions(sort="') --", **more)


@pytest.mark.parametrize("sort", ["name", "created", "eval/accuracy"])
def test_nothing_is_sorted_by_anything(registry, sort):
    assert (list(registry.versions(sort=sort)), registry.versions(sort=sort).total) == ([], 0)


@pytest.mark.parametrize("listed", [Registry.versions, Registry.events, Registry.runs])
def test_a_page_that_cannot_be_is_refused(registry, listed):
    for limit in (0, -1):
        with pytest.raises(SettingsError, match=f"limit {limit} is not valid: it must be at least 1"):
            listed(registry, limit=limit)
    with pytest.raises(SettingsError, match="offset -1 is not valid: it must be at least 0"):
        listed(registry, offset=-1)
    with pytest.raises(SettingsError, match="64 bits"):
        listed(registry, offset=2**63)


@pytest.mark.parametrize("count", [0, 1, 30])
@pytest.mark.parametrize("page", [{}, {"limit": 20}, {"limit": 20, "offset": 15}], ids=repr)
@pytest.mark.parametrize("sort", ["name", "eval/accuracy"])
def test_a_list_takes_at_most_three_statements_whatever_its_length(registry, add, count, page, sort):
    for number in range(count):
        add(f"a{number % 7}", files={"a": bytes([number])}, parents=[("init", "a0")] if number else [])
    with interrupted_before(0) as seen:
        found = registry.versions(sort=sort, **page)
    offset = page.get("offset", 0)
    assert len(found) == len(range(count)[offset:][: page.get("limit")])
    assert found.total == count
    assert len([statement for statement in seen if not statement.startswith(("BEGIN", "SET "))]) <= 3


# Any page of any order


@pytest.fixture(scope="module")
def library(shared, add_version):
    """Thirty versions of five adapters, some of whose scores are equal, NaN or missing; returns all of them."""
    rng = random.Random(1)
    for number in range(30):
        metrics = {"eval/accuracy": rng.choice([0.25, 0.5, 0.75, rng.random(), NAN])}
        if number % 3:
            metrics["eval/f1"] = rng.choice([0.5, NAN, rng.random()])
        files = {"weights": bytes(rng.choice([10, 20, 30]))}
        add_version(shared, rng.choice("abcde"), metrics=metrics, files=files, parameters=rng.choice([1, 2, 3]))
    return shared.versions().items


KEYS = {
    "name": None,
    "created": lambda version: version.created_at,
    "score": lambda version: version.score,
    "parameters": lambda version: version.parameters,
    "size": lambda version: version.size,
    "eval/accuracy": lambda version: version.metrics.get("eval/accuracy"),
    "eval/f1": lambda version: version.metrics.get("eval/f1"),
}


all_criteria = st.fixed_dictionaries(
    {
        "sort": st.sampled_from(sorted(KEYS)),
        "reverse": st.booleans(),
        "newest_only": st.booleans(),
        "name": st.none() | st.sampled_from("abcx"),
    }
)


@settings(deadline=None)
@given(criteria=all_criteria, limit=st.none() | st.integers(1, 12), offset=st.integers(0, 35))
def test_any_page_is_a_part_of_the_whole_order(shared, library, criteria, limit, offset):
    sort, reverse = criteria["sort"], criteria["reverse"]
    expected = [version for version in library if criteria["name"] in (None, version.name)]
    if criteria["newest_only"]:
        newest = {version.name: version.number for version in library}
        expected = [version for version in expected if version.number == newest[version.name]]
    if expected and "/" in sort and all(sort not in version.metrics for version in expected):
        with pytest.raises(MetricNotFoundError):
            shared.versions(**criteria)
        return
    whole = shared.versions(**criteria)
    assert sorted(refs(whole)) == sorted(refs(expected))
    page = shared.versions(**criteria, limit=limit, offset=offset)
    assert refs(page) == refs(whole)[offset:][:limit]
    assert (page.total, page.offset) == (len(expected), offset)
    if sort == "name":
        order = [(version.name, version.number) for version in whole]
        assert order == sorted(order, reverse=reverse)
        return
    keys = [KEYS[sort](version) for version in whole]
    lacking = [key is None or (isinstance(key, float) and math.isnan(key)) for key in keys]
    assert lacking == sorted(lacking)
    for one, other in pairwise(key for key, lacks in zip(keys, lacking, strict=True) if not lacks):
        assert one <= other if reverse else one >= other


@pytest.mark.parametrize("few", [0, 2_000])
def test_the_newest_of_each_adapter_by_pages(registry, add, monkeypatch, few):
    monkeypatch.setattr(listing, "_FEW", few)
    other = replace(BASE, fingerprint="cd" * 32, name="other")
    for name in ("b", "a", "a", "c", "d-1", "d_1", "d", "e", "e"):
        add(name)
    add("c", base=other)
    names, after = [], None
    while page := registry.newest_versions(BASE, after=after, limit=2):
        names += [version.ref for version in page]
        after = page[-1].name
    assert sorted(names) == ["a@2", "b@1", "d-1@1", "d@1", "d_1@1", "e@2"]
    assert [version.ref for version in registry.newest_versions(other, limit=9)] == ["c@2"]
    assert names == [version.ref for version in registry.versions(newest_only=True) if version.base == BASE]
    with pytest.raises(InvalidNameError):
        registry.newest_versions(BASE, after="A b", limit=1)
    with pytest.raises(SettingsError):
        registry.newest_versions(BASE, limit=0)
