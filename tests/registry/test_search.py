"""Search: what a query finds is what it says, on either database, whatever it is made of."""

import math
import operator
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointsman.registry import Registry
from pointsman.registry.errors import InvalidNameError, MetricNotFoundError, QueryError, SettingsError
from pointsman.registry.search.conditions import condition
from pointsman.registry.search.query import And, Comparison, Field, Not, Or, Value, parse
from pointsman.registry.search.version_fields import VERSIONS

from shapes import BASE, FIELDS, RUN

OTHER = replace(BASE, fingerprint="cd" * 32, name="big-bert")


def fill(registry):
    """Nine versions that differ in everything a query can ask for."""
    for rate, losses in ((0.001, (3.0, 1.0, 2.0)), (0.01, (math.nan,)), (0.1, (math.inf, 5.0))):
        with registry.start_run("sst2", **{**RUN, "settings": {"lr": rate, "nested": {"a": "x"}}}) as run:
            for step, loss in enumerate(losses):
                run.log({"train/loss": loss, "eval/accuracy": step / 4}, step=step)
        score = {0.001: 0.5, 0.01: 0.75, 0.1: math.nan}[rate]
        registry.add_version(
            "sst2", **{**FIELDS, "files": {"a": b"%f" % rate}, "metrics": {"eval/accuracy": score}, "run": run.uid}
        )
    cola = {**FIELDS, "task": {"name": "cola"}, "base": OTHER, "metrics": {"eval/matthews": 0.25, "f1": 1.0}}
    cola |= {"primary_metric": "eval/matthews", "method": "lora", "parameters": 5}
    registry.add_version("cola", **{**cola, "config": {"r": 8, "dropout": 0.1, "bias": True}})
    registry.add_version("cola", **{**cola, "config": {"r": "eight", "bias": False, "none": None}}, note="Try 2\n100%")
    registry.add_version("cola", **{**cola, "config": {"r": 16}, "max_length": 64})
    registry.add_version("my_task-1", **{**FIELDS, "metrics": {}, "primary_metric": None}, tags={"stage": "test"})
    registry.add_version(
        "both", **FIELDS, parents=[("merged", "sst2@1"), ("merged", "cola@3")], tags={"stage": "prod", "owner": "ann"}
    )
    registry.add_version("both", **{**FIELDS, "metrics": {"eval/accuracy": 0.75}}, tags={"owner": "O'Hara; --"})
    registry.set_alias("sst2@2", "production")
    registry.set_alias("cola@1", "production")
    registry.set_alias("cola@1", "canary")


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory):
    with Registry(tmp_path_factory.mktemp("search") / "home") as opened:
        fill(opened)
        yield opened


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory, postgres):
    import psycopg

    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA search")
    home = tmp_path_factory.mktemp("search") / "home"
    with Registry(home, database=f"{postgres}?options=-csearch_path%3Dsearch") as opened:
        fill(opened)
        yield opened


@pytest.fixture(params=["sqlite", "postgresql"])
def registry(request):
    """The filled registry, for reading only."""
    return request.getfixturevalue(request.param)


