"""Queries over runs: what they find, what they refuse, and that a look-up by origin is one into an index."""

import math
import operator
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointsman.registry import Origin, Page, Registry, RunStatus
from pointsman.registry.database import events, tables
from pointsman.registry.errors import MetricNotFoundError, PrunedError, QueryError
from pointsman.registry.runs import listing
from pointsman.registry.search.conditions import compile_query, condition
from pointsman.registry.search.query import And, Comparison, Field, Not, Or, Value
from pointsman.registry.search.run_fields import run_subject

from shapes import BASE, FIELDS, RUN

OTHER = replace(BASE, fingerprint="cd" * 32, name="big-bert")


def fill(registry):
    """Seven runs that differ in everything a query can ask for; each is called by its seed."""

    def run(seed, **changes):
        return registry.start_run(changes.pop("adapter", "sst2"), **{**RUN, "seed": seed, **changes})

    def trial(number, **details):
        return Origin(kind="trial", name="ann's study", item=str(number), details=details)

    with run(1, origin=trial(0, params={"lr": 0.1})) as first:
        first.log({"eval/accuracy": 0.5, "train/loss": math.nan}, step=0)
        first.log({"eval/accuracy": 0.75}, step=1)
    registry.add_version("sst2", **FIELDS, run=first.uid)
    with pytest.raises(PrunedError), run(2, origin=trial(1, params={"lr": 0.2})):
        raise PrunedError("pruned after step 3")
    with pytest.raises(RuntimeError), run(3, origin=trial(10), settings={"lr": 0.01, "nested": {"a": "x"}}):
        raise RuntimeError("diverged at step 7")
    with run(4, adapter="rte", task="rte", method="lora", base=OTHER, data={"source": "sample", "rows": {"train": 9}}):
        pass
    run(5, origin=Origin(kind="cell", name="glue", item="sst2/seq_bn/5")).finish(RunStatus.INTERRUPTED)
    # Two that are recorded as running: this process is alive, and its name is on both rows.
    living = run(6, adapter="mrpc")
    silent = run(7, adapter="mrpc")
    silent.log({"train/loss": 2.0}, step=0)
    silent.flush()
    return living, silent


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory):
    with Registry(tmp_path_factory.mktemp("runs") / "home") as opened:
        yield from filled(opened)


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory, postgres):
    import psycopg

    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA run_search")
    home = tmp_path_factory.mktemp("runs") / "home"
    with Registry(home, database=f"{postgres}?options=-csearch_path%3Drun_search") as opened:
        yield from filled(opened)


def filled(opened):
    living, silent = fill(opened)
    # One that was killed: its process is not told, and its last word is an hour old.
    silent._stop.set()
    for thread in silent._threads:
        thread.join()
    with opened.database.writing() as connection:
        row = tables.run.c.uid == silent.uid
        connection.execute(
            tables.run.update().where(row).values(heartbeat_at=events.now() - timedelta(hours=1), environment={})
        )
    yield opened
    living.finish()


@pytest.fixture(params=["sqlite", "postgresql"])
def registry(request):
    """The filled registry, for reading only."""
    return request.getfixturevalue(request.param)


