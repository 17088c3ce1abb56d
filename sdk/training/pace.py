"""The speed of a training, and the time that is left."""

import time


class Pace:
    """The time spent on steps and on evaluations, and from that the time left.

    The first steps, in which libraries initialise, count only until there are others.

    Args:
        steps: Steps in total.
        done: Steps that were done before.
        evaluations: Evaluations still to come.
        evaluation_seconds: The estimated time of one evaluation, until one has been measured.

    Examples:
        >>> pace = Pace(steps=100, done=0, evaluations=1, evaluation_seconds=2.0)
        >>> pace.stepped(10)
        >>> pace.seconds_left
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
        """Count the steps until this one; return the seconds since the last call of any method here."""
        seconds, steps = self._lap(), step - self._done
        self._done = step
        if self._first is None:
            self._first = seconds, steps
        else:
            self._stepping[0] += seconds
            self._stepping[1] += steps
        return seconds

    def evaluated(self) -> None:
        """Count an evaluation."""
        self._evaluation_seconds = self._lap()
        self._evaluations_left = max(0, self._evaluations_left - 1)

    def paused(self) -> None:
        """Ignore the time since the last call, which was neither for a step nor for an evaluation."""
        self._lap()

    @property
    def seconds_left(self) -> float:
        """The estimated time of all steps and evaluations to come."""
        seconds, steps = self._stepping if self._stepping[1] else self._first or (0.0, 1)
        return seconds / steps * (self._steps - self._done) + self._evaluations_left * self._evaluation_seconds

    def _lap(self) -> float:
        now = time.monotonic()
        seconds, self._mark = now - self._mark, now
        return seconds
