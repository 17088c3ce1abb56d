"""What the record of a training shows."""

from dataclasses import dataclass

from pointsman.registry.errors import Advice


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What limits the score of a training, and what to do about it."""

    text: str
    advice: tuple[Advice, ...] = ()
    """Trainings to try, each by itself."""
