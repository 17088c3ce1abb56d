"""The registry of a call: the caller's, which stays open, or the default one, which is closed at the end."""

from contextlib import AbstractContextManager, nullcontext

from pointsman.registry import Registry
from pointsman.registry.errors import SettingsError

from .arguments import short_repr


def open_registry(registry: Registry | None) -> AbstractContextManager[Registry]:
    """Open the registry of a call, for a ``with`` statement.

    Args:
        registry: The caller's; None for the default registry, which is closed at the end.

    Raises:
        SettingsError: It is neither.
    """
    if registry is None:
        return Registry()
    if not isinstance(registry, Registry):
        raise SettingsError(f"registry must be a Registry: Registry('DIR') opens one; found {short_repr(registry)}")
    return nullcontext(registry)