def refs(registry, query, **options):
    return [version.ref for version in registry.versions(query, **options)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("task = cola", ["cola@1", "cola@2", "cola@3"]),
        ("task in (cola, 'mrpc') and number > 1", ["cola@2", "cola@3"]),
        ("name = both or name = my_task-1", ["both@1", "both@2", "my_task-1@1"]),
        ("name like 'S%2'", ["sst2@1", "sst2@2", "sst2@3"]),
        ("name like 'my\\_task%'", ["my_task-1@1"]),
        ("name like '_oth'", ["both@1", "both@2"]),
        ("method != seq_bn and config.r = 8", ["cola@1"]),
        ("config.r >= 8", ["cola@1", "cola@3"]),
        ("config.r = eight", ["cola@2"]),
        ("config.r = 'eight'", ["cola@2"]),
        ("config.r in (8, 16.0)", ["cola@1", "cola@3"]),
        ("config.r like 'EI%'", ["cola@2"]),
        ("config.bias = true", ["cola@1"]),
        ("config.bias != true", ["cola@2"]),
        ("config.bias in (true, false)", ["cola@1", "cola@2"]),
        ("config.dropout = 0.1", ["cola@1"]),
        ("config.none is null and task = cola", ["cola@1", "cola@2", "cola@3"]),
        ("config.r is not null", ["cola@1", "cola@2", "cola@3"]),
        ("not config.r = 8 and task = cola", ["cola@2", "cola@3"]),
        ("config.r != 8", ["cola@3"]),
        ("settings.lr > 0.001", ["sst2@2", "sst2@3"]),
        ("settings.nested.a = x and settings.lr < 0.01", ["sst2@1"]),
        ("base = big-bert", ["cola@1", "cola@2", "cola@3"]),
        ("fingerprint like 'cdcd%' and max_length = 64", ["cola@3"]),
        ("alias = production", ["cola@1", "sst2@2"]),
        ("alias != production and task = cola", ["cola@2", "cola@3"]),
        ("alias in (canary, nosuch)", ["cola@1"]),
        ("alias is null and name = sst2", ["sst2@1", "sst2@3"]),
        ("tags.stage = prod", ["both@1"]),
        ("tags.stage != prod", ["my_task-1@1"]),
        ("not tags.stage = prod and name = both", ["both@2"]),
        ("tags.owner = 'O''Hara; --'", ["both@2"]),
        ("tags.owner is not null", ["both@1", "both@2"]),
        ("note like '%100\\%'", ["cola@2"]),
        ("note is not null", ["cola@2"]),
        ("parent = sst2@1", ["both@1"]),
        ("eval/accuracy > 0.5", ["both@2", "sst2@2"]),
        ("eval/accuracy is null and name = sst2", ["sst2@3"]),
        ("metrics.f1 = 1 and number = 2", ["cola@2"]),
        ("metrics.eval/matthews < 0.3 and number = 2", ["cola@2"]),
        ("score >= 0.75", ["both@2", "sst2@2"]),
        ("primary_metric is null", ["my_task-1@1"]),
        ("best(eval/accuracy) >= 0.5", ["sst2@1"]),
        ("best(train/loss) <= 1", ["sst2@1"]),
        ("min(train/loss) = 1 and max(train/loss) = 3 and last(train/loss) = 2", ["sst2@1"]),
        ("first(train/loss) = 3 and mean(train/loss) = 2 and count(train/loss) = 3", ["sst2@1"]),
        ("last(train/loss) is null and run is not null", ["sst2@2"]),
        ("max(train/loss) > 1e300", ["sst2@3"]),
        ("parameters < 50 and size > 0", ["cola@1", "cola@2", "cola@3"]),
        ("seed = 42", ["sst2@1", "sst2@2", "sst2@3"]),
        ("created > 1h ago and created < 2100-01-01 and name = both", ["both@1", "both@2"]),
        ("created < 7d ago", []),
        ("created <= 2001-01-01T00:00+02:00", []),
        ("task = 'x'' or 1=1; drop table version; --'", []),
    ],
)
def test_a_query_finds_what_it_says(registry, query, found):
    assert refs(registry, query) == found
    assert registry.versions(query, limit=1).total == len(found)


def test_a_run_is_found_by_a_uid_that_looks_like_a_number(registry):
    for version in registry.versions("run is not null"):
        assert refs(registry, f"run = '{version.run}'") == [version.ref]
        assert refs(registry, f"digest = '{version.digest}'")[0] == version.ref
    assert refs(registry, "run = 123456789012 or run = 12e45 or tags.stage = 1.50") == []


