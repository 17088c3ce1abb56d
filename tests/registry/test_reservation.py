"""Of several that start the same piece of work at once, one does: threads and processes, on either database."""

import json
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointsman.registry import Origin, Registry, RunStatus, quote
from pointsman.registry.errors import ConflictError, InvalidNameError, ReservedError, SettingsError
from pointsman.registry.runs import part

TRIAL = Origin(kind="trial", name="sst2-lora", item="3", details={"params": {"learning_rate": 0.001}})
WORKERS, ITEMS = 4, 10

WORKER = """
import json, sys
sys.path.insert(0, sys.argv[3])
from pointsman.registry import Origin, Registry
from pointsman.registry.errors import ReservedError
from shapes import RUN

home, database, items = sys.argv[1], sys.argv[2] or None, int(sys.argv[4])
won = []
with Registry(home, database=database) as registry:
    print("ready", flush=True)
    sys.stdin.readline()  # all begin at once
    for item in range(items):
        origin = Origin(kind="cell", name="glue", item=str(item))
        try:
            with registry.start_run("sst2", **RUN, origin=origin):
                won.append(item)
        except ReservedError:
            pass
print(json.dumps(won))
"""


@pytest.mark.databases
def test_a_run_keeps_its_origin(registry, start):
    run = start(origin=TRIAL)
    assert registry.run(run.uid).origin == TRIAL
    assert registry.run(start().uid).origin is None
    plain = Origin(kind="cell", name="glue", item="rte/lora/0")
    assert registry.run(start(origin=plain).uid).origin == plain


@pytest.mark.databases
def test_the_first_run_of_an_origin_is_reserved_once(registry, start):
    first = start(origin=TRIAL)
    message = rf"^the trial 3 of 'sst2-lora' is reserved by another process: its newest run is {first.uid}, expected"
    with pytest.raises(ReservedError, match=message):
        start(origin=TRIAL)
    with pytest.raises(ConflictError):
        start(origin=replace(TRIAL, details={}))  # the details are no part of what it is
    assert [run.uid for run in registry.runs()] == [first.uid]
    for other in (replace(TRIAL, item="4"), replace(TRIAL, name="sst2-seq_bn"), replace(TRIAL, kind="cell")):
        start(origin=other)
    assert len(registry.runs()) == 4


@pytest.mark.databases
def test_the_next_run_follows_the_newest(registry, start):
    first = start(origin=TRIAL)
    first.finish(RunStatus.FAILED, "diverged")
    second = start(origin=TRIAL, if_newest=first.uid)
    for seen in (None, first.uid, "0" * 12):
        with pytest.raises(ReservedError, match=f"its newest run is {second.uid}, expected was {seen or 'none'}"):
            start(origin=TRIAL, if_newest=seen)
    third = start(origin=TRIAL, if_newest=second.uid)
    assert [run.uid for run in registry.runs("origin.item = 3")] == [third.uid, second.uid, first.uid]


@pytest.mark.databases
def test_a_run_that_is_expected_must_be_there(registry, start):
    with pytest.raises(ReservedError, match=r"it has no run, expected was 0123456789ab"):
        start(origin=TRIAL, if_newest="0123456789ab")
    with pytest.raises(SettingsError, match=r"^if_newest is '0123456789ab', but the run has no origin"):
        start(if_newest="0123456789ab")
    assert list(registry.runs()) == []


@pytest.mark.databases
def test_a_clock_that_is_behind_makes_no_run_older_than_the_one_it_follows(registry, start, monkeypatch):
    first = start(origin=TRIAL)
    clock = part.clock
    monkeypatch.setattr(part, "clock", lambda connection: clock(connection) - timedelta(days=1))
    second = start(origin=TRIAL, if_newest=first.uid)
    assert [run.uid for run in registry.runs()] == [second.uid, first.uid]
    with pytest.raises(ReservedError):
        start(origin=TRIAL, if_newest=first.uid)
    start(origin=TRIAL, if_newest=second.uid)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kind": "Trial"}, InvalidNameError, "origin kind 'Trial' is not valid"),
        ({"kind": "t" * 33}, SettingsError, "the origin's kind"),
        ({"name": ""}, InvalidNameError, "the origin's name '' is not valid"),
        ({"name": "a\0b"}, InvalidNameError, r"the origin's name 'a\\x00b' is not valid"),
        ({"name": "n" * 201}, SettingsError, "the origin's name"),
        ({"item": " "}, InvalidNameError, "the origin's item"),
        ({"item": "1" * 201}, SettingsError, "the origin's item"),
        ({"details": {"a": b"bytes"}}, SettingsError, "plain JSON"),
        ({"details": {"a": float("nan")}}, SettingsError, "details.a is nan: it must be a finite number"),
    ],
)
@pytest.mark.databases
def test_an_origin_that_cannot_be_stored_is_refused(registry, start, change, error, message):
    with pytest.raises(error, match=message):
        start(origin=replace(TRIAL, **change))
    assert list(registry.runs()) == []


@pytest.mark.databases
def test_threads_that_start_the_same_items_start_each_once(registry, start_run):
    barrier, won, errors = threading.Barrier(WORKERS), [], []

    def work():
        barrier.wait()
        for item in range(ITEMS):
            try:
                with start_run(registry, origin=replace(TRIAL, item=str(item))):
                    won.append(item)
            except ReservedError as error:
                errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(ITEMS))
    assert len(errors) == (WORKERS - 1) * ITEMS
    assert len(registry.runs()) == ITEMS


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_processes_that_start_the_same_items_start_each_once(kind, empty_home, spawn, request, pytestconfig):
    database = request.getfixturevalue("postgres_made") if kind == "postgres" else ""
    home = request.getfixturevalue("tmp_path") / "home"
    Registry(home, database=database or None).close()
    tests = str(pytestconfig.rootpath / "tests")
    workers = [spawn(WORKER, home, database, tests, ITEMS) for _ in range(WORKERS)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    won = []
    for worker in workers:
        out, error = worker.communicate(timeout=120)
        assert worker.returncode == 0, error
        won += json.loads(out)
    assert sorted(won) == list(range(ITEMS))
    with Registry(home, database=database or None) as registry:
        assert sorted(int(run.origin.item) for run in registry.runs("origin.kind = cell")) == list(range(ITEMS))


PRINTABLE = st.text(min_size=1, max_size=40).filter(lambda text: text.strip() and text.isprintable())


@given(name=PRINTABLE, item=PRINTABLE)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_origin_is_found_by_a_query_that_quotes_it(shared, start_run, name, item):
    origin = Origin(kind="trial", name=name, item=item)
    query = f"origin.kind = trial and origin.name = {quote(name)} and origin.item = {quote(item)}"
    newest = next((run.uid for run in shared.runs(query, limit=1)), None)
    with start_run(shared, origin=origin, if_newest=newest) as run:
        pass
    found = shared.runs(query)
    assert found[0].uid == run.uid
    assert {(run.origin.name, run.origin.item) for run in found} == {(name, item)}
