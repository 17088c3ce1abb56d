"""The parts of a version that may change: aliases, tags and the note. Functions over an open transaction."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from ..database import tables as t
from ..database.events import now, record
from ..errors import ChangedError, VersionNotFoundError, unknown
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
        ChangedError: The alias points to another version than ``if_currently``.
    """
    version = resolve(connection, ref)
    key = (t.alias.c.adapter_id == version.adapter_id) & (t.alias.c.name == alias)
    current = connection.scalar(
        sa.select(t.version.c.number).join(t.alias, t.alias.c.version_id == t.version.c.id).where(key)
    )
    if if_currently is not None and if_currently != (current or 0):
        raise _alias_moved(Ref(ref.name, alias), current, if_currently, "moved")
    values = {"version_id": version.id, "moved_at": now()}
    if current is None:
        connection.execute(t.alias.insert().values(adapter_id=version.adapter_id, name=alias, **values))
    else:
        connection.execute(t.alias.update().where(key).values(values))
    own = Ref(ref.name, version.number)
    record(connection, "alias", own, {"alias": alias, "from": current})
    return own


def remove_alias(connection: sa.Connection, name: str, alias: str, *, if_currently: int | None) -> None:
    """Remove an alias.

    Args:
        connection: A transaction that writes.
        name: The adapter.
        alias: The alias.
        if_currently: The number of the version that the alias must point to now.

    Raises:
        ChangedError: The alias points to another version than ``if_currently``.
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
    if if_currently is not None and if_currently != row.number:
        raise _alias_moved(Ref(name, alias), row.number, if_currently, "removed")
    connection.execute(t.alias.delete().where(t.alias.c.adapter_id == row.adapter_id, t.alias.c.name == alias))
    record(connection, "unalias", Ref(name, row.number), {"alias": alias})


def change_tags(
    connection: sa.Connection,
    ref: Ref,
    changes: Mapping[str, str | None],
    *,
    if_currently: Mapping[str, str | None] | None,
) -> Ref:
    """Set tags of a version, remove those whose value is None, and return the version's own ref.

    Args:
        connection: A transaction that writes.
        ref: The version.
        changes: The new values by key.
        if_currently: The values that tags must have now; None for a tag that must not be set.

    Raises:
        ChangedError: A tag has another value.
    """
    version = resolve(connection, ref)
    own = Ref(ref.name, version.number)
    of_version = t.tag.c.version_id == version.id
    if if_currently:
        stored = connection.execute(sa.select(t.tag.c.key, t.tag.c.value).where(of_version))
        found = {row.key: row.value for row in stored}
        for key, expected in if_currently.items():
            if found.get(key) != expected:
                state = f"is {_quoted(found[key])}" if key in found else "is not set"
                wanted = "none" if expected is None else _quoted(expected)
                raise _changed(
                    f"the tag '{key}' of {own} {state}, expected was {wanted}: nothing was changed",
                    {name: found.get(name) for name in if_currently},
                )
    if not changes:
        return own
    connection.execute(t.tag.delete().where(of_version, t.tag.c.key.in_(list(changes))))
    rows = [
        {"version_id": version.id, "key": key, "value": value} for key, value in changes.items() if value is not None
    ]
    if rows:
        connection.execute(t.tag.insert(), rows)
    record(connection, "tag", own, dict(changes))
    return own


def set_note(connection: sa.Connection, ref: Ref, note: str | None, *, if_currently: str | None) -> Ref:
    """Replace a version's note, and return the version's own ref.

    Args:
        connection: A transaction that writes.
        ref: The version.
        note: The new note; None removes it.
        if_currently: The note that it must have now; an empty text if it must have none.

    Raises:
        ChangedError: It has another note.
    """
    version = resolve(connection, ref)
    own = Ref(ref.name, version.number)
    if if_currently is not None:
        found = connection.scalar(sa.select(t.version.c.note).where(t.version.c.id == version.id))
        if (found or "") != if_currently:
            state = f"is {_quoted(found)}" if found else "is empty"
            wanted = _quoted(if_currently) if if_currently else "none"
            raise _changed(f"the note of {own} {state}, expected was {wanted}: it was not changed", found)
    connection.execute(t.version.update().where(t.version.c.id == version.id).values(note=note))
    record(connection, "note", own, {"note": note})
    return own


def _alias_moved(alias: Ref, current: int | None, expected: int, what: str) -> ChangedError:
    state = f"points to {alias.name}@{current}" if current else "does not exist"
    wanted = f"{alias.name}@{expected}" if expected else "none"
    return _changed(f"the alias {alias} {state}, expected was {wanted}: it was not {what}", current or 0)


def _changed(message: str, current: Any) -> ChangedError:
    error = ChangedError(message)
    error.current = current
    return error


def _quoted(text: str) -> str:
    """A stored text for a message: short, and with nothing that a terminal would act on."""
    return ascii(text if len(text) <= 40 else text[:37] + "...")