def seeds(registry, query, **options):
    return sorted(run.seed for run in registry.runs(query, **options))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("adapter = sst2", [1, 2, 3, 5]),
        ("task = rte and method = lora", [4]),
        ("base = big-bert", [4]),
        ("fingerprint like 'cdcd%'", [4]),
        ("seed >= 4 and seed < 6", [4, 5]),
        ("status = finished", [1, 4]),
        ("status = pruned", [2]),
        ("status = failed", [3]),
        ("status = running", [6]),
        ("status = interrupted", [5, 7]),
        ("status in (interrupted, pruned)", [2, 5, 7]),
        ("status != finished and not status = running", [2, 3, 5, 7]),
        ("status like 'P%'", [2]),
        ("status is null", []),
        ("error like '%step%'", [2, 3]),
        ("error is null and adapter = sst2", [1, 5]),
        ("version = sst2@1", [1]),
        ("version is not null", [1]),
        ("version like 'SST2@%'", [1]),
        ("not version = sst2@1 and adapter = sst2", [2, 3, 5]),
        ("origin.kind = trial", [1, 2, 3]),
        ("origin.kind = trial and origin.name = 'ann''s study' and origin.item = 1", [2]),
        ("origin.item in (0, 10)", [1, 3]),
        ("origin.kind is null", [4, 6, 7]),
        ("origin.name = glue", [5]),
        ("origin.params.lr > 0.1", [2]),
        ("origin.params is not null", [1, 2]),
        ("settings.lr = 0.01", [3]),
        ("settings.nested.a = x", [3]),
        ("data.source = sample and data.rows.train > 5", [4]),
        ("data.rows = 3", [1, 2, 3, 5, 6, 7]),
        ("last(eval/accuracy) > 0.7", [1]),
        ("best(eval/accuracy) = 0.75 and first(eval/accuracy) = 0.5 and count(eval/accuracy) = 2", [1]),
        ("last(train/loss) is not null", [7]),
        ("started > 1h ago and started < 2100-01-01", [1, 2, 3, 4, 5, 6, 7]),
        ("started < 7d ago", []),
        ("ended is null", [6, 7]),
        ("ended > 1h ago", [1, 2, 3, 4, 5]),
        ("adapter = 'x'' or 1=1; drop table run; --'", []),
    ],
)
def test_a_query_finds_what_it_says(registry, query, found):
    assert seeds(registry, query) == found
    assert registry.runs(query, limit=1).total == len(found)
    assert seeds(registry, f"not ({query})") == sorted({1, 2, 3, 4, 5, 6, 7} - {*found})


def test_the_status_is_that_which_people_see(registry):
    for status in RunStatus:
        assert {run.status for run in registry.runs(f"status = {status}")} == {status}
    seen = {status: len(registry.runs(f"status = {status}")) for status in RunStatus}
    assert sum(seen.values()) == len(registry.runs()) == 7


def test_the_processes_of_runs_are_asked_after_only_for_their_status(registry, monkeypatch):
    asked = []
    monkeypatch.setattr(listing, "status_column", lambda _: asked.append(1) or tables.run.c.status)
    registry.runs("adapter = sst2")
    assert asked == []
    registry.runs("status = failed")
    assert asked == [1]


def test_a_page_of_runs(registry):
    everything = registry.runs()
    assert isinstance(everything, Page)
    assert (everything.total, everything.offset, len(everything)) == (7, 0, 7)
    assert [run.seed for run in everything] == [7, 6, 5, 4, 3, 2, 1]
    page = registry.runs("adapter = sst2", limit=2, offset=1)
    assert ([run.seed for run in page], page.total, page.offset) == ([3, 2], 4, 1)
    assert registry.runs("adapter = sst2", adapter="rte").total == 0
    assert registry.runs(offset=7) == Page((), 7, 7)


@pytest.mark.parametrize(
    ("query", "position", "message"),
    [
        ("name = x", 1, "unknown field 'name'"),
        ("stauts = running", 1, "unknown field 'stauts'; did you mean 'status'? known: run, adapter"),
        ("eval/accuracy > 0.5", 1, r"unknown field 'eval/accuracy'; did you mean 'last(eval/accuracy)'?"),
        ("tags.a = x", 1, "unknown field 'tags.a'"),
        ("config.r = 8", 1, "unknown field 'config.r'"),
        ("status = done", 10, "unknown status 'done'; known: running, finished, failed, interrupted, pruned"),
        ("status in (failed, Failed)", 20, "unknown status 'Failed'"),
        ("started = 2026-01-01", 9, "'started' goes with <, <=, > and >="),
        ("seed = x", 8, "'seed' is a number"),
    ],
)
def test_an_error_points_at_its_place(registry, query, position, message):
    with pytest.raises(QueryError, match=re.escape(message)) as error:
        registry.runs(query)
    assert f"at character {position}:" in str(error.value)


def test_an_unknown_metric_is_named(registry):
    with pytest.raises(MetricNotFoundError, match="unknown metric 'eval/acuracy'; did you mean eval/accuracy"):
        registry.runs("last(eval/acuracy) > 0.5")
    assert list(registry.runs("last(eval/accuracy) > 0.9")) == []


