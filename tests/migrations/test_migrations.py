import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import pointsman.migrations
from pointsman.registry import Base, Registry
from pointsman.registry.database import database, tables
from pointsman.registry.database.database import REVISIONS, SCRIPTS, Database
from pointsman.registry.errors import DatabaseError, OldSchemaError
from pointsman.registry.versions.contents import name_removals

from helpers import dump, interrupted_before, lines

BASE = Base(fingerprint="ab" * 32, name="tiny", model_type="bert", hidden_size=8, layers=2, parameters=9, size=36)

# The kind of migration that is dangerous: it makes a table anew and drops the old one, on which rows of others hang.
NEXT = f'''
"""Any next schema."""

import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{REVISIONS[-1]}"


def upgrade() -> None:
    with op.batch_alter_table("version", recreate="always") as batch:
        batch.add_column(sa.Column("remark", sa.Text()))
    op.create_index("ix_version_remark", "version", ["remark"])
'''

# What the tables' definitions do not say.
TRIGGERS = {
    f"event_refuses_{change.lower()}": f"CREATE TRIGGER event_refuses_{change.lower()} BEFORE {change} ON event {when}"
    "BEGIN SELECT RAISE(ABORT, 'the event log is append-only'); END"
    for change, when in (
        ("UPDATE", ""),
        ("DELETE", ""),
        ("INSERT", "WHEN EXISTS (SELECT 1 FROM event WHERE id = NEW.id) "),
    )
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "home" / "registry.db"


@pytest.fixture
def filled(path):
    """The path of a database with rows in every table."""
    fields = {"task": {"name": "sst2"}, "method": "seq_bn", "base": BASE}
    with Registry(path.parent) as registry:
        with registry.start_run(
            "sst2", **fields | {"task": "sst2"}, settings={}, data={}, environment={}, seed=1
        ) as run:
            run.log({"loss": 1.0}, step=1)
        fields |= {"files": {"a": b"a", "b": b"b"}, "config": {}, "max_length": 8, "parameters": 1}
        registry.add_version("sst2", **fields, run=run.uid, metrics={"loss": 1.0}, tags={"team": "a"}, note="text")
        registry.add_version("sst2", **fields, parents=[("init", "sst2@1")])
        registry.set_alias("sst2@1", "production")
        name_removals(registry.database, {"ab" * 32})
    return path


@pytest.fixture
def next_release(tmp_path, monkeypatch):
    """A later pointsman, whose migrations have one more revision."""
    scripts = tmp_path / "scripts"
    shutil.copytree(Path(pointsman.migrations.__file__).parent, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "9999_next.py").write_text(NEXT)
    monkeypatch.setattr(database, "SCRIPTS", str(scripts))
    monkeypatch.setattr(database, "REVISIONS", (*REVISIONS, "9999"))
    return scripts


def upgrade(path):
    """What ``registry db upgrade`` does; returns where the database is as it was."""
    with closing(Database(path, upgrade=True)) as opened:
        return opened.backup


def schema(connection):
    """Every statement of a schema, its lines in order of the alphabet: SQLite keeps them as they were written.

    A table that was renamed, as one made anew is, has its name in quotes since.
    """
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").all()
    return {
        name: sorted(line.strip(" ,\t").replace(f'"{name}"', name) for line in sql.splitlines()) for name, sql in rows
    }


def test_the_migrated_schema_is_that_of_the_tables(path):
    with closing(Database(path)) as opened, opened.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, tables.metadata) == []


@pytest.mark.parametrize(
    ("statement", "differences"),
    [("DROP INDEX ix_tag_key_value", 1), ("ALTER TABLE tag ADD COLUMN more TEXT", 1), ("DROP TABLE tag", 2)],
)
def test_the_comparison_sees_a_difference(path, statement, differences):
    with closing(Database(path)) as opened, opened.writing() as connection:
        connection.exec_driver_sql(statement)
        assert len(compare_metadata(MigrationContext.configure(connection), tables.metadata)) == differences


