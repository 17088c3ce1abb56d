"""The append-only log of who did what, when: functions over an open transaction."""

import getpass
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from ..records import Event
from ..refs import Ref
from . import tables as t


def now() -> datetime:
    """The time that goes into every row."""
    return datetime.now(UTC)


def record(
    connection: sa.Connection, action: str, subject: Ref | str, details: Mapping[str, Any] | None = None
) -> None:
    """Append one line to the log.

    Args:
        connection: The transaction in which the thing itself was done.
        action: One word.
        subject: A version, or the name of an adapter, or what else it was done to.
        details: More, as JSON.
    """
    connection.execute(
        t.event.insert().values(
            at=now(),
            actor=_actor(),
            action=action,
            subject=str(subject),
            adapter_name=subject.name if isinstance(subject, Ref) else None,
            details=dict(details or {}),
        )
    )


def events(
    connection: sa.Connection, *, ref: Ref | None, whole_adapter: bool, limit: int | None, offset: int
) -> list[Event]:
    """Events, newest first: all, or those of an adapter, or of one version."""
    query = sa.select(t.event).order_by(t.event.c.id.desc()).limit(limit).offset(offset)
    if ref is not None and whole_adapter:
        query = query.where(t.event.c.adapter_name == ref.name)
    elif ref is not None:
        query = query.where(t.event.c.subject == str(ref))
    return [
        Event(at=row.at, actor=row.actor, action=row.action, subject=row.subject, details=row.details)
        for row in connection.execute(query)
    ]


def _actor() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry in the password file
        user = "unknown"
    # The user may come from the environment, which need not be Unicode.
    return f"{user}@{socket.gethostname()}".encode(errors="replace").decode()[:200]