@pytest.mark.parametrize(
    ("query", "position", "said"),
    [
        ("tsk = x", 1, "unknown field 'tsk'; did you mean 'task'?"),
        ("task = x and foo.bar = 1", 14, "unknown field 'foo.bar'"),
        ("config = 3", 1, "unknown field 'config'"),
        ("config. = 3", 1, "unknown field"),
        ("worst(eval/accuracy) > 1", 1, "unknown function 'worst'; known: best, count"),
        ("parameters = many", 14, "'parameters' is a number, as in 0.9; found 'many'"),
        ("number like '1%'", 8, "LIKE is for text"),
        ("eval/accuracy > high", 17, "'eval/accuracy' is a number"),
        ("eval/accuracy > 7d ago", 17, "found a time span"),
        ("task = true", 8, "'task' is text"),
        ("created > yesterday", 11, "'yesterday' is not a time"),
        ("created > 2026-13-01", 11, "is not a time"),
        ("created > 5", 11, "'created' is a time"),
        ("created = 2026-11-01", 9, "goes with <, <=, > and >="),
        ("config.r in (1, two)", 17, "all values of IN must be of one kind"),
        ("config.bias > true", 13, "true and false go with ="),
        ("config.r > 7d ago", 12, "is not a time"),
        (r"name like 'a\'", 11, "cannot end with a single backslash"),
        ("task = sst2 and", 16, "expected"),
    ],
)
def test_an_error_points_at_its_place(registry, query, position, said):
    with pytest.raises(QueryError, match=re.escape(said)) as refused:
        registry.versions(query)
    first, _, caret = str(refused.value).splitlines()
    assert f"at character {position}" in first
    assert len(caret) - 2 == position


def test_a_metric_that_nothing_has_is_an_error(registry):
    with pytest.raises(MetricNotFoundError, match=r"unknown metric 'eval/acuracy'; did you mean eval/accuracy\?"):
        registry.versions("eval/acuracy > 0.5")
    with pytest.raises(MetricNotFoundError, match="unknown metric 'train/lost'"):
        registry.versions("last(train/lost) > 0.5")
    # One that there is, and that no version has like this, is an answer.
    assert refs(registry, "eval/accuracy > 2") == []
    assert refs(registry, "train/loss < 9") == []


@pytest.mark.parametrize(
    ("sort", "found"),
    [
        ("name", ["both@1", "both@2", "cola@1", "cola@2", "cola@3", "my_task-1@1", "sst2@1", "sst2@2", "sst2@3"]),
        ("created", ["both@2", "both@1", "my_task-1@1", "cola@3", "cola@2", "cola@1", "sst2@3", "sst2@2", "sst2@1"]),
        (
            "eval/accuracy",
            ["both@2", "sst2@2", "both@1", "sst2@1", "my_task-1@1", "cola@3", "cola@2", "cola@1", "sst2@3"],
        ),
        ("score", ["both@2", "sst2@2", "both@1", "sst2@1", "cola@3", "cola@2", "cola@1", "my_task-1@1", "sst2@3"]),
    ],
)
def test_sorted_and_paged(registry, sort, found):
    whole = registry.versions(sort=sort)
    named = [version.ref for version in whole]
    if sort != "score":
        assert named == found
    assert sorted(named) == sorted(found)
    assert whole.total == 9
    for limit in (1, 2, 3, 4, 8, 9, 20):
        pages = [registry.versions(sort=sort, limit=limit, offset=offset) for offset in range(0, 12, limit)]
        assert [version.ref for page in pages for version in page] == named
        assert {page.total for page in pages} == {9}
        assert [page.offset for page in pages] == list(range(0, 12, limit))


@pytest.mark.parametrize("sort", ["name", "created", "eval/accuracy", "score", "parameters", "size"])
def test_reversed_what_lacks_it_stays_last(registry, sort):
    there = refs(registry, None, sort=sort)
    back = refs(registry, None, sort=sort, reverse=True)
    lacking = {
        "eval/accuracy": ["cola@1", "cola@2", "cola@3", "my_task-1@1", "sst2@3"],
        "score": ["sst2@3", "my_task-1@1"],
    }.get(sort, [])
    kept = len(there) - len(lacking)
    assert back[:kept] == there[:kept][::-1]
    assert sorted(back[kept:]) == sorted(lacking)


