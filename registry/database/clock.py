"""The clock that counts: a server's own for all of its clients, this machine's for a file."""

from datetime import UTC, datetime

import sqlalchemy as sa

from . import events


def clock(connection: sa.Connection) -> datetime:
    """Return the present time in UTC, by the clock of the database.

    Clients' clocks may differ by minutes, and what one writes is compared with what another reads.
    """
    if connection.dialect.name == "postgresql":
        present: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        return present.astimezone(UTC)
    return events.now()
