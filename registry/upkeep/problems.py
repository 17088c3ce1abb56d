"""A problem of a registry, as ``verify`` and ``diagnose`` report it."""

from dataclasses import dataclass

from ..errors import Advice, PointsmanError


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong.

    Example:
        >>> Problem(subject="sst2@3", text="its files have 5 bytes, its row says 1")
    """

    subject: str
    """What it is wrong with: a version's ref, ``run:UID``, an object's digest, ``database``, ``store`` or ``disk``."""
    text: str
    """What is wrong, for people."""
    digest: str | None = None
    """The object whose content is lost or damaged; a good copy repairs it."""
    advice: Advice | None = None
    """The operation that helps, if one does."""

    @classmethod
    def of_error(cls, subject: str, error: PointsmanError) -> "Problem":
        """The problem that an error tells of, with the error's advice."""
        return cls(subject=subject, text=str(error), advice=error.advice)
