"""Pages of results."""

from ..errors import SettingsError


def check_page(limit: int | None, offset: int) -> None:
    """Refuse a page that cannot exist.

    Args:
        limit: The largest number of items; None for all.
        offset: The number of items before the first.

    Raises:
        SettingsError: ``limit`` is below 1, ``offset`` is below 0, or one does not fit 64 bits.
    """
    if limit is not None and limit < 1:
        raise SettingsError(f"limit {limit} is not valid: it must be at least 1")
    if max(limit or 0, offset) >= 2**63:
        raise SettingsError(f"limit {limit} and offset {offset} must fit 64 bits")
    if offset < 0:
        raise SettingsError(f"offset {offset} is not valid: it must be at least 0")
