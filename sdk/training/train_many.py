"""Train several adapters of one configuration and task together, each with settings of its own."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Final

from pointsman.registry import Registry, Version
from pointsman.registry.errors import PointsmanError, SettingsError, TrainingError

from ..bases.load import read_base
from ..core.arguments import as_list, short_repr
from ..core.registries import open_registry
from .prepare import prepare
from .progress import Report, quiet
from .request import TrainRequest
from .together import run_together

_REQUIRED: Final = ("task", "base")
_SHARED: Final = ("device", "precision", "max_length", "drop_layers")
"""Settings that decide what the base computes."""


def train_many(
    trainings: Sequence[Mapping[str, Any]], *, registry: Registry | None = None, report: Report = quiet, **common: Any
) -> list[Version]:
    """Train several adapters together, and register the best checkpoint of each as its adapter's next version.

    They share base, task, rows and the method's configuration, and have settings of their own: seed, learning rate,
    schedule, length, class weights, early stop, name. Each step is one pass through the frozen base for all. Each
    training is a run as ``train`` makes it, with the same numbers except for rounding; one that was interrupted is
    resumed alone.

    The method is ``seq_bn``, and the base a BERT, ELECTRA, RoBERTa or XLM-R on a CPU.

    Args:
        trainings: The arguments of ``train`` for each, by name.
        registry: The registry; None: the default one.
        report: As for ``train``; ``Progress.run`` tells the trainings apart.
        **common: Arguments of ``train`` for all trainings.

    Returns:
        The version of each, in the order of the trainings.

    Raises:
        SettingsError: Trainings that cannot be trained together; nothing is recorded.
        TrainingError: Some failed; the others were trained to their end.
        PointsmanError: Something else in a request cannot work, or ended one training.

    Examples:
        >>> seeds = [{"seed": 0}, {"seed": 1}, {"seed": 2, "learning_rate": 5e-4}]
        >>> [version.ref for version in train_many(seeds, task="sst2", base="minilm", data="sample", epochs=1)]
        ['sst2@1', 'sst2@2', 'sst2@3']
    """
    requests = _requests(trainings, common)
    _check(requests)
    first = requests[0]
    with open_registry(registry) as opened:
        opened.check_writable()
        files, data = read_base(first.base, known=opened.base_names()), first.source.load(first.task)
        prepared = [prepare(request, registry=opened, data=data, base_files=files) for request in requests]
        outcomes = run_together(prepared, registry=opened, report=report)
    failed = {number: outcome for number, outcome in enumerate(outcomes, 1) if isinstance(outcome, PointsmanError)}
    if len(failed) == 1:
        raise next(iter(failed.values()))
    if failed:
        reasons = "; ".join(f"{number}: {error}" for number, error in failed.items())
        raise TrainingError(f"{len(failed)} of {len(outcomes)} trainings failed: {reasons}") from next(
            iter(failed.values())
        )
    return [outcome for outcome in outcomes if isinstance(outcome, Version)]


def _requests(trainings: Any, common: Mapping[str, Any]) -> list[TrainRequest]:
    """The request of every training."""
    given = as_list(trainings)
    if not given:
        raise SettingsError(f"trainings must be a list of at least one mapping; found {short_repr(trainings)}")
    requests = []
    for number, arguments in enumerate(given, 1):
        if not isinstance(arguments, Mapping):
            raise SettingsError(f"training {number} must be a mapping of arguments; found {short_repr(arguments)}")
        if twice := sorted(arguments.keys() & common.keys()):
            raise SettingsError(f"'{twice[0]}' is given for all trainings and for training {number}; give it once")
        merged = {**common, **arguments}
        for name in _REQUIRED:
            if name not in merged:
                raise SettingsError(f"training {number} has no '{name}'; give it for all trainings or for each")
        requests.append(TrainRequest.of_arguments(merged.pop("task"), **merged))
    return requests


def _check(requests: Sequence[TrainRequest]) -> None:
    """Refuse what cannot be trained together.

    Raises:
        SettingsError: With the two trainings and what they differ in, or what one alone cannot have.
    """
    first = _shared(requests[0])
    for number, request in enumerate(requests[1:], 2):
        for name, value in _shared(request).items():
            if value != first.get(name):
                raise SettingsError(
                    f"trainings 1 and {number} differ in {name} ({short_repr(first.get(name))} and "
                    f"{short_repr(value)}); trainings together share task, base, method, configuration, rows, "
                    f"{', '.join(_SHARED)}; train the others apart"
                )
    for number, request in enumerate(requests, 1):
        if request.settings.report_to:
            raise SettingsError(
                f"training {number} reports to {', '.join(request.settings.report_to)}, and trackers follow one "
                "training at a time; leave report_to out, or train one after another"
            )
        if isinstance(request.settings.drop_layers, str):
            raise SettingsError(
                f"drop_layers is {request.settings.drop_layers}, and trainings together skip the same layers in every "
                "batch; give a number, or train one after another"
            )
    for (one, request), (other, same) in combinations(enumerate(requests, 1), 2):
        if request == same:
            raise SettingsError(f"trainings {one} and {other} are the same; change the seed or a setting of one")


def _shared(request: TrainRequest) -> dict[str, Any]:
    """What trainings together have in common, by name."""
    fields = {"task": request.task, "base": request.base, "method": request.method, "rows": request.source}
    settings = {name: getattr(request.settings, name) for name in _SHARED}
    return {**fields, **settings, **request.config}
