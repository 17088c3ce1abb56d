"""verify and repair: every kind of damage is found, and files come back from good copies."""

import os
import sqlite3
import threading
from contextlib import closing

import pytest
from faults import NO_FILES, replace_with

from pointsman.registry import Registry
from pointsman.registry.errors import Action, Advice, ObjectCorruptError, ObjectMissingError, SettingsError
from pointsman.registry.upkeep import back_up, collect_garbage, diagnose, export_bundle, repair, verify


def change(registry, statement):
    """Change a row behind the registry's back."""
    with registry.database.writing() as connection:
        assert connection.exec_driver_sql(statement).rowcount > 0


@pytest.mark.databases
def test_all_is_well(filled):
    report = verify(filled)
    assert (report.problems, report.versions, report.files, report.size) == ((), 3, 3, 12)


@pytest.mark.databases
@pytest.mark.parametrize(
    ("statement", "subject", "said"),
    [
        ("UPDATE version SET manifest = manifest || ' ' WHERE number = 2", "sst2@2", "its manifest has the sha256"),
        ("UPDATE version SET digest = 'no' WHERE number = 2", "sst2@2", "its manifest has the sha256"),
        (
            "UPDATE version SET max_length = 7 WHERE number = 2",
            "sst2@2",
            "its rows differ from its manifest: max_length",
        ),
        ("UPDATE version SET config = '{}' WHERE number = 2", "sst2@2", "its rows differ from its manifest: config"),
        ("UPDATE version SET method = 'lora' WHERE number = 2", "sst2@2", "its rows differ from its manifest: method"),
        ("UPDATE version SET task = '{}' WHERE number = 2", "sst2@2", "its row is damaged: task has no name"),
        (
            "UPDATE version SET task_name = 'rte' WHERE number = 2",
            "sst2@2",
            "it is listed under the task 'rte', but its task is 'sst2'",
        ),
        ("UPDATE version SET size = 1 WHERE number = 2", "sst2@2", "its files have 5 bytes, its row says 1"),
        ("UPDATE version SET score = 0.9 WHERE number = 2", "sst2@2", "its score is 0.9, but its eval/accuracy is 0.5"),
        (
            "UPDATE version_metric SET value = 0.9 WHERE version_id = 2",
            "sst2@2",
            "its score is 0.5, but its eval/accuracy is 0.9",
        ),
        ("UPDATE version_file SET name = 'b' WHERE name = 'a'", "sst2@2", "its rows differ from its manifest: files"),
        ("DELETE FROM version_file WHERE name = 'a'", "sst2@2", "its rows differ from its manifest: files"),
        ("DELETE FROM lineage WHERE position = 1", "mix@1", "its rows differ from its manifest: parents"),
        ("UPDATE lineage SET parent_id = 1 WHERE position = 1", "mix@1", "is linked to a version with other content"),
        ("UPDATE base SET fingerprint = 'no'", "sst2@1", "its rows differ from its manifest: base"),
        (
            "UPDATE adapter SET last_number = 1 WHERE name = 'sst2'",
            "sst2",
            "its last number is 1, but it has a version of number 2",
        ),
        ("UPDATE alias SET version_id = 3", "sst2@production", "points to a version of another adapter"),
        (
            "DELETE FROM metric_point WHERE step = 7",
            "run:",
            "from 0.01 to 1.0; there are 99 points",
        ),
        ("DELETE FROM metric_point", "run:", "says 100 points, 0 of them NaN, from 0.01 to 1.0; there are 0 "),
        ("UPDATE metric_point SET value = 2 WHERE step = 7", "run:", "0 of them NaN, from 0.01 to 2"),
        (
            "UPDATE metric_point SET value = NULL WHERE step = 7",
            "run:",
            "there are 100 points, 1 of them NaN",
        ),
        (
            "UPDATE metric_summary SET min = 0",
            "run:",
            "from 0.0 to 1.0; there are 100 points, 0 of them NaN, from 0.01",
        ),
        (
            "UPDATE metric_bucket SET max = 2 WHERE level = 1",
            "run:",
            "the buckets of 1024 points of loss contradict its summary",
        ),
        (
            "DELETE FROM metric_bucket WHERE level = 0 AND bucket = 1",
            "run:",
            "the buckets of 64 points of loss contradict its summary",
        ),
        (
            "DELETE FROM metric_bucket WHERE level = 2",
            "run:",
            "the buckets of 16384 points of loss contradict its summary",
        ),
        ("DELETE FROM metric_summary", "run:", "loss has 100 points and no summary"),
        ("UPDATE version_file SET size = 1 WHERE name = 'a'", None, "the file has 3 bytes, its rows say 1"),
    ],
)
def test_a_row_that_is_wrong(filled, statement, subject, said):
    change(filled, statement)
    problems = verify(filled).problems
    assert any(said in problem.text and problem.subject.startswith(subject or "") for problem in problems), problems


