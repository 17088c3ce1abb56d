"""A fork in the midst of everything: parent and children go on with connections of their own, and nothing is lost."""

import os
import threading
import time
from contextlib import contextmanager

import pytest

from pointsman.registry import RunStatus
from pointsman.registry.database import forks
from pointsman.registry.errors import ConflictError
from pointsman.registry.locks import SharedLock
from pointsman.registry.upkeep import verify

from helpers import in_child

THREADS, IN_THREADS, CHILDREN, IN_CHILDREN = 4, 10, 6, 3


@pytest.mark.databases
def test_parent_and_children_write_at_once_and_nothing_is_lost(registry, add):
    errors = []

    def work(number):
        try:
            for turn in range(IN_THREADS):
                assert add(f"thread{number}").number == turn + 1
        except BaseException as error:
            errors.append(error)

    def child(number):
        for turn in range(IN_CHILDREN):
            assert add(f"child{number}").number == turn + 1
        assert registry.versions(name=f"child{number}").total == IN_CHILDREN

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for number in range(CHILDREN):
        in_child(lambda number=number: child(number))
        add("between")
    for thread in threads:
        thread.join()
    assert errors == []
    assert registry.versions(name="between").total == CHILDREN
    assert registry.versions().total == THREADS * IN_THREADS + CHILDREN * (IN_CHILDREN + 1) == 64
    assert verify(registry).problems == ()


@pytest.mark.databases
def test_a_fork_waits_for_the_transactions_of_other_threads(registry, add):
    add()
    inside, waiting, forked = threading.Event(), threading.Event(), threading.Event()

    def write():
        with registry.database.writing() as connection:
            inside.set()
            deadline = time.monotonic() + 60
            while not forks._LOCK._turn.locked() and time.monotonic() < deadline:
                pass
            waiting.set()
            connection.exec_driver_sql("UPDATE version SET method = 'written'")
            assert not forked.is_set()

    def fork():
        inside.wait(60)
        in_child(lambda: _same(registry.version("sst2").method, "written"))
        forked.set()

    threads = [threading.Thread(target=target) for target in (write, fork)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert waiting.is_set()
    assert forked.is_set()


def test_a_thread_that_has_forked_does_not_release_the_lock_of_one_that_forks(monkeypatch):
    begun, checked, held = threading.Event(), threading.Event(), []

    class Lock(SharedLock):
        @contextmanager
        def alone(self):
            with super().alone():
                yield
            begun.wait(60)  # as a thread that stands still after it has released the lock

    def fork():
        forks._before()
        begun.set()
        checked.wait(60)
        held.append(forks._LOCK._turn.locked())
        forks._after()

    monkeypatch.setattr(forks, "_LOCK", Lock())
    other = threading.Thread(target=fork)
    forks._before()
    other.start()
    forks._after()
    checked.set()
    other.join(60)
    assert held == [True]


@pytest.mark.databases
def test_a_run_stays_with_the_process_that_records_it(registry, start):
    with start() as run:
        for step in range(5):
            run.log({"loss": 1.0}, step=step)

        def child():
            refusal = (
                f"run {run.uid} is recorded by the process {os.getppid()}, from which this one was forked: log there"
            )
            for ask in (lambda: run.log({"loss": 2.0}, step=9), run.flush, run.finish):
                with pytest.raises(ConflictError, match=refusal):
                    ask()
            with start() as own:
                own.log({"loss": 3.0}, step=0)
            try:
                with run:
                    raise SystemExit(3)
            except SystemExit:
                pass
            with run:
                pass
            assert registry.run(run.uid).status == RunStatus.RUNNING

        run._lock.acquire()  # as another thread may, at the fork
        in_child(child)
        run._lock.release()
        assert registry.run(run.uid).status == RunStatus.RUNNING
        run.log({"loss": 1.0}, step=5)
    assert registry.run(run.uid).status == RunStatus.FINISHED
    assert [point.step for point in registry.history(f"run:{run.uid}", "loss")] == list(range(6))
    (own, first) = registry.runs()
    assert (first.uid, own.status) == (run.uid, RunStatus.FINISHED)


def _same(found, expected):
    assert found == expected
