"""Who owns a store and a run, what a score was computed on, which tokenizer a base has and where it was found.

Revision: 0004
"""

import hashlib
import re
import secrets
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KINDS = "kind in ('adapter', 'fusion', 'composition')"
STATUSES = "status in ('running', 'finished', 'failed', 'interrupted', 'pruned')"


def upgrade() -> None:
    _compare_bytes()
    _evaluations()
    _owner_of_store()
    _owner_of_run()


TEXTS: dict[str, dict[str, int | None]] = {
    "base": {"fingerprint": 64, "name": None, "model_type": 64, "former_fingerprint": 64},
    "adapter": {"name": 64},
    "run": {
        "uid": 12,
        "adapter_name": 64,
        "task": 64,
        "method": 64,
        "status": 16,
        "error": None,
        "origin_kind": 32,
        "origin_name": 200,
        "origin_item": 200,
    },
    "version": {
        "digest": 64,
        "manifest": None,
        "task_name": 64,
        "method": 64,
        "primary_metric": 200,
        "note": None,
        "kind": 16,
    },
    "version_file": {"name": 255, "sha256": 64},
    "lineage": {"parent_ref": 80, "parent_digest": 64, "role": 32},
    "alias": {"name": 64},
    "tag": {"key": 200, "value": None},
    "metric_key": {"name": 200},
    "event": {"actor": 200, "action": 32, "adapter_name": 64, "subject": 200},
}
"""The columns of text of schema 0003, with their greatest length."""


def _compare_bytes() -> None:
    """PostgreSQL sorted text by the locale of the database, so that the order of names was another than SQLite's."""
    if op.get_bind().dialect.name != "postgresql":
        return
    for table, columns in TEXTS.items():
        changes = [
            f'ALTER COLUMN {name} TYPE {"text" if length is None else f"varchar({length})"} COLLATE "C"'
            for name, length in columns.items()
        ]
        op.execute(f"ALTER TABLE {table} {', '.join(changes)}")


def _evaluations() -> None:
    """What a score was computed on: of older versions, the fingerprint of all data stands in for that of the rows."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    op.drop_index(op.f("ix_version_adapter_id_score"), "version")
    # Made anew on SQLite, so that the statement that made it is the one that a new database has.
    with op.batch_alter_table("version", recreate="always" if sqlite else "never") as batch:
        collation = None if sqlite else "C"
        batch.add_column(sa.Column("evaluation", sa.String(length=64, collation=collation), nullable=True))
        batch.add_column(sa.Column("evaluation_rows", sa.BigInteger(), nullable=True))
        if sqlite:
            batch.create_check_constraint(op.f("ck_version_kind"), KINDS)  # Alembic leaves it out of the new table
    version = sa.table(
        "version",
        sa.column("id", sa.Integer),
        sa.column("run_id", sa.Integer),
        sa.column("primary_metric", sa.String),
        sa.column("evaluation", sa.String),
        sa.column("evaluation_rows", sa.BigInteger),
    )
    run = sa.table("run", sa.column("id", sa.Integer), sa.column("data", sa.JSON))
    connection = op.get_bind()
    scored = sa.select(version.c.id, run.c.data).join(run, version.c.run_id == run.c.id)
    for row in connection.execute(scored.where(version.c.primary_metric.is_not(None))).all():
        if (evaluation := _evaluation(row.data)) is not None:
            connection.execute(version.update().where(version.c.id == row.id).values(evaluation))
    op.create_index(op.f("ix_version_evaluation"), "version", ["evaluation"], unique=False)
    op.create_index(
        "ix_version_best",
        "version",
        ["adapter_id", "primary_metric", "evaluation", "evaluation_rows", "score"],
        unique=False,
    )


def _evaluation(data: Any) -> dict[str, Any] | None:
    """The columns of a version whose run recorded these data; None where they do not say enough."""
    fingerprint = data.get("fingerprint") if isinstance(data, dict) else None
    rows = data.get("rows") if isinstance(data, dict) else None
    scored = rows.get("eval") if isinstance(rows, dict) else None
    if not isinstance(fingerprint, str) or not re.fullmatch(r"[0-9a-f]{64}", fingerprint) or type(scored) is not int:
        return None
    return {"evaluation": fingerprint, "evaluation_rows": scored}


def _text(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def _owner_of_store() -> None:
    """Which registry this is, and which files are being removed from its store."""
    identity = op.create_table(
        "identity",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("registry", _text(32), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_identity_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity")),
    )
    op.create_table(
        "removal",
        sa.Column("sha256", _text(64), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_removal")),
        sqlite_with_rowid=False,
    )
    columns = (sa.column("at", sa.DateTime), *map(sa.column, ("id", "actor", "action", "subject")))
    event = sa.table("event", *columns).c
    connection = op.get_bind()
    first = connection.execute(
        sa.select(event.at, event.actor, event.action, event.subject).order_by(event.id).limit(1)
    ).first()
    # One old database is the same registry after each upgrade: a backup of before goes on with the same store.
    registry = (
        secrets.token_hex(16)
        if first is None
        else hashlib.sha256("\n".join([first.at.isoformat(), *map(str, first[1:])]).encode()).hexdigest()[:32]
    )
    created = datetime.now(UTC).replace(tzinfo=None) if first is None else first.at
    connection.execute(identity.insert().values(id=1, registry=registry, created_at=created))


def _owner_of_run() -> None:
    """How often a run was taken up: who wrote it before can write no more."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    # Made anew on SQLite, so that the statement that made it is the one that a new database has.
    with op.batch_alter_table("run", recreate="always" if sqlite else "never") as batch:
        batch.add_column(sa.Column("fence", sa.Integer(), server_default=sa.text("0"), nullable=False))
        if sqlite:  # Alembic leaves the checks of a table out when it makes it anew
            batch.create_check_constraint(op.f("ck_run_status"), STATUSES)
