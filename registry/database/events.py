"""The append-only log of changes, with time and user: functions over an open transaction."""

import getpass
import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from ..records import Event
from ..refs import Ref
from . import tables as t
from .damaged import DamagedTime
from .shape import Shape

RECORDED: Final = "events"
"""The execution option of a writing transaction's connection that holds the rows of the events that it has recorded."""


def now() -> datetime:
    """Return the present time, in UTC."""
    return datetime.now(UTC)


def record(
    connection: sa.Connection, action: str, subject: Ref | str, details: Mapping[str, Any] | None = None
) -> None:
    """Append an event to the log.

    Args:
        connection: The transaction that makes the change.
        action: One word, such as ``add``.
        subject: The version or adapter that was changed, or the name of another thing.
        details: Further facts, as JSON.
    """
    at = now()
    number = connection.scalar(
        t.event.insert()
        .values(
            at=at,
            actor=_actor(),
            action=action,
            subject=str(subject),
            adapter_name=subject.name if isinstance(subject, Ref) else None,
            details=dict(details or {}),
        )
        .returning(t.event.c.id)
    )
    connection.get_execution_options()[RECORDED].append((number, at))


def last_recorded(transaction: sa.Connection) -> Callable[[sa.Connection], bool] | None:
    """What tells whether a transaction was committed that recorded an event; None for one that recorded none.

    Args:
        transaction: Its connection.
    """
    rows = transaction.get_execution_options()[RECORDED]
    if not rows:
        return None
    number, at = rows[-1]  # after a crash, a server may give the number once more
    query = sa.select(sa.true()).where(t.event.c.id == number, t.event.c.at == at)
    return lambda connection: connection.scalar(query) is not None


def events(
    connection: sa.Connection, *, ref: Ref | None, whole_adapter: bool, limit: int | None, offset: int
) -> list[Event]:
    """Return events, newest first.

    Args:
        connection: A transaction.
        ref: Only events of this version; None for all events.
        whole_adapter: With ``ref``, events of all versions of its adapter.
        limit: At most this many.
        offset: The number of events to leave out first.
    """
    query = sa.select(t.event).order_by(t.event.c.id.desc()).limit(limit).offset(offset)
    if ref is not None and whole_adapter:
        query = query.where(t.event.c.adapter_name == ref.name)
    elif ref is not None:
        query = query.where(t.event.c.subject == str(ref))
    return [_event(row) for row in connection.execute(query)]


def _event(row: Any) -> Event:
    """A line of the log, as far as its row can be read: a log that left one out would lie."""
    damage = _SHAPE.damage(row)
    if damage is None:
        return Event(at=row.at, actor=row.actor, action=row.action, subject=row.subject, details=row.details)
    return Event(
        at=row.at if isinstance(row.at, datetime) else DamagedTime.of(row.at),
        actor=str(row.actor),
        action=str(row.action),
        subject=str(row.subject),
        details=row.details or {},
        damage=damage,
    )


_SHAPE: Final = Shape({column.name: column for column in t.event.c})


def _actor() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry in the password file
        user = "unknown"
    # The user name may come from the environment, where it need not be valid Unicode.
    return f"{user}@{socket.gethostname()}".encode(errors="replace").decode()[:200]
