"""The tables. Migrations create them; a test compares these definitions with the migrated schema."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

from .damaged import DamagedTime


class UtcDateTime(sa.TypeDecorator[datetime]):
    """Aware datetimes, stored as UTC without a zone, since SQLite stores none."""

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """SQLite has no type for times: what is stored may be anything."""
        return dialect.type_descriptor(_stored_time() if dialect.name == "sqlite" else self.impl_instance)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to naive UTC."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to aware UTC."""
        return value if value is None or isinstance(value, DamagedTime) else value.replace(tzinfo=UTC)


class _StoredTime(sqlite.DATETIME):
    """SQLite's text of a time."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:
        """Read a time, or what stands for one that cannot be read."""
        read: Any = super().result_processor(dialect, coltype)

        def process(value: Any) -> datetime | None:
            try:
                return read(value)  # type: ignore[no-any-return]
            except (ValueError, TypeError):
                return DamagedTime.of(value)

        return process


def _stored_time() -> TypeEngine[Any]:
    return _StoredTime()  # type: ignore[no-untyped-call]


metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _text(length: int | None = None) -> sa.types.TypeEngine[str]:
    """Text that PostgreSQL, too, compares and sorts byte by byte, whatever the locale of the database."""
    kind: type[sa.String] = sa.Text if length is None else sa.String
    return kind(length).with_variant(kind(length, collation="C"), "postgresql")


def _table(name: str, *items: sa.schema.SchemaItem, **options: Any) -> sa.Table:
    return sa.Table(name, metadata, *items, **options)


# One row: which registry this database is. The store of its files names it too (storage/owner.py), so that no other
# database adds to it or removes from it. Copies of a database are one registry.
identity = _table(
    "identity",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("registry", _text(32), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.CheckConstraint("id = 1", name="one"),
)

# One row before each time that files of new versions are stored. The store names the newest one (storage/owner.py): an
# older copy of this database does not have it.
generation = _table(
    "generation",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("token", _text(32), nullable=False, unique=True),
)

base = _table(
    "base",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("fingerprint", _text(64), nullable=False),
    # Where it was found last on purpose; before that, the name that came with a bundle.
    sa.Column("name", _text(), nullable=False),
    sa.Column("model_type", _text(64), nullable=False),
    sa.Column("hidden_size", sa.Integer, nullable=False),
    sa.Column("layers", sa.Integer, nullable=False),
    sa.Column("parameters", sa.BigInteger, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    # The fingerprint that earlier releases computed for the same base: their versions are stored under it.
    sa.Column("former_fingerprint", _text(64)),
    # NULL for a base of a release that did not record it.
    sa.Column("tokenizer", _text(64)),
    sa.UniqueConstraint("fingerprint", "tokenizer"),
)

# Where this registry's users loaded a base from. What a bundle says is no place: only a hint, in the base's name.
base_place = _table(
    "base_place",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("base_id", sa.ForeignKey("base.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("name", _text(), nullable=False),
    # The commit of a repository on the hub.
    sa.Column("revision", _text(64)),
    sa.Column("used_at", UtcDateTime, nullable=False),
)

adapter = _table(
    "adapter",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", _text(64), nullable=False, unique=True),
    # Numbers come from this counter, not from max(number), so the number of a removed version is never reused.
    sa.Column("last_number", sa.Integer, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

run = _table(
    "run",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("uid", _text(12), nullable=False, unique=True),
    sa.Column("adapter_name", _text(64), nullable=False, index=True),
    sa.Column("task", _text(64), nullable=False),
    sa.Column("method", _text(64), nullable=False),
    sa.Column("base_id", sa.ForeignKey("base.id"), nullable=False, index=True),
    sa.Column("settings", sa.JSON, nullable=False),
    sa.Column("data", sa.JSON, nullable=False),
    sa.Column("environment", sa.JSON, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("status", _text(16), nullable=False),
    sa.Column("error", _text()),
    sa.Column("started_at", UtcDateTime, nullable=False, index=True),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("heartbeat_at", UtcDateTime, nullable=False),
    # What the run is a part of. One index answers "all trials of this study" and "the newest run of this trial".
    sa.Column("origin_kind", _text(32)),
    sa.Column("origin_name", _text(200)),
    sa.Column("origin_item", _text(200)),
    sa.Column("origin_details", sa.JSON(none_as_null=True)),
    # Greater by one each time another process takes the run up: whoever recorded it before can write no more.
    sa.Column("fence", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.CheckConstraint("status in ('running', 'finished', 'failed', 'interrupted', 'pruned')", name="status"),
    sa.Index(None, "origin_kind", "origin_name", "origin_item"),
)

version = _table(
    "version",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("adapter_id", sa.ForeignKey("adapter.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("digest", _text(64), nullable=False, index=True),
    sa.Column("manifest", _text(), nullable=False),
    sa.Column("task_name", _text(64), nullable=False),
    sa.Column("task", sa.JSON, nullable=False),
    sa.Column("method", _text(64), nullable=False, index=True),
    sa.Column("config", sa.JSON, nullable=False),
    sa.Column("base_id", sa.ForeignKey("base.id"), nullable=False, index=True),
    sa.Column("max_length", sa.Integer, nullable=False),
    sa.Column("parameters", sa.BigInteger, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("primary_metric", _text(200)),
    # A copy of the primary metric's value, so that one index answers `@best`.
    sa.Column("score", sa.Double),
    sa.Column("run_id", sa.ForeignKey("run.id"), unique=True),
    sa.Column("created_at", UtcDateTime, nullable=False, index=True),
    sa.Column("note", _text()),
    # Not in the manifest: it follows from the method and the configuration, which are in it.
    sa.Column("kind", _text(16), nullable=False),
    # What the score was computed on; NULL if that is unknown. Not in the manifest: a score is not content.
    sa.Column("evaluation", _text(64), index=True),
    sa.Column("evaluation_rows", sa.BigInteger),
    sa.CheckConstraint("kind in ('adapter', 'fusion', 'composition')", name="kind"),
    sa.UniqueConstraint("adapter_id", "number"),
    # Answers `@best`: the greatest score among those of one metric on the same rows.
    sa.Index("ix_version_best", "adapter_id", "primary_metric", "evaluation", "evaluation_rows", "score"),
    # Answers "the newest versions of this task" and their number.
    sa.Index(None, "task_name", "created_at"),
)

version_file = _table(
    "version_file",
    sa.Column("version_id", sa.ForeignKey("version.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("name", _text(255), primary_key=True),
    sa.Column("sha256", _text(64), nullable=False, index=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Files that garbage collection removes or has removed from the store lately (versions/contents.py).
removal = _table(
    "removal",
    sa.Column("sha256", _text(64), primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("done", sa.Boolean, nullable=False),
    sqlite_with_rowid=False,
)

# A version's scores; NULL is NaN. Searching and sorting by them reads no JSON.
version_metric = _table(
    "version_metric",
    sa.Column("version_id", sa.ForeignKey("version.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("key_id", sa.ForeignKey("metric_key.id"), primary_key=True),
    sa.Column("value", sa.Double),
    sa.Index(None, "key_id", "value"),
    sqlite_with_rowid=False,
)

# The row of a parent may have been removed or never imported. Its ref and digest stay here, since the digest is part of
# the child's own identity.
lineage = _table(
    "lineage",
    sa.Column("child_id", sa.ForeignKey("version.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("parent_id", sa.ForeignKey("version.id", ondelete="SET NULL"), index=True),
    sa.Column("parent_ref", _text(80), nullable=False),
    sa.Column("parent_digest", _text(64), nullable=False, index=True),
    sa.Column("role", _text(32), nullable=False),
    sqlite_with_rowid=False,
)

alias = _table(
    "alias",
    sa.Column("adapter_id", sa.ForeignKey("adapter.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("name", _text(64), primary_key=True),
    sa.Column("version_id", sa.ForeignKey("version.id"), nullable=False, index=True),
    sa.Column("moved_at", UtcDateTime, nullable=False),
    sqlite_with_rowid=False,
)

tag = _table(
    "tag",
    sa.Column("version_id", sa.ForeignKey("version.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", _text(200), primary_key=True),
    sa.Column("value", _text(), nullable=False),
    sa.Index(None, "key", "value"),
    sqlite_with_rowid=False,
)

metric_key = _table(
    "metric_key",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", _text(200), nullable=False, unique=True),
)

# Clustered by the primary key: the points of one run and metric are adjacent in the file, in reading order. seq counts
# them in the order they were logged in. SQLite stores NaN as NULL, and every point has a value: NULL is NaN here.
metric_point = _table(
    "metric_point",
    sa.Column("run_id", sa.ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("key_id", sa.ForeignKey("metric_key.id"), primary_key=True),
    sa.Column("step", sa.BigInteger, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("epoch", sa.Double),
    sa.Column("wall_time", sa.Double, nullable=False),
    sa.Column("value", sa.Double),
    sqlite_with_rowid=False,
)

metric_summary = _table(
    "metric_summary",
    sa.Column("run_id", sa.ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("key_id", sa.ForeignKey("metric_key.id"), primary_key=True, index=True),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("nan_count", sa.BigInteger, nullable=False),
    sa.Column("first", sa.Double),
    sa.Column("last", sa.Double),
    sa.Column("min", sa.Double),
    sa.Column("max", sa.Double),
    sa.Column("mean", sa.Double),
    sa.Column("first_step", sa.BigInteger, nullable=False),
    sa.Column("last_step", sa.BigInteger, nullable=False),
    sa.Column("min_step", sa.BigInteger),
    sa.Column("max_step", sa.BigInteger),
    sqlite_with_rowid=False,
)

# The extremes of each bucket of a metric's points, for buckets of three sizes (metrics/buckets.py): a picture of ten
# million points is drawn from a thousand buckets.
metric_bucket = _table(
    "metric_bucket",
    sa.Column("run_id", sa.ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("key_id", sa.ForeignKey("metric_key.id"), primary_key=True),
    sa.Column("level", sa.Integer, primary_key=True),
    sa.Column("bucket", sa.BigInteger, primary_key=True),
    sa.Column("first_step", sa.BigInteger, nullable=False),
    sa.Column("last_step", sa.BigInteger, nullable=False),
    sa.Column("first_time", sa.Double, nullable=False),
    sa.Column("last_time", sa.Double, nullable=False),
    sa.Column("min", sa.Double),
    sa.Column("min_step", sa.BigInteger),
    sa.Column("min_epoch", sa.Double),
    sa.Column("min_time", sa.Double),
    sa.Column("max", sa.Double),
    sa.Column("max_step", sa.BigInteger),
    sa.Column("max_epoch", sa.Double),
    sa.Column("max_time", sa.Double),
    sa.Column("nan_step", sa.BigInteger),
    sa.Column("nan_epoch", sa.Double),
    sa.Column("nan_time", sa.Double),
    sqlite_with_rowid=False,
)

# Append-only: triggers refuse to change or delete a row.
event = _table(
    "event",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("actor", _text(200), nullable=False),
    sa.Column("action", _text(32), nullable=False),
    # The adapter's name if the event is about an adapter, so that an index answers its log.
    sa.Column("adapter_name", _text(64), index=True),
    sa.Column("subject", _text(200), nullable=False, index=True),
    sa.Column("details", sa.JSON, nullable=False),
)
