"""What may change about a version: its aliases, tags and note. Functions over an open transaction."""

from collections.abc import Mapping

import sqlalchemy as sa

from ..database import tables as t
from ..database.events import now, record
from ..errors import ConflictError, VersionNotFoundError, unknown
from ..refs import Ref
from .catalog import resolve


def set_alias(connection: sa.Connection, ref: Ref, alias: str, *, if_currently: int | None) -> None:
    """Point ``alias`` at the version that ``ref`` means now.

    Raises:
        ConflictError: It points to another version than ``if_currently`` (0: than to none).
    """
    version = resolve(connection, ref)
    key = (t.alias.c.adapter_id == version.adapter_id) & (t.alias.c.name == alias)
    current = connection.scalar(
        sa.select(t.version.c.number).join(t.alias, t.alias.c.version_id == t.version.c.id).where(key)
    )
    if if_currently is not None and if_currently != (current or 0):
        stands = f"points to {ref.name}@{current}" if current else "does not exist"
        expected = f"{ref.name}@{if_currently}" if if_currently else "none"
        raise ConflictError(f"the alias {ref.name}@{alias} {stands}, expected was {expected}: it was not moved")
    values = {"version_id": version.id, "moved_at": now()}
    if current is None:
        connection.execute(t.alias.insert().values(adapter_id=version.adapter_id, name=alias, **values))
    else:
        connection.execute(t.alias.update().where(key).values(values))
    record(connection, "alias", Ref(ref.name, version.number), {"alias": alias, "from": current})


def remove_alias(connection: sa.Connection, name: str, alias: str) -> None:
    """Take an alias away.

    Raises:
        AdapterNotFoundError, VersionNotFoundError: There is no such adapter, or it has no such alias; the message
            lists what there is.
    """
    query = (
        sa.select(t.alias.c.adapter_id, t.version.c.number)
        .join(t.adapter, t.alias.c.adapter_id == t.adapter.c.id)
        .join(t.version, t.alias.c.version_id == t.version.c.id)
        .where(t.adapter.c.name == name, t.alias.c.name == alias)
    )
    # Text that no alias can be is not for the database: PostgreSQL takes no NUL.
    row = connection.execute(query).first() if alias.isprintable() else None
    if row is None:
        resolve(connection, Ref(name))  # where there is no such adapter, that is what is wrong
        known = connection.scalars(
            sa.select(t.alias.c.name)
            .join(t.adapter, t.alias.c.adapter_id == t.adapter.c.id)
            .where(t.adapter.c.name == name)
            .order_by(t.alias.c.name)
        )
        raise unknown(VersionNotFoundError, "alias", f"{name}@{alias}", [f"{name}@{other}" for other in known])
    connection.execute(t.alias.delete().where(t.alias.c.adapter_id == row.adapter_id, t.alias.c.name == alias))
    record(connection, "unalias", Ref(name, row.number), {"alias": alias})


def change_tags(connection: sa.Connection, ref: Ref, changes: Mapping[str, str | None]) -> Ref:
    """Set tags of a version, and remove those whose value is None; returns the version's own ref."""
    version = resolve(connection, ref)
    of_version = t.tag.c.version_id == version.id
    connection.execute(t.tag.delete().where(of_version, t.tag.c.key.in_(list(changes))))
    kept = [
        {"version_id": version.id, "key": key, "value": value} for key, value in changes.items() if value is not None
    ]
    if kept:
        connection.execute(t.tag.insert(), kept)
    own = Ref(ref.name, version.number)
    record(connection, "tag", own, dict(changes))
    return own


def set_note(connection: sa.Connection, ref: Ref, note: str | None) -> Ref:
    """Replace a version's note; returns the version's own ref."""
    version = resolve(connection, ref)
    connection.execute(t.version.update().where(t.version.c.id == version.id).values(note=note))
    own = Ref(ref.name, version.number)
    record(connection, "note", own, {"note": note})
    return own