def test_the_migrated_statements_are_those_of_the_tables(path):
    """What Alembic does not compare: checks, WITHOUT ROWID, names and actions of foreign keys."""
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        tables.metadata.create_all(connection)
        expected = schema(connection)
    engine.dispose()
    with closing(Database(path)) as opened, opened.reading() as connection:
        found = schema(connection)
    del found["alembic_version"]
    assert {name: found.pop(name) for name in TRIGGERS} == {name: [sql] for name, sql in TRIGGERS.items()}
    assert found == expected
    assert len(found) == 18 + 21
    assert sum("WITHOUT ROWID" in lines for lines in found.values()) == 9


def test_revisions_are_those_of_the_scripts():
    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    scripts = ScriptDirectory.from_config(config)
    history = [script.revision for script in scripts.walk_revisions()]
    assert tuple(reversed(history)) == REVISIONS
    assert scripts.get_heads() == [REVISIONS[-1]]
    files = sorted((Path(pointsman.migrations.__file__).parent / "versions").glob("*.py"))
    assert [file.name[:4] for file in files] == list(REVISIONS)


def test_a_creation_interrupted_anywhere_leaves_nothing_and_can_be_run_again(tmp_path):
    with interrupted_before(0) as statements:
        Database(tmp_path / "whole.db").close()
    created = [number for number, statement in enumerate(statements, 1) if "CREATE" in statement]
    # Each revision makes tables, indexes and triggers; the second and the third each make three tables anew, with their
    # indexes, and the fourth three; and it adds five tables.
    assert len(created) == 1 + (12 + 15) + (5 + 11 + 3) + (3 + 10) + (7 + 12)
    # Before every statement that creates something, and before the one that writes the revision down.
    for number in [*created, len(statements)]:
        path = tmp_path / f"{number}.db"
        with pytest.raises(KeyboardInterrupt), interrupted_before(number):
            Database(path)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT * FROM sqlite_master").fetchall() == []
    with closing(Database(path)) as opened:
        assert opened.revision() == REVISIONS[-1]


def test_an_upgrade_keeps_the_rows_that_hang_on_a_table_made_anew(filled, next_release):
    with pytest.raises(OldSchemaError):
        Database(filled)
    with closing(sqlite3.connect(filled)) as connection:
        counts = {
            name: connection.execute(f"SELECT count(*) FROM {name}").fetchone() for name in tables.metadata.tables
        }
    assert counts["version_file"] == (4,)
    assert (0,) not in counts.values()
    before = dump(filled)
    backup = upgrade(filled)
    assert dump(backup) == before
    assert upgrade(filled) is None
    with closing(Database(filled)) as opened, opened.reading() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one() == "9999"
        for name, count in counts.items():
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {name}").one() == count
        assert connection.exec_driver_sql("SELECT remark FROM version").scalars().all() == [None, None]
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_an_upgrade_interrupted_anywhere_leaves_the_old_state_whole(filled, next_release, tmp_path, interruption):
    before = dump(filled)
    trial = tmp_path / "trial.db"
    shutil.copy(filled, trial)
    with interrupted_before(0) as statements:
        upgrade(trial)
    begun = 1 + next(number for number, statement in enumerate(statements) if statement == "BEGIN IMMEDIATE")
    assert len(statements) - begun > 5
    for number in range(begun, len(statements) + 1):
        # Alembic tries to tidy up even after KeyboardInterrupt, which has closed the connection.
        expected = (interruption, sa.exc.PendingRollbackError)
        with pytest.raises(expected), interrupted_before(number, interruption):
            upgrade(filled)
        assert dump(filled) == before
    upgrade(filled)
    assert lines(filled) == lines(trial)


def test_an_upgrade_that_would_break_a_reference_is_refused(filled, next_release):
    before = dump(filled)
    script = next_release / "versions" / "9999_next.py"
    script.write_text(NEXT + '    op.execute("DELETE FROM version WHERE number = 1")\n')
    broken = r"the upgrade of .*registry.db would break it: a row of the table \w+ points to a missing row of version"
    with pytest.raises(DatabaseError, match=broken):
        upgrade(filled)
    assert dump(filled) == before
