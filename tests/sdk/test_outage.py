"""The registry's database cannot be written in the midst of a training: it goes on, and nothing is lost."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pointsman.registry import Registry, RunStatus
from pointsman.registry.database import backends
from pointsman.registry.errors import Action, Advice, BusyError
from pointsman.sdk import Progress, resume, train
from pointsman.sdk.training import loop, outage

OPTIONS: dict[str, Any] = {
    "data": "sample",
    "epochs": 2,
    "max_train_rows": 90,
    "max_eval_rows": 20,
    "max_length": 16,
    "batch_size": 8,
    "eval_every": 12,
    "checkpoint_every": 4,
    "learning_rate": 0.01,
}
STEPS = 24


@pytest.fixture
def impatient(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Registry, sqlite3.Connection]]:
    """A registry whose patience is short, and a connection that may hold its database."""
    registry.close()
    monkeypatch.setattr(backends, "BUSY_SECONDS", 0.05)
    monkeypatch.setattr(loop, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(outage, "RETRY_SECONDS", 0.01)
    path = registry.home / "registry.db"
    with Registry(registry.home) as short, closing(sqlite3.connect(path, isolation_level=None)) as other:
        yield short, other


def test_an_outage_at_a_checkpoint_ends_no_training(
    impatient: tuple[Registry, sqlite3.Connection], tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry, other = impatient
    kept = {}

    def report(progress: Progress) -> None:
        if progress.step == 6:
            other.execute("BEGIN IMMEDIATE")
        if progress.step == 17 and other.in_transaction:
            kept[progress.step] = [path.name for path in registry.run_directory(progress.run).glob("step-*")]
            other.execute("ROLLBACK")
        if progress.step == 19:
            kept[progress.step] = [path.name for path in registry.run_directory(progress.run).glob("step-*")]

    version = train("sst2", base=str(tiny_base), registry=registry, report=report, **OPTIONS)
    # The checkpoint of before stayed; the next one came as soon as it could.
    assert kept == {17: ["step-000000004.safetensors"], 19: ["step-000000017.safetensors"]}
    said = [record.getMessage() for record in caplog.records if "no checkpoint at step" in record.getMessage()]
    assert len(said) == 1
    assert said[0].startswith("no checkpoint at step 8, and the training goes on: the database")
    assert [point.step for point in registry.history(version.ref, "train/loss")] == list(range(1, STEPS + 1))
    assert registry.run(str(version.run)).status is RunStatus.FINISHED


def test_an_outage_at_the_end_says_how_to_go_on(
    impatient: tuple[Registry, sqlite3.Connection], tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, other = impatient
    monkeypatch.setattr(outage, "PATIENCE_SECONDS", 0.2)

    def report(progress: Progress) -> None:
        if progress.step == 13:
            other.execute("BEGIN IMMEDIATE")

    with pytest.raises(BusyError, match=r"is kept, and goes on from its last checkpoint when it is resumed$") as error:
        train("sst2", base=str(tiny_base), registry=registry, report=report, **OPTIONS)
    other.execute("ROLLBACK")
    (run,) = registry.runs()
    assert error.value.advice == Advice(Action.RESUME, {"run": run.uid})
    assert registry.versions().total == 0


def test_the_end_of_a_training_waits_for_the_database(
    impatient: tuple[Registry, sqlite3.Connection], tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry, other = impatient
    held, waits, caller = [], [], threading.current_thread()

    def report(progress: Progress) -> None:
        if progress.step == STEPS and not held:
            held.append(other.execute("BEGIN IMMEDIATE"))

    def release(seconds: float) -> None:
        waits.append(seconds)
        # Libraries' threads may sleep, too: before, and on connections that are not theirs.
        if threading.current_thread() is caller and other.in_transaction and len(waits) >= 3:
            other.execute("ROLLBACK")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outage.time, "sleep", release)
        version = train("sst2", base=str(tiny_base), registry=registry, report=report, **OPTIONS)
    said = [record.getMessage() for record in caplog.records]
    assert sum("registered as soon as the database can be written" in message for message in said) == 1
    assert [point.step for point in registry.history(version.ref, "train/loss")] == list(range(1, STEPS + 1))
    assert registry.run(str(version.run)).status is RunStatus.FINISHED


def test_a_run_that_an_outage_ended_is_resumed(
    impatient: tuple[Registry, sqlite3.Connection], tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, other = impatient
    monkeypatch.setattr(outage, "PATIENCE_SECONDS", 0.0)

    def report(progress: Progress) -> None:
        if progress.step == 21:
            other.execute("BEGIN IMMEDIATE")

    with pytest.raises(BusyError) as error:
        train("sst2", base=str(tiny_base), registry=registry, report=report, **OPTIONS)
    other.execute("ROLLBACK")
    assert error.value.advice is not None
    uid = error.value.advice.arguments["run"]
    with registry.database.writing() as connection:  # its process ended
        connection.exec_driver_sql("UPDATE run SET status = 'interrupted'")
    version = resume(uid, registry=registry)
    assert [point.step for point in registry.history(version.ref, "train/loss")] == list(range(1, STEPS + 1))
