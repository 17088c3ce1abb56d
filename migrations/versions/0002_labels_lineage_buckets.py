"""Notes, scores in a table of their own, lineage that outlives its parents, extremes of histories, a sealed log.

Revision: 0002
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SIZES = (64, 1024, 16384)


def upgrade() -> None:
    _scores()
    with op.batch_alter_table("version") as batch:
        batch.drop_column("metrics")
        batch.add_column(sa.Column("note", sa.Text(), nullable=True))
        batch.drop_index(op.f("ix_version_task_name"))
        batch.create_index(op.f("ix_version_task_name_created_at"), ["task_name", "created_at"], unique=False)
    _lineage()
    _buckets()
    _log()


def _scores() -> None:
    """Scores move from the version's JSON into rows."""
    op.create_table(
        "version_metric",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.Integer(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["version_id"], ["version.id"], name=op.f("fk_version_metric_version_id_version"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["key_id"], ["metric_key.id"], name=op.f("fk_version_metric_key_id_metric_key")),
        sa.PrimaryKeyConstraint("version_id", "key_id", name=op.f("pk_version_metric")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_version_metric_key_id_value"), "version_metric", ["key_id", "value"], unique=False)
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT id, metrics FROM version")).all()
    scores = [
        (version, name, value)
        for version, metrics in rows
        for name, value in (json.loads(metrics) if isinstance(metrics, str) else metrics).items()
    ]
    keys = {name: key for key, name in connection.execute(sa.text("SELECT id, name FROM metric_key"))}
    if missing := sorted({name for _, name, _ in scores} - keys.keys()):
        connection.execute(
            sa.text("INSERT INTO metric_key (name) VALUES (:name)"), [{"name": name} for name in missing]
        )
        keys = {name: key for key, name in connection.execute(sa.text("SELECT id, name FROM metric_key"))}
    if scores:
        connection.execute(
            sa.text("INSERT INTO version_metric (version_id, key_id, value) VALUES (:version, :key, :value)"),
            [{"version": version, "key": keys[name], "value": value} for version, name, value in scores],
        )


def _lineage() -> None:
    """The parent's digest and ref are part of the row; the parent itself may go."""
    op.rename_table("lineage", "lineage_0001")
    op.drop_index(op.f("ix_lineage_parent_id"), "lineage_0001")
    # PostgreSQL keeps one list of names for all of a schema's indexes, the primary keys' among them.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE lineage_0001 RENAME CONSTRAINT pk_lineage TO pk_lineage_0001")
    op.create_table(
        "lineage",
        sa.Column("child_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("parent_ref", sa.String(length=80), nullable=False),
        sa.Column("parent_digest", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["child_id"], ["version.id"], name=op.f("fk_lineage_child_id_version"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["version.id"], name=op.f("fk_lineage_parent_id_version"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("child_id", "position", name=op.f("pk_lineage")),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO lineage (child_id, position, parent_id, parent_ref, parent_digest, role) "
        "SELECT l.child_id, l.position, l.parent_id, a.name || '@' || v.number, v.digest, l.role "
        "FROM lineage_0001 l JOIN version v ON v.id = l.parent_id JOIN adapter a ON a.id = v.adapter_id"
    )
    op.drop_table("lineage_0001")
    op.create_index(op.f("ix_lineage_parent_id"), "lineage", ["parent_id"], unique=False)
    op.create_index(op.f("ix_lineage_parent_digest"), "lineage", ["parent_digest"], unique=False)


def _buckets() -> None:
    """Points are counted within their metric, no longer within their run; their extremes are computed once."""
    op.create_table(
        "metric_bucket",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.Integer(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("bucket", sa.BigInteger(), nullable=False),
        sa.Column("first_step", sa.BigInteger(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("first_time", sa.Double(), nullable=False),
        sa.Column("last_time", sa.Double(), nullable=False),
        sa.Column("min", sa.Double(), nullable=True),
        sa.Column("min_step", sa.BigInteger(), nullable=True),
        sa.Column("min_epoch", sa.Double(), nullable=True),
        sa.Column("min_time", sa.Double(), nullable=True),
        sa.Column("max", sa.Double(), nullable=True),
        sa.Column("max_step", sa.BigInteger(), nullable=True),
        sa.Column("max_epoch", sa.Double(), nullable=True),
        sa.Column("max_time", sa.Double(), nullable=True),
        sa.Column("nan_step", sa.BigInteger(), nullable=True),
        sa.Column("nan_epoch", sa.Double(), nullable=True),
        sa.Column("nan_time", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_metric_bucket_run_id_run"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["key_id"], ["metric_key.id"], name=op.f("fk_metric_bucket_key_id_metric_key")),
        sa.PrimaryKeyConstraint("run_id", "key_id", "level", "bucket", name=op.f("pk_metric_bucket")),
        sqlite_with_rowid=False,
    )
    # Negative numbers first, which no point has: until all points are renumbered, a new number may be another point's.
    op.execute(
        "UPDATE metric_point SET seq = -counted.place FROM ("
        "SELECT run_id, key_id, step, seq, row_number() OVER (PARTITION BY run_id, key_id ORDER BY seq) AS place "
        "FROM metric_point) AS counted "
        "WHERE metric_point.run_id = counted.run_id AND metric_point.key_id = counted.key_id "
        "AND metric_point.step = counted.step AND metric_point.seq = counted.seq"
    )
    op.execute("UPDATE metric_point SET seq = -seq - 1")
    for level, size in enumerate(SIZES):
        within = f"PARTITION BY run_id, key_id, seq / {size} ORDER BY"
        op.execute(
            f"""
            INSERT INTO metric_bucket (
                run_id, key_id, level, bucket, first_step, last_step, first_time, last_time,
                min, min_step, min_epoch, min_time, max, max_step, max_epoch, max_time, nan_step, nan_epoch, nan_time
            )
            SELECT run_id, key_id, {level}, bucket, min(step), max(step), min(wall_time), max(wall_time),
                min(value), {_of("low")},
                max(value), {_of("high")},
                {_of("missing")}
            FROM (
                SELECT run_id, key_id, step, value, epoch, wall_time, seq / {size} AS bucket,
                    CASE WHEN value IS NOT NULL
                        THEN row_number() OVER ({within} value IS NULL, value, seq) END AS low,
                    CASE WHEN value IS NOT NULL
                        THEN row_number() OVER ({within} value IS NULL, value DESC, seq) END AS high,
                    CASE WHEN value IS NULL
                        THEN row_number() OVER ({within} value IS NOT NULL, seq) END AS missing
                FROM metric_point
            ) AS ranked
            GROUP BY run_id, key_id, bucket
            """
        )


def _of(rank: str) -> str:
    """The step, epoch and time of the point that comes first by a rank."""
    return ", ".join(f"max(CASE WHEN {rank} = 1 THEN {column} END)" for column in ("step", "epoch", "wall_time"))


def _log() -> None:
    """Events know their adapter, and nobody changes them any more."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    with op.batch_alter_table("event", recreate="always" if sqlite else "never") as batch:
        batch.add_column(sa.Column("adapter_name", sa.String(length=64), nullable=True))
    # Every subject so far is a ref: a name, '@' and a number.
    op.execute("UPDATE event SET adapter_name = rtrim(rtrim(subject, '0123456789'), '@')")
    op.create_index(op.f("ix_event_adapter_name"), "event", ["adapter_name"], unique=False)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION pointsman_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the event log is append-only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER event_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON event "
            "FOR EACH STATEMENT EXECUTE FUNCTION pointsman_append_only()"
        )
    else:
        # REPLACE deletes without a trigger, so inserting an existing event is refused too.
        existing = "WHEN EXISTS (SELECT 1 FROM event WHERE id = NEW.id) "
        for change, when in (("UPDATE", ""), ("DELETE", ""), ("INSERT", existing)):
            op.execute(
                f"CREATE TRIGGER event_refuses_{change.lower()} BEFORE {change} ON event {when}"
                "BEGIN SELECT RAISE(ABORT, 'the event log is append-only'); END"
            )
