"""Where to load the base of a version from: places of this registry's own users, never a name from a bundle."""

from pathlib import Path

from pointsman.registry import Base, Registry
from pointsman.registry.errors import Action, Advice, BaseNotFoundError, DatabaseError

from .on_machine import is_here


def place_of(registry: Registry, base: Base, given: str | None, *, of: str) -> str:
    """Return where to load a base from: the given place, else one on this machine, else one on the hub.

    Of several places the latest counts. What is on this machine needs no network.

    A bundle names a base, too. Its name is only a hint, since whoever made the bundle chose it.

    Args:
        registry: The registry that knows the places.
        base: The base.
        given: What the user named; None: nothing.
        of: What needs the base, for messages: ``sst2@1``.

    Raises:
        BaseNotFoundError: No place is known, or none is there any more.

    Examples:
        >>> place_of(registry, registry.version("sst2@1").base, None, of="sst2@1")
        'bert-base-uncased@86b5e0934494bd15c9632b12f734a8a67f723594'
    """
    if given is not None:
        return given
    known = registry.base_places(base)
    here = [place for place in known if is_here(place)]
    on_hub = [place for place in known if not Path(place).is_absolute()]
    if here or on_hub:
        return (here or on_hub)[0]
    if known:
        raise BaseNotFoundError(
            f"the base of {of} is not there any more: it was loaded from {', '.join(known[:3])}; name where it is now",
            advice=Advice(Action.SET_ARGUMENTS, {"base": None}),
        )
    raise BaseNotFoundError(
        f"the base of {of} is known only as {base.name[:200]!a}, a name that came with a bundle and is not loaded by "
        "itself; name your own copy, or that name if you trust it",
        advice=Advice(Action.SET_ARGUMENTS, {"base": base.name}),
    )


def remember_place(registry: Registry, base: Base) -> None:
    """Record where a base was loaded from, for the next time; a registry that cannot be written now goes without."""
    try:
        registry.remember_base(base)
    except DatabaseError:
        return