def test_a_file_that_is_wrong(registry, add):
    version = add(files={name: name.encode() * 100 for name in "abcdef"})
    path = {file.name: registry.store.path(file.sha256) for file in version.files}
    flipped = bytearray(path["a"].read_bytes())
    flipped[50] ^= 1
    path["a"].write_bytes(flipped)
    path["b"].write_bytes(path["b"].read_bytes()[:-1])
    path["c"].write_bytes(bytes(100))
    path["d"].unlink()
    swapped = path["f"].read_bytes()
    path["e"].write_bytes(swapped)
    by_name = {file.sha256: file.name for file in version.files}
    found = {by_name[problem.digest]: problem.text for problem in verify(registry).problems}
    assert found.keys() == {*"abcde"}
    assert "is damaged: its 100 bytes" in found["a"]
    assert "is damaged: its 99 bytes (expected 100)" in found["b"]
    assert "is missing from" in found["d"]
    for name, text in found.items():
        assert text.endswith(f"; it belongs to sst2@1 ({name})")
    assert all(problem.advice == Advice(Action.REPAIR) for problem in verify(registry).problems)
    for name, error in zip("abcdef", [ObjectCorruptError] * 3 + [ObjectMissingError, ObjectCorruptError], strict=False):
        with pytest.raises(error):
            registry.read_file(version, name)
    assert registry.read_file(version, "f") == b"f" * 100


def test_a_damaged_page_is_found(registry, add, home):
    for _ in range(50):
        add(files={"a": os.urandom(10)})
    registry.close()
    path = home / "registry.db"
    content = bytearray(path.read_bytes())
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ix_version_digest'").fetchone()
    content[(page - 1) * 4096 + 3 : page * 4096] = bytes(4093)
    path.write_bytes(content)
    with Registry(home) as damaged:
        assert any(problem.subject == "database" for problem in verify(damaged).problems)


def test_what_is_removed_meanwhile_is_no_problem(registry, add):
    version = add()
    store, lock = registry.store, threading.Lock()

    class Slow(type(store)):
        """A store during whose reading the version is removed and its files are collected."""

        def measure(self, digest):
            with lock:
                if registry.versions():
                    registry.remove("sst2@1")
                    for file in version.files:
                        self.path(file.sha256).unlink()
            return super().measure(digest)

    registry.store = Slow(store.root)
    assert verify(registry).problems == ()


@pytest.mark.databases
def test_repair_takes_the_first_copy_that_is_right(filled, tmp_path):
    back_up(filled, tmp_path / "bad")
    back_up(filled, tmp_path / "good")
    export_bundle(filled, ["mix"], tmp_path / "some.tar")
    digests = sorted({file.sha256 for version in filled.versions() for file in version.files})
    for digest in digests:
        filled.store.path(digest).write_bytes(b"?")
        (tmp_path / "bad" / "objects" / digest[:2] / digest[2:]).write_bytes(b"!")
    before = verify(filled).problems
    assert repair(filled, before, [tmp_path / "bad"]).repaired == ()
    some = repair(filled, before[:1], [tmp_path / "bad", tmp_path / "good" / "objects"])
    assert (len(some.repaired), some.remaining) == (1, ())
    rest = repair(filled, verify(filled).problems, [tmp_path / "bad", tmp_path / "some.tar"])
    assert len(rest.repaired) == 2
    assert verify(filled).problems == ()
    with pytest.raises(SettingsError, match="does not exist; name a backup"):
        repair(filled, before, [tmp_path / "nosuch"])


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_hangs_nothing_and_is_repaired(filled, tmp_path, kind):
    back_up(filled, tmp_path / "bad")
    back_up(filled, tmp_path / "good")
    digest = filled.version("sst2@1").files[0].sha256
    for root in (filled.store.root, tmp_path / "bad" / "objects"):
        replace_with(kind, root / digest[:2] / digest[2:])
    (problem,) = verify(filled).problems
    assert f"is damaged: it is a {kind}, not a file; it belongs to sst2@1" in problem.text
    assert (problem.digest, problem.advice) == (digest, Advice(Action.REPAIR))
    assert any("missing or of the wrong size" in one.text for one in diagnose(filled.home).problems)
    collect_garbage(filled, apply=True)
    with pytest.raises(ObjectCorruptError, match=f"it is a {kind}"):
        back_up(filled, tmp_path / "new")
    assert repair(filled, [problem], [tmp_path / "bad", tmp_path / "good"]).repaired == (digest,)
    assert verify(filled).problems == ()
    back_up(filled, tmp_path / "bad")
    with Registry(tmp_path / "bad") as copy:
        assert verify(copy).problems == ()


@pytest.mark.databases
def test_repair_leaves_what_no_file_can_mend(filled, tmp_path):
    back_up(filled, tmp_path / "good")
    change(filled, "UPDATE version SET size = 1 WHERE number = 2")
    outcome = repair(filled, verify(filled).problems, [tmp_path / "good"])
    assert (outcome.repaired, len(outcome.remaining)) == ((), 1)
