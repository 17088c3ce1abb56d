"""Eight processes that write into one registry at once: everything arrives, nothing twice, nobody is turned away."""

import json
from itertools import pairwise

import pytest

from pointsman.registry import Registry
from pointsman.registry.upkeep import verify

WRITERS, VERSIONS, STEPS = 8, 4, 60

WRITER = """
import json, sys
sys.path.insert(0, sys.argv[4])
from pointsman.registry import Registry
from pointsman.registry.errors import ConflictError
from shapes import FIELDS, RUN

home, database, number = sys.argv[1], sys.argv[2] or None, int(sys.argv[3])
versions, steps = int(sys.argv[5]), int(sys.argv[6])
sys.stdin.readline()  # all begin at once
made, won = [], []
with Registry(home, database=database) as registry:
    for count in range(versions):
        with registry.start_run("sst2", **RUN) as run:
            for step in range(steps):
                run.log({"loss": number + step / 1000, f"of/{number}": step}, step=step)
                if step % 20 == 0:
                    run.flush()
        files = {"own": f"{number} {count}".encode(), "shared": b"the same for all"}
        version = registry.add_version("sst2", **{**FIELDS, "files": files}, run=run.uid)
        made.append(version.number)
        try:
            registry.set_alias(version.ref, f"first-{count}", if_currently=0)
            won.append(count)
        except ConflictError:
            pass
        registry.set_alias(version.ref, "newest")
        registry.set_tags(version.ref, {"writer": str(number)})
        # Reading among the writers: never half of anything.
        for seen in registry.versions(name="sst2", limit=5, sort="created"):
            assert len(seen.files) == 2 and "eval/accuracy" in seen.metrics, seen
print(json.dumps([made, won]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_eight_processes_write_at_once(kind, tmp_path, spawn, request, pytestconfig):
    database = request.getfixturevalue("postgres_url") if kind == "postgres" else ""
    tests = str(pytestconfig.rootpath / "tests")
    home = tmp_path / "home"
    # Nobody has made the database: they do, all at once.
    writers = [spawn(WRITER, home, database, number, tests, VERSIONS, STEPS) for number in range(WRITERS)]
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    outcomes = []
    for writer in writers:
        out, error = writer.communicate(timeout=240)
        assert writer.returncode == 0, error
        outcomes.append(json.loads(out))
    numbers = sorted(number for made, _ in outcomes for number in made)
    assert numbers == list(range(1, WRITERS * VERSIONS + 1))
    # Of all that set an alias if nobody had, one did.
    assert sorted(count for _, won in outcomes for count in won) == list(range(VERSIONS))
    for made, _ in outcomes:
        assert all(one < other for one, other in pairwise(made))
    with Registry(home, database=database or None) as registry:
        assert verify(registry).problems == ()
        versions = registry.versions(name="sst2")
        assert versions.total == WRITERS * VERSIONS
        for version in versions:
            writer = int(version.tags["writer"])
            points = registry.history(version.ref, "loss")
            assert [(point.step, point.value) for point in points] == [(s, writer + s / 1000) for s in range(STEPS)]
            assert len(registry.history(version.ref, f"of/{writer}")) == STEPS
        events = [event.action for event in registry.events(limit=None)]
        assert events.count("add") == WRITERS * VERSIONS
        assert events.count("alias") == WRITERS * VERSIONS + VERSIONS
        assert len({file.sha256 for version in versions for file in version.files}) == WRITERS * VERSIONS + 1


@pytest.mark.databases
def test_two_processes_log_into_one_run(registry, start_run):
    """Not how runs are meant, and still nothing is lost or overwritten."""
    from pointsman.registry.runs.recorder import RunRecorder

    with start_run(registry) as run, RunRecorder(registry.database, run.uid) as other:
        for step in range(100):
            run.log({"loss": 0.0}, step=step)
            other.log({"loss": 1.0}, step=step)
            if step % 30 == 0:
                run.flush()
                other.flush()
        other.flush()
    points = registry.history(f"run:{run.uid}", "loss")
    assert len(points) == 200
    assert sorted((point.step, point.value) for point in points) == [(s, v) for s in range(100) for v in (0.0, 1.0)]
    assert verify(registry).problems == ()
