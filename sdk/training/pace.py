"""How fast a training goes, and how long it will take."""

import time


class Pace:
    """Time spent on steps and on evaluations, and from that the time left.

    The first steps, in which libraries set themselves up, count only until others are there to judge by.

    Args:
        steps: How many steps there are in all.
        done: How many of them were done before.
        evaluations: How many evaluations are still to come.
        evaluation_seconds: What one is thought to take, until one was made.
    """

    def __init__(self, *, steps: int, done: int, evaluations: int, evaluation_seconds: float) -> None:
        self._steps = steps
        self._done = done
        self._evaluations_left = evaluations
        self._evaluation_seconds = evaluation_seconds
        self._stepping = [0.0, 0.0]
        """Seconds and steps."""
        self._first: tuple[float, int] | None = None
        self._mark = time.monotonic()

    def stepped(self, step: int) -> float:
        """So many steps are done; return the seconds since the last call of any method here."""
        seconds, steps = self._lap(), step - self._done
        self._done = step
        if self._first is None:
            self._first = seconds, steps
        else:
            self._stepping[0] += seconds
            self._stepping[1] += steps
        return seconds

    def evaluated(self) -> None:
        """An evaluation was made."""
        self._evaluation_seconds = self._lap()
        self._evaluations_left = max(0, self._evaluations_left - 1)

    def paused(self) -> None:
        """What was done since the last call was neither a step nor an evaluation."""
        self._lap()

    @property
    def seconds_left(self) -> float:
        """Of all steps and evaluations to come."""
        seconds, steps = self._stepping if self._stepping[1] else self._first or (0.0, 1)
        return seconds / steps * (self._steps - self._done) + self._evaluations_left * self._evaluation_seconds

    def _lap(self) -> float:
        now = time.monotonic()
        seconds, self._mark = now - self._mark, now
        return seconds
