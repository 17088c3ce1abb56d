"""Who owns a store and a run, what a score was computed on, which tokenizer a base has and where it was found.

Revision: 0004
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _compare_bytes()


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
