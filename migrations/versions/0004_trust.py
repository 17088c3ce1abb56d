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
    _bases()


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
    """Which registry this is, which writes to its store it knows of, and which files are being removed from there."""
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
    op.create_table(
        "generation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("token", _text(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generation")),
        sa.UniqueConstraint("token", name=op.f("uq_generation_token")),
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


def _bases() -> None:
    """A base had one row whatever its tokenizer, and the first name ever heard was where everyone loaded it from."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    collation = None if sqlite else "C"
    with op.batch_alter_table("base", recreate="always" if sqlite else "never") as batch:
        batch.add_column(sa.Column("tokenizer", sa.String(length=64, collation=collation), nullable=True))
        batch.drop_constraint(op.f("uq_base_fingerprint"), type_="unique")
        batch.create_unique_constraint(op.f("uq_base_fingerprint_tokenizer"), ["fingerprint", "tokenizer"])
    place = op.create_table(
        "base_place",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("base_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(collation=collation), nullable=False),
        sa.Column("revision", sa.String(length=64, collation=collation), nullable=True),
        sa.Column("used_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["base_id"], ["base.id"], name=op.f("fk_base_place_base_id_base"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_base_place")),
    )
    op.create_index(op.f("ix_base_place_base_id"), "base_place", ["base_id"], unique=False)
    rows = [
        {"base_id": base_id, "name": name, "used_at": used_at}
        for (base_id, name), used_at in sorted(_own_places().items(), key=lambda item: item[1])
    ]
    if rows:
        op.bulk_insert(place, rows)


def _own_places() -> dict[tuple[int, str], Any]:
    """When each base was last used by each name, by runs and versions that were made here: not those of bundles."""
    connection = op.get_bind()
    event = sa.table("event", sa.column("action"), sa.column("subject"), sa.column("details", sa.JSON))
    imported_refs, imported_runs = set(), set()
    for subject, details in connection.execute(
        sa.select(event.c.subject, event.c.details).where(event.c.action == "import")
    ):
        imported_refs.add(subject)
        imported_runs.add(details.get("run") if isinstance(details, dict) else None)
    base = sa.table("base", sa.column("id"), sa.column("name"))
    run = sa.table(
        "run",
        sa.column("uid"),
        sa.column("base_id"),
        sa.column("data", sa.JSON),
        sa.column("started_at", sa.DateTime),
    )
    used: dict[tuple[int, str], Any] = {}

    def add(base_id: int, name: str, at: Any) -> None:
        used[base_id, name] = max(used.get((base_id, name), at), at)

    for row in connection.execute(sa.select(run, base.c.name).join(base, run.c.base_id == base.c.id)):
        if row.uid not in imported_runs:
            given = row.data.get("given") if isinstance(row.data, dict) else None
            own = given.get("base") if isinstance(given, dict) else None
            add(row.base_id, own if isinstance(own, str) and own else row.name, row.started_at)
    version = sa.table(
        "version",
        sa.column("base_id"),
        sa.column("adapter_id"),
        sa.column("number"),
        sa.column("run_id"),
        sa.column("created_at", sa.DateTime),
    )
    adapter = sa.table("adapter", sa.column("id"), sa.column("name"))
    without_run = (
        sa.select(version, base.c.name, adapter.c.name.label("adapter"))
        .join(base, version.c.base_id == base.c.id)
        .join(adapter, version.c.adapter_id == adapter.c.id)
        .where(version.c.run_id.is_(None))
    )
    for row in connection.execute(without_run):
        known = any(base_id == row.base_id for base_id, _ in used)
        if f"{row.adapter}@{row.number}" not in imported_refs and not known:
            add(row.base_id, row.name, row.created_at)
    return used
