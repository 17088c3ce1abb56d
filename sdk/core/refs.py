"""Single refs, where a composition is not allowed."""

from collections.abc import Iterable

from pointsman.registry import Ref
from pointsman.registry.errors import CompositionError, SettingsError

from .arguments import as_list, short_repr
from .composition import parse


def parse_ref(text: str | Ref) -> Ref:
    """Read a single ref, where a composition is not allowed.

    Raises:
        InvalidNameError: It breaks the rules for names.
        CompositionError: It is a composition, or cannot be read.
    """
    parsed = parse(text)
    if not isinstance(parsed, Ref):
        raise CompositionError(
            f"expected a single ref, found {short_repr(str(parsed))}: register the composition as a version (compose)"
        )
    return parsed


def parse_members(members: Iterable[str | Ref]) -> list[Ref]:
    """Read the members of a version to be made, each a single ref.

    Raises:
        SettingsError: They are no list.
        InvalidNameError, CompositionError: As for ``parse_ref``.
    """
    items = as_list(members)
    if items is None:
        raise SettingsError(f"members must be a list of refs, as ['a', 'b@2']; found {short_repr(members)}")
    return [parse_ref(member) for member in items]
