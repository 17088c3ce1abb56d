"""Kill a process that writes, at many moments, and look at what it leaves."""

import hashlib
import os
import signal
import sqlite3
from contextlib import closing

import pytest

from pointsman.registry import Registry

WRITER = """
import hashlib
import sys
from pointsman.registry import Base, Registry

registry = Registry(sys.argv[1])
base = Base(fingerprint="ef" * 32, name="b", model_type="bert", hidden_size=1, layers=1, parameters=1, size=4)
run = registry.start_run("sst2", task="sst2", method="seq_bn", base=base, settings={}, data={}, environment={}, seed=1)


def say(*words):
    print(*words, flush=True)


for number in range(10_000):
    say("adding")
    content = (sys.argv[2] + " " + str(number)).encode() * 2_000
    version = registry.add_version("sst2", files={"weights": content, "same": b"same"}, task={"name": "sst2"},
                                   method="seq_bn", config={"number": number}, base=base, max_length=8, parameters=1)
    say("added", version.ref, hashlib.sha256(content).hexdigest())
    run.log({"loss": number, "lr": 0.5}, step=number)
    say("logging")
    run.flush()
    say("logged", run.uid, number)
    registry.set_alias(version.ref, "newest")
    say("aliased", version.number)
"""
LINES_A_ROUND = 5
KILLS = 20


@pytest.mark.slow
def test_kill_at_any_moment_loses_nothing_acknowledged(home, spawn):
    added, logged, aliased = {}, {}, 0
    for kill in range(KILLS):
        writer = spawn(WRITER, home, kill)
        # Every place of the loop in turn, at an early or a later round; the first time, before anything is written.
        for line in (writer.stdout.readline() for _ in range(kill % LINES_A_ROUND + LINES_A_ROUND * (kill // 7))):
            aliased = acknowledge(line, added, logged, aliased)
        os.kill(writer.pid, signal.SIGKILL)
        out, error = writer.communicate(timeout=60)
        assert writer.returncode == -signal.SIGKILL, error
        for line in out.splitlines(keepends=True):
            aliased = acknowledge(line, added, logged, aliased)
        with Registry(home) as registry:
            assert_sound(registry, added, logged, aliased)
    assert len(added) > KILLS
    assert len(logged) > KILLS / 2


def acknowledge(line, added, logged, aliased):
    """Note down what a line of the writer's says is done; a line cut off says nothing."""
    match line.split() if line.endswith("\n") else []:
        case ["added", ref, sha256]:
            added[ref] = sha256
        case ["logged", uid, step]:
            logged[uid] = int(step)
        case ["aliased", number]:
            aliased = int(number)
    return aliased


def assert_sound(registry, added, logged, aliased):
    versions = registry.versions()
    assert [version.number for version in versions] == list(range(1, len(versions) + 1))
    assert set(added) <= {version.ref for version in versions}
    for version in versions:
        contents = registry.read_files(version)
        assert set(contents) == {"weights", "same"}
        assert {file.name: file.sha256 for file in version.files} == {
            name: hashlib.sha256(content).hexdigest() for name, content in contents.items()
        }
        assert added.get(version.ref) in (None, hashlib.sha256(contents["weights"]).hexdigest())
    for uid, last in logged.items():
        points = registry.history(f"run:{uid}", "loss")
        assert [(point.step, point.value) for point in points] == [(step, step) for step in range(len(points))]
        assert len(points) > last
        assert {summary.key: summary.count for summary in registry.summaries(f"run:{uid}")} == {
            "loss": len(points),
            "lr": len(points),
        }
    if aliased:
        assert registry.version("sst2@newest").number >= aliased
    # One event a version: both are written, or neither.
    assert sum(event.action == "add" for event in registry.events(limit=100_000)) == len(versions)
    with closing(sqlite3.connect(registry.home / "registry.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
