"""A resumed run is measured as it was when it began, whichever release began it."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pointsman.registry import Registry, Version
from pointsman.registry.errors import SettingsError
from pointsman.sdk import resume, train

SMALL: dict[str, Any] = {"max_steps": 6, "eval_every": 2, "max_length": 16, "batch_size": 8, "checkpoint_every": 2}


class Stopped(Exception):
    pass


@pytest.fixture
def mails(tmp_path: Path) -> Path:
    """Fraud is the rarer class, and the first one by name."""
    lines = [f"a {'dull' if n % 4 else 'gripping'} story {n},{'ok' if n % 4 else 'fraud'}" for n in range(80)]
    path = tmp_path / "mails.csv"
    path.write_text("\n".join(["text,label", *lines]))
    return path


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(["text,label", *(f"story {n},{n % 7}.5" for n in range(80))]))
    return path


def _stopped_run(registry: Registry, task: str, base: Path, data: Path, **options: Any) -> str:
    """The uid of a run that stopped after its first checkpoint."""

    def stop(progress: Any) -> None:
        if progress.step >= 3:
            raise Stopped

    with pytest.raises(Stopped):
        train(task, base=str(base), data=data, registry=registry, report=stop, **SMALL, **options)
    return registry.runs()[0].uid


def _rewrite(registry: Registry, uid: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what is recorded of a run's data."""
    with closing(sqlite3.connect(registry.home / "registry.db")) as connection, connection:
        (text,) = connection.execute("SELECT data FROM run WHERE uid = ?", (uid,)).fetchone()
        data = json.loads(text)
        change(data)
        connection.execute("UPDATE run SET data = ? WHERE uid = ?", (json.dumps(data), uid))


def _history(registry: Registry, version: Version, metric: str) -> list[int]:
    return [point.step for point in registry.history(f"run:{version.run}", metric)]


def test_f1_of_an_older_run_stays_that_of_the_second_class(registry: Registry, tiny_base: Path, mails: Path) -> None:
    second = train("mails", base=str(tiny_base), data=mails, registry=registry, positive="ok", **SMALL)
    uid = _stopped_run(registry, "mails", tiny_base, mails, positive="ok")

    def as_older(data: dict[str, Any]) -> None:
        del data["measured"], data["given"]["positive"], data["given"]["primary"]

    _rewrite(registry, uid, as_older)
    resumed = resume(uid, registry=registry)
    assert resumed.task["positive"] is None
    assert resumed.metrics == second.metrics
    assert _history(registry, resumed, "eval/f1") == [2, 4, 6]


def test_errors_of_an_older_run_stay_squared(registry: Registry, tiny_base: Path, scores: Path) -> None:
    uid = _stopped_run(registry, "scores", tiny_base, scores, primary="spearmanr")

    def as_older(data: dict[str, Any]) -> None:
        del data["measured"], data["target"]

    _rewrite(registry, uid, as_older)
    resumed = resume(uid, registry=registry)
    assert resumed.task["metrics"] == ["spearmanr", "pearson", "mse"]
    assert set(resumed.metrics) == {"eval/spearmanr", "eval/pearson", "eval/mse", "eval/loss"}
    assert _history(registry, resumed, "eval/mse")[-1] == 6


def test_what_a_run_recorded_counts_whatever_is_chosen_now(registry: Registry, tiny_base: Path, mails: Path) -> None:
    uid = _stopped_run(registry, "mails", tiny_base, mails)
    recorded = registry.run(uid).data["measured"]
    assert recorded == {
        "metrics": ["accuracy", "f1", "matthews_correlation"],
        "primary": "accuracy",
        "positive": "fraud",
    }

    def other_class(data: dict[str, Any]) -> None:
        data["measured"]["positive"] = "ok"

    _rewrite(registry, uid, other_class)
    assert resume(uid, registry=registry).task["positive"] == "ok"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": 3}, "metrics must be a tuple"),
        ({"metrics": ["perplexity"]}, "unknown classification metric 'perplexity'"),
        ({"positive": "spam"}, "unknown class of 'mails' to be positive 'spam'"),
    ],
)
def test_what_does_not_fit_the_task_is_refused(
    registry: Registry, tiny_base: Path, mails: Path, change: dict[str, Any], message: str
) -> None:
    uid = _stopped_run(registry, "mails", tiny_base, mails)
    _rewrite(registry, uid, lambda data: data["measured"].update(change))
    with pytest.raises(SettingsError, match=message):
        resume(uid, registry=registry)
