"""The methods of ``Registry`` about aliases, tags, notes and the log."""

from collections.abc import Mapping

import sqlalchemy as sa

from ..database import events as log
from ..database.paging import check_page
from ..database.part import RegistryPart
from ..records import Event, Version
from ..refs import LATEST, Ref, check_alias, check_name, check_note, check_tag
from . import catalog, labels, listing


class LabelsPart(RegistryPart):
    """Change the labels of versions, and read the log."""

    def set_alias(self, ref: str | Ref, alias: str, *, if_currently: int | None = None) -> Version:
        """Point ``alias`` at the version that ``ref`` means now, and return that version.

        Args:
            ref: The version.
            alias: The name; an existing alias moves.
            if_currently: Only if the alias points to the version with this number now, or, if 0, does not exist: of
                several processes that try at once, one succeeds.

        Raises:
            InvalidNameError: The alias breaks the rules or is reserved.
            NotFoundError: The version does not exist.
            ChangedError: The alias points to another version than ``if_currently``, to ``current``; nothing was
                changed.
        """
        check_alias(alias)
        with self.database.writing() as connection:
            return _version(connection, labels.set_alias(connection, Ref.parse(ref), alias, if_currently=if_currently))

    def remove_alias(self, name: str, alias: str, *, if_currently: int | None = None) -> None:
        """Remove the alias ``name@alias``; the version stays.

        Args:
            name: The adapter.
            alias: The alias.
            if_currently: Only if the alias points to the version with this number now.

        Raises:
            NotFoundError: The alias does not exist.
            ChangedError: The alias points to another version than ``if_currently``, to ``current``; nothing was
                changed.
        """
        with self.database.writing() as connection:
            labels.remove_alias(connection, check_name(name), alias, if_currently=if_currently)

    def set_tags(
        self,
        ref: str | Ref,
        tags: Mapping[str, str | None],
        *,
        if_currently: Mapping[str, str | None] | None = None,
    ) -> Version:
        """Set tags of a version, remove those whose value is None, and return the version.

        Args:
            ref: The version.
            tags: The new values by key.
            if_currently: Only if the tags with these keys have these values now, or, where the value is None, are not
                set: of several processes that try at once, one succeeds.

        Raises:
            InvalidNameError: A key or a value breaks the rules; nothing was changed.
            NotFoundError: The version does not exist.
            ChangedError: A tag has another value than ``if_currently`` says; ``current`` has the values of these keys,
                and nothing was changed.

        Examples:
            >>> registry.set_tags("sst2@3", {"stage": "live"}, if_currently={"stage": "canary"})
        """
        for key, value in (*tags.items(), *(if_currently or {}).items()):
            check_tag(key, value)
        if not tags and not if_currently:
            with self.database.reading() as connection:
                return _version(connection, Ref.parse(ref))
        with self.database.writing() as connection:
            return _version(connection, labels.change_tags(connection, Ref.parse(ref), tags, if_currently=if_currently))

    def set_note(self, ref: str | Ref, note: str | None, *, if_currently: str | None = None) -> Version:
        """Replace a version's note, or remove it with None, and return the version.

        Args:
            ref: The version.
            note: The new note.
            if_currently: Only if this is its note now, or, if empty, it has none: of several processes that try at
                once, one succeeds.

        Raises:
            InvalidNameError: It is too long or has control characters.
            NotFoundError: The version does not exist.
            ChangedError: It has another note than ``if_currently``, which is ``current``; nothing was changed.
        """
        note, if_currently = (None if text is None else check_note(text) for text in (note, if_currently))
        with self.database.writing() as connection:
            return _version(connection, labels.set_note(connection, Ref.parse(ref), note, if_currently=if_currently))

    def events(self, ref: str | Ref | None = None, *, limit: int | None = 100, offset: int = 0) -> list[Event]:
        """Return lines of the append-only log, newest first: who did what, when.

        Args:
            ref: Only lines about this adapter (``sst2``, also after all its versions were removed) or this version
                (``sst2@3``).
            limit: At most this many.
            offset: The number of lines to leave out first.
        """
        check_page(limit, offset)
        parsed = None if ref is None else Ref.parse(ref)
        whole_adapter = parsed is not None and parsed.selector == LATEST
        with self.database.reading() as connection:
            if parsed is not None and not whole_adapter and not isinstance(parsed.selector, int):
                parsed = Ref(parsed.name, catalog.resolve(connection, parsed).number)
            return log.events(connection, ref=parsed, whole_adapter=whole_adapter, limit=limit, offset=offset)


def _version(connection: sa.Connection, ref: Ref) -> Version:
    """Read a version in the transaction that changed it, so that the answer is what was set."""
    (version,) = listing.by_ids(connection, [catalog.resolve(connection, ref).id])
    return version