@pytest.mark.parametrize(
    "query",
    [
        "origin.kind = trial and origin.name = 'ann''s study'",
        "origin.kind = trial and origin.name = 'ann''s study' and origin.item = 1",
        "origin.item in (0, 1) and origin.name = glue and origin.kind = cell",
    ],
)
def test_a_look_up_by_origin_uses_the_index(sqlite, query):
    with sqlite.database.reading() as connection:
        where = compile_query(query, run_subject(lambda: tables.run.c.status), "sqlite").condition
        for statement in (
            sa.select(tables.run).where(where).order_by(tables.run.c.started_at.desc(), tables.run.c.id.desc()),
            sa.select(sa.func.count()).select_from(tables.run).where(where),
        ):
            compiled = statement.compile(connection, compile_kwargs={"literal_binds": True})
            plan = [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")]
            assert any("USING" in line and "ix_run_origin_kind_origin_name_origin_item" in line for line in plan), plan


def test_the_statement_that_reserves_uses_the_index(sqlite):
    statements = []

    def listen(*arguments):
        statements.append((arguments[2], arguments[3]))

    sa.event.listen(sa.Engine, "before_cursor_execute", listen)
    try:
        with sqlite.database.reading() as connection:
            assert listing.newest_of(connection, Origin(kind="cell", name="glue", item="sst2/seq_bn/5")) is not None
            statement, values = statements[-1]
            plan = [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", listen)
    assert any("USING INDEX ix_run_origin_kind_origin_name_origin_item" in line for line in plan), plan


# Whatever a query is made of

_VALUES = {
    "adapter": st.sampled_from(["sst2", "rte", "mrpc", "nobody"]),
    "method": st.sampled_from(["seq_bn", "lora"]),
    "status": st.sampled_from([status.value for status in RunStatus]),
    "error": st.sampled_from(["pruned after step 3", "diverged at step 7", "x"]),
    "version": st.sampled_from(["sst2@1", "sst2@2"]),
    "seed": st.integers(0, 8),
    "origin.kind": st.sampled_from(["trial", "cell"]),
    "origin.name": st.sampled_from(["ann's study", "glue"]),
    "origin.item": st.sampled_from(["0", "1", "10", "sst2/seq_bn/5"]),
    "settings.lr": st.sampled_from([0.001, 0.01, 1]),
}
_OPERATORS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, ">=": operator.ge}


@st.composite
def comparisons(draw):
    name = draw(st.sampled_from(sorted(_VALUES)))
    kind = draw(st.sampled_from([*_OPERATORS, "in", "is null"]))
    count = {"in": draw(st.integers(1, 3)), "is null": 0}.get(kind, 1)
    values = tuple(Value(draw(_VALUES[name]), 0) for _ in range(count))
    return Comparison(Field(name, None, 0), kind, values, 0)


TREES = st.recursive(
    comparisons(),
    lambda nodes: st.one_of(
        st.builds(lambda item: Not(item, 0), nodes),
        st.builds(lambda *items: And(items, 0), nodes, nodes),
        st.builds(lambda *items: Or(items, 0), nodes, nodes),
    ),
    max_leaves=6,
)


def holds(run, node):
    """Whether a run is what a query says, in Python."""
    match node:
        case Not():
            return not holds(run, node.item)
        case And():
            return all(holds(run, item) for item in node.items)
        case Or():
            return any(holds(run, item) for item in node.items)
    origin = run.origin
    found = {
        "adapter": run.adapter,
        "method": run.method,
        "status": run.status.value,
        "error": run.error,
        "version": run.version,
        "seed": run.seed,
        "origin.kind": origin and origin.kind,
        "origin.name": origin and origin.name,
        "origin.item": origin and origin.item,
        "settings.lr": run.settings.get("lr"),
    }[node.field.name]
    if node.operator == "is null":
        return found is None
    if found is None:
        return False
    values = [value.value for value in node.values]
    return found in values if node.operator == "in" else _OPERATORS[node.operator](found, values[0])


@given(tree=TREES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_query_finds_what_the_same_question_in_python_finds(registry, tree):
    with registry.database.reading() as connection:
        subject = run_subject(lambda: listing.status_column(connection))
        where = condition(tree, "'' " * 9, subject, connection.dialect.name)
        found = [run.seed for run in listing.page(connection, where=[where])]
    assert found == [run.seed for run in registry.runs() if holds(run, tree)]


def test_times_are_compared_as_times(registry):
    run = registry.runs("seed = 1")[0]
    at = run.started_at.isoformat()
    assert 1 not in seeds(registry, f"started > '{at}'")
    assert 1 in seeds(registry, f"started >= '{at}'")
    assert run.started_at <= datetime.now(UTC)
