"""A problem of a registry, as ``verify`` and ``diagnose`` report it."""

from dataclasses import dataclass

from ..errors import Advice, DatabaseError, PointsmanError, StoreError


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong.

    Examples:
        >>> Problem(subject="sst2@3", text="its files have 5 bytes, its row says 1")
    """

    subject: str
    """What has the problem: a version's ref, ``run:UID``, an object's digest, ``database``, ``store``, ``disk`` or
    ``settings``."""
    text: str
    """What is wrong, for people."""
    digest: str | None = None
    """The object whose content is lost or damaged; a good copy repairs it."""
    advice: Advice | None = None
    """The operation that helps, if one does."""

    @classmethod
    def of_error(cls, error: PointsmanError) -> "Problem":
        """The problem that an error reports, with the error's advice."""
        subject = "settings"
        if isinstance(error, DatabaseError):
            subject = "database"
        elif isinstance(error, StoreError):
            subject = "store"
        return cls(subject=subject, text=str(error), advice=error.advice)