def test_the_newest_of_each(registry):
    newest = ["both@2", "cola@3", "my_task-1@1", "sst2@3"]
    assert refs(registry, None, newest_only=True) == newest
    assert registry.versions(newest_only=True, limit=2).total == 4
    assert refs(registry, "number > 1", newest_only=True, sort="created") == ["both@2", "cola@3", "sst2@3"]
    assert registry.versions("number > 1", newest_only=True, limit=1).total == 3
    assert refs(registry, None, newest_only=True, sort="eval/accuracy")[0] == "both@2"


def test_a_sort_that_nothing_has(registry):
    with pytest.raises(MetricNotFoundError, match=r"unknown metric 'eval/f1'.*eval/accuracy"):
        registry.versions(sort="eval/f1")
    with pytest.raises(InvalidNameError):
        registry.versions(sort="a b")
    assert refs(registry, "task = nosuch", sort="eval/f1") == []


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": -1}, {"offset": -1}])
def test_a_page_that_cannot_be(registry, wrong):
    with pytest.raises(SettingsError, match="is not valid"):
        registry.versions(**wrong)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"limit": 3},
        {"newest_only": True, "limit": 2},
        {"where": "task in (sst2, cola) and best(eval/accuracy) >= 0 or alias = production", "limit": 2},
        *({"sort": "eval/accuracy", "limit": limit, "offset": offset} for limit in (2, 20) for offset in (0, 3, 6, 30)),
        {"sort": "created", "offset": 30, "limit": 5},
    ],
)
def test_a_listing_takes_three_statements_at_most(registry, options):
    seen = []

    def count(*arguments):
        if arguments[2].lstrip().upper().startswith("SELECT"):
            seen.append(arguments[2])

    sa.event.listen(sa.Engine, "before_cursor_execute", count)
    try:
        registry.versions(**options)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", count)
    assert 1 <= len(seen) <= 3


# An oracle: the same question, asked of the records in Python.


ORDER, ORDERS = ("=", "!=", "<", "<=", ">", ">="), ("eq", "ne", "lt", "le", "gt", "ge")


def attributes(registry, version, field):
    """All values that a version has of a field."""
    if field.function:
        found = [s for s in registry.summaries(version.ref) if s.key == field.name] if version.run else []
        best = "min" if field.name == "train/loss" else "max"
        function = best if field.function == "best" else field.function
        values = [getattr(summary, function) for summary in found]
    elif field.name.startswith("tags."):
        values = [version.tags.get(field.name.removeprefix("tags."))]
    elif field.name.startswith("config."):
        values = [version.config.get(field.name.removeprefix("config."))]
    elif field.name in ("eval/accuracy", "metrics.f1"):
        values = [version.metrics.get(field.name.removeprefix("metrics."))]
    elif field.name == "alias":
        values = list(version.aliases)
    else:
        known = {"task": version.task["name"], "base": version.base.name, "created": version.created_at}
        values = [known[field.name] if field.name in known else getattr(version, field.name)]
    return [value for value in values if value is not None and not (isinstance(value, float) and math.isnan(value))]


