"""The methods of ``Registry`` about bases: where they were loaded from."""

import sqlalchemy as sa

from ..database import tables as t
from ..database.bases import add_place, base_columns, base_record, places
from ..database.clock import clock
from ..database.part import RegistryPart
from ..records import Base


class BasesPart(RegistryPart):
    """Know the bases, and the places that each was loaded from."""

    def bases(self) -> list[Base]:
        """Return the bases that versions have, those that came last at the end; it reads no version.

        A base that an older release stored has two entries: they are the same by ``Base.is_same``.
        """
        used = sa.select(t.version.c.base_id).where(t.version.c.base_id == t.base.c.id).exists()
        with self.database.reading() as connection:
            rows = connection.execute(sa.select(*base_columns()).where(used).order_by(t.base.c.id)).all()
        return [base_record(row) for row in rows]

    def base_places(self, base: Base) -> list[str]:
        """Return where users of this registry loaded a base from, the latest place first.

        These are directories and names on the hub, those with a revision as ``name@revision``. A name that came with
        a bundle is not among them.

        Examples:
            >>> registry.base_places(registry.version("sst2").base)
            ['/models/bert', 'bert-base-uncased@86b5e0934494bd15c9632b12f734a8a67f723594']
        """
        with self.database.reading() as connection:
            return places(connection, base)

    def base_names(self) -> list[str]:
        """Return the names that bases were loaded by."""
        with self.database.reading() as connection:
            return list(connection.scalars(sa.select(t.base_place.c.name).distinct().order_by(t.base_place.c.name)))

    def remember_base(self, base: Base) -> None:
        """Record that a base was loaded from the place that its name says, if the registry has that base.

        Raises:
            BusyError: Another process writes just now: a hint is not worth the wait for it.
            DatabaseError: The database cannot be written.
        """
        place = base.name if base.revision is None else f"{base.name}@{base.revision}"
        if self.base_places(base)[:1] == [place]:
            return
        with self.database.writing_hint() as connection:
            add_place(connection, base, clock(connection))
