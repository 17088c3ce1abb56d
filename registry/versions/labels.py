"""The parts of a version that may change: aliases, tags and the note. Functions over an open transaction."""

from collections.abc import Mapping

import sqlalchemy as sa

from ..database import tables as t
from ..database.events import now, record
from ..errors import ConflictError, VersionNotFoundError, unknown
from ..refs import Ref
from .catalog import resolve


def set_alias(connection: sa.Connection, ref: Ref, alias: str, *, if_currently: int | None) -> Ref:
    """Point ``alias`` at the version that ``ref`` resolves to, and return the version's own ref.

    Args:
        connection: A transaction that writes.
        ref: The version.
        alias: The name; an existing alias moves.
        if_currently: The number of the version that the alias must point to now; 0 if it must not exist.

    Raises:
        ConflictError: The alias points to another version than ``if_currently``.
    """
    version = resolve(connection, ref)
    key = (t.alias.c.adapter_id == version.adapter_id) & (t.alias.c.name == alias)
    current = connection.scalar(
        sa.select(t.version.c.number).join(t.alias, t.alias.c.version_id == t.version.c.id).where(key)
    )
    if if_currently is not None and if_currently != (current or 0):
        state = f"points to {ref.name}@{current}" if current else "does not exist"
        expected = f"{ref.name}@{if_currently}" if if_currently else "none"
        raise ConflictError(f"the alias {ref.name}@{alias} {state}, expected was {expected}: it was not moved")
    values = {"version_id": version.id, "moved_at": now()}
    if current is None:
        connection.execute(t.alias.insert().values(adapter_id=version.adapter_id, name=alias, **values))
    else:
        connection.execute(t.alias.update().where(key).values(values))
    own = Ref(ref.name, version.number)
    record(connection, "alias", own, {"alias": alias, "from": current})
    return own


def remove_alias(connection: sa.Connection, name: str, alias: str) -> None:
    """Remove an alias.

    Raises:
        AdapterNotFoundError, VersionNotFoundError: The adapter or the alias does not exist; the message lists the known
            ones.
    """
    query = (
        sa.select(t.alias.c.adapter_id, t.version.c.number)
        .join(t.adapter, t.alias.c.adapter_id == t.adapter.c.id)
        .join(t.version, t.alias.c.version_id == t.version.c.id)
        .where(t.adapter.c.name == name, t.alias.c.name == alias)
    )
    # Unprintable text is no alias, and PostgreSQL refuses a statement with a NUL.
    row = connection.execute(query).first() if alias.isprintable() else None
    if row is None:
        resolve(connection, Ref(name))  # raises if the adapter itself does not exist
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
    """Set tags of a version, remove those whose value is None, and return the version's own ref."""
    version = resolve(connection, ref)
    of_version = t.tag.c.version_id == version.id
    connection.execute(t.tag.delete().where(of_version, t.tag.c.key.in_(list(changes))))
    rows = [
        {"version_id": version.id, "key": key, "value": value} for key, value in changes.items() if value is not None
    ]
    if rows:
        connection.execute(t.tag.insert(), rows)
    own = Ref(ref.name, version.number)
    record(connection, "tag", own, dict(changes))
    return own


def set_note(connection: sa.Connection, ref: Ref, note: str | None) -> Ref:
    """Replace a version's note, and return the version's own ref."""
    version = resolve(connection, ref)
    connection.execute(t.version.update().where(t.version.c.id == version.id).values(note=note))
    own = Ref(ref.name, version.number)
    record(connection, "note", own, {"note": note})
    return own
