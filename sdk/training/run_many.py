"""Run any number of prepared trainings: those that can share a pass together, the others one after another."""

from collections.abc import Iterable, Iterator

from pointsman.registry import Registry, Version
from pointsman.registry.errors import PointsmanError, SettingsError

from ..core.arguments import short_repr
from .prepare import PreparedTraining
from .progress import Report, quiet
from .session import run_training
from .together import Ended, Started, ignore, run_together, shared, why_alone


def run_many(
    trainings: Iterable[PreparedTraining],
    *,
    at_once: int,
    registry: Registry,
    started: Started = ignore,
    ended: Ended,
    report: Report = quiet,
) -> None:
    """Train all, and register the best weights of each as the next version of its adapter.

    Trainings that stand side by side and ``shared`` the same share a pass; ``why_alone`` says of the others why not.

    Args:
        trainings: The trainings. Each is taken when the one before it runs and there is a place in the pass, or else
            when all before it have ended; an iterator may choose it by what has ended before.
        at_once: The number of trainings in a pass, at most; 1: one after another.
        registry: Where they are recorded and registered.
        started: Called for each before it starts.
        ended: Called for each when it has ended.
        report: Called after every record of any of them, which ``Progress.run`` tells apart.

    Raises:
        PointsmanError: The base cannot be loaded.

    Examples:
        >>> prepared = [prepare(request, registry=registry) for request in requests]
        >>> run_many(prepared, at_once=4, registry=registry, ended=lambda training, outcome: print(outcome))
    """
    queue = iter(trainings)
    first = next(queue, None)
    while first is not None:
        waiting: list[PreparedTraining] = []
        if at_once == 1 or why_alone(first) is not None:
            started(first)
            ended(first, _run_alone(first, registry, report))
        else:
            alike = _alike(first, queue, waiting)
            run_together(alike, at_once=at_once, registry=registry, started=started, ended=ended, report=report)
        first = waiting.pop() if waiting else next(queue, None)


def check_at_once(together: int) -> int:
    """Check a number of trainings that share a pass.

    Raises:
        SettingsError: It is no integer of at least 1.
    """
    if isinstance(together, bool) or not isinstance(together, int) or together < 1:
        raise SettingsError(f"together must be an integer of at least 1; found {short_repr(together)}")
    return together


def _run_alone(prepared: PreparedTraining, registry: Registry, report: Report) -> Version | PointsmanError:
    try:
        return run_training(prepared, registry=registry, report=report)
    except PointsmanError as error:
        return error


def _alike(
    first: PreparedTraining, queue: Iterator[PreparedTraining], waiting: list[PreparedTraining]
) -> Iterator[PreparedTraining]:
    """A training and those behind it in a queue that can share its pass; the first that cannot goes to ``waiting``."""
    yield first
    common = shared(first.request, first.settings)
    for training in queue:
        if shared(training.request, training.settings) != common or why_alone(training) is not None:
            waiting.append(training)
            return
        yield training
