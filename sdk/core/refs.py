"""Refs of versions that others are made of, where no composition can stand."""

from collections.abc import Iterable

from pointsman.registry import Ref
from pointsman.registry.errors import CompositionError, SettingsError

from .arguments import as_list, short_repr
from .composition import parse


def parse_ref(text: str | Ref) -> Ref:
    """Read a single ref, where no composition can stand.

    Raises:
        InvalidNameError: It breaks the rules for names.
        CompositionError: It is a composition, or nothing that can be read.
    """
    found = parse(text)
    if not isinstance(found, Ref):
        raise CompositionError(f"expected a single ref, found {short_repr(str(found))}: compose makes a version of it")
    return found


def parse_members(members: Iterable[str | Ref]) -> list[Ref]:
    """Read the members that versions are made of, each a single ref.

    Raises:
        SettingsError: They are no list.
        InvalidNameError, CompositionError: As for ``parse_ref``.
    """
    found = as_list(members)
    if found is None:
        raise SettingsError(f"members are a list of refs, as ['a', 'b@2']; found {short_repr(members)}")
    return [parse_ref(member) for member in found]