def like(pattern, text):
    parts = [".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern]
    return re.fullmatch("".join(parts), text, re.IGNORECASE | re.DOTALL) is not None


def holds(registry, version, node):
    if isinstance(node, Comparison):
        return compared(attributes(registry, version, node.field), node)
    if isinstance(node, Not):
        return not holds(registry, version, node.item)
    return (all if isinstance(node, And) else any)(holds(registry, version, item) for item in node.items)


def compared(found, node):
    wanted = [value.value for value in node.values]
    if node.operator == "is null":
        return not found
    if node.operator == "!=" and node.field.name == "alias":
        return wanted[0] not in found
    if isinstance(wanted[0], timedelta):
        wanted = [datetime.now(UTC) - wanted[0]]
    found = [value for value in found if kind(value) == kind(wanted[0])]
    tests = {"in": lambda value, _: value in wanted, "like": lambda value, pattern: like(pattern, value)}
    tests |= {sign: getattr(operator, name) for sign, name in zip(ORDER, ORDERS, strict=True)}
    return any(tests[node.operator](value, wanted[0]) for value in found)


def kind(value):
    """Numbers are of one kind, true and false of another."""
    return float if type(value) is int else type(value)


def comparisons(fields, values, operators):
    def made(field, operator, several):
        chosen = several if operator == "in" else several[:1] if operator != "is null" else ()
        return Comparison(field, operator, tuple(Value(value, 0) for value in chosen), 0)

    return st.builds(
        made,
        st.sampled_from(fields),
        st.sampled_from(operators),
        st.lists(st.sampled_from(values), min_size=1, max_size=3),
    )


def named(*names):
    return [Field(name, None, 0) for name in names]


LEAVES = st.one_of(
    comparisons(
        named("name", "task", "method", "base", "alias", "tags.stage", "tags.owner", "note", "config.r"),
        ["sst2", "cola", "both", "lora", "seq_bn", "big-bert", "production", "test", "ann", "eight", "Try 2\n100%", ""],
        ("=", "!=", "in", "is null"),
    ),
    comparisons(named("name", "task", "tags.stage", "note", "alias"), ["s%", "%o%", "_ola", "%", "TRY%"], ("like",)),
    comparisons(
        [
            *named(
                "number",
                "parameters",
                "max_length",
                "eval/accuracy",
                "metrics.f1",
                "score",
                "config.r",
                "config.dropout",
            ),
            *(
                Field(name, function, 0)
                for name in ("train/loss", "eval/accuracy")
                for function in ("best", "last", "min")
            ),
        ],
        [0, 1, 2, 3, 0.25, 0.5, 0.75, 8, 16, 100, 128, -1, 0.1, 1e300],
        (*ORDER, "in", "is null"),
    ),
    comparisons(named("config.bias"), [True, False], ("=", "!=", "in", "is null")),
    comparisons(named("created"), [timedelta(days=1), timedelta(seconds=0)], ("<", "<=", ">", ">=")),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Not, inner, st.just(0)),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple), st.just(0)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple), st.just(0)),
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TREES)
def test_any_query_finds_what_the_same_question_in_python_finds(registry, tree):
    from pointsman.registry.versions import listing

    with registry.database.reading() as connection:
        where = condition(tree, "'' " * 9, VERSIONS, connection.dialect.name)
        found = [version.ref for version in listing.page(connection, where=[where])]
    assert found == [version.ref for version in registry.versions() if holds(registry, version, tree)]


def test_a_thousand_values_and_two_hundred_comparisons(registry):
    listed = ", ".join(f"n{number}" for number in range(1_000))
    assert refs(registry, f"name in ({listed}, both)") == ["both@1", "both@2"]
    many = " or ".join(["number = 7"] * 199)
    assert refs(registry, f"{many} or name = both") == ["both@1", "both@2"]
    assert parse(many)
    deep = "(" * 50 + "name = both" + ")" * 50
    assert refs(registry, deep) == ["both@1", "both@2"]
    nots = "not " * 50 + "name = both"
    assert refs(registry, nots) == ["both@1", "both@2"]
    left, right = "name = both", "name = both"
    for word in ["and number > 0", "or number > 9"] * 24:
        first, other = word.split(" ", 1)
        left, right = f"({left}) {word}", f"{other} {first} ({right})"
    assert refs(registry, left) == ["both@1", "both@2"]
    assert refs(registry, right) == ["both@1", "both@2"]
