"""The registry that a call works with: the caller's own, which stays open, or the default one while it is needed."""

from contextlib import AbstractContextManager, nullcontext

from pointsman.registry import Registry
from pointsman.registry.errors import SettingsError

from .arguments import short_repr


def open_registry(registry: Registry | None) -> AbstractContextManager[Registry]:
    """The registry to work with inside a ``with`` statement.

    Args:
        registry: The caller's; None for the default registry, which is closed at the end.

    Raises:
        SettingsError: It is neither.
    """
    if registry is None:
        return Registry()
    if not isinstance(registry, Registry):
        raise SettingsError(
            f"registry has to be a Registry, as Registry('DIR') opens one; found {short_repr(registry)}"
        )
    return nullcontext(registry)
