"""Kinds of versions, pruned runs, origins of runs in columns, former fingerprints of bases.

Revision: 0003
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATUSES = "status in ('running', 'finished', 'failed', 'interrupted', 'pruned')"
KINDS = "kind in ('adapter', 'fusion', 'composition')"


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    # Made anew on SQLite, so that the statement that made it is the one that a new database has.
    with op.batch_alter_table("base", recreate="always" if sqlite else "never") as batch:
        batch.add_column(sa.Column("former_fingerprint", sa.String(length=64), nullable=True))
    _kinds()
    _origins(sqlite)


def _kinds() -> None:
    """A composition was a version whose configuration had one key; a fusion was known by its method."""
    with op.batch_alter_table("version") as batch:
        batch.add_column(sa.Column("kind", sa.String(length=16), nullable=True))
    version = sa.table(
        "version",
        sa.column("id", sa.Integer),
        sa.column("method", sa.String),
        sa.column("config", sa.JSON),
        sa.column("kind", sa.String),
    )
    connection = op.get_bind()
    connection.execute(version.update().values(kind="adapter"))
    composed = sa.select(version.c.id, version.c.method, version.c.config).where(
        (version.c.method == "fuse") | sa.cast(version.c.config, sa.Text).like('%"composition"%')
    )
    for row in connection.execute(composed).all():
        is_composition = isinstance(row.config, dict) and set(row.config) == {"composition"}
        kind = "composition" if is_composition else "fusion" if row.method == "fuse" else "adapter"
        connection.execute(version.update().where(version.c.id == row.id).values(kind=kind))
    with op.batch_alter_table("version") as batch:
        batch.alter_column("kind", existing_type=sa.String(length=16), nullable=False)
        batch.create_check_constraint(op.f("ck_version_kind"), KINDS)


def _origins(sqlite: bool) -> None:
    """An origin was a part of the settings; a pruned run was a finished trial with an error and without a version."""
    with op.batch_alter_table("run") as batch:
        batch.add_column(sa.Column("origin_kind", sa.String(length=32), nullable=True))
        batch.add_column(sa.Column("origin_name", sa.String(length=200), nullable=True))
        batch.add_column(sa.Column("origin_item", sa.String(length=200), nullable=True))
        batch.add_column(sa.Column("origin_details", sa.JSON(), nullable=True))
        # SQLite makes the table anew, and Alembic leaves its checks out when it does.
        if not sqlite:
            batch.drop_constraint(op.f("ck_run_status"), type_="check")
        batch.create_check_constraint(op.f("ck_run_status"), STATUSES)
    op.create_index(
        op.f("ix_run_origin_kind_origin_name_origin_item"),
        "run",
        ["origin_kind", "origin_name", "origin_item"],
        unique=False,
    )
    run = sa.table(
        "run",
        sa.column("id", sa.Integer),
        sa.column("task", sa.String),
        sa.column("method", sa.String),
        sa.column("seed", sa.BigInteger),
        sa.column("status", sa.String),
        sa.column("error", sa.Text),
        sa.column("settings", sa.JSON),
        sa.column("origin_kind", sa.String),
        sa.column("origin_name", sa.String),
        sa.column("origin_item", sa.String),
        sa.column("origin_details", sa.JSON),
    )
    connection = op.get_bind()
    made = set(connection.execute(sa.text("SELECT run_id FROM version WHERE run_id IS NOT NULL")).scalars())
    candidates = connection.execute(sa.select(run).where(sa.cast(run.c.settings, sa.Text).like('%"origin"%'))).all()
    for row in candidates:
        values = _origin(row)
        if values is None:
            continue  # somebody's own, which stays where it is
        pruned = row.status == "finished" and row.error is not None and row.id not in made
        if values["origin_kind"] == "trial" and pruned:
            values["status"] = "pruned"
        values["settings"] = {key: value for key, value in row.settings.items() if key != "origin"}
        connection.execute(run.update().where(run.c.id == row.id).values(values))


def _origin(row: Any) -> dict[str, Any] | None:
    """The columns of a run's origin; None where it is neither a trial's nor a cell's."""
    origin = row.settings.get("origin") if isinstance(row.settings, dict) else None
    if not isinstance(origin, dict):
        return None
    study, trial, benchmark = origin.get("study"), origin.get("trial"), origin.get("benchmark")
    if isinstance(study, str) and 0 < len(study) <= 200 and type(trial) is int:
        kind, name, item, known = "trial", study, str(trial), {"study", "trial"}
    elif isinstance(benchmark, str) and 0 < len(benchmark) <= 200:
        kind, name, item, known = "cell", benchmark, f"{row.task}/{row.method}/{row.seed}", {"benchmark"}
    else:
        return None
    return {
        "origin_kind": kind,
        "origin_name": name,
        "origin_item": item,
        "origin_details": {key: value for key, value in origin.items() if key not in known},
    }
