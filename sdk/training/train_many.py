"""Train several adapters of one configuration and task together, each with settings of its own."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Final

from pointsman.registry import Registry, Version
from pointsman.registry.errors import PointsmanError, SettingsError, TrainingError

from ..bases.load import read_base
from ..core.arguments import as_list, short_repr
from ..core.registries import open_registry
from .prepare import PreparedTraining, prepare
from .progress import Report, quiet
from .request import TrainRequest
from .together import run_together, shared, why_alone

_REQUIRED: Final = ("task", "base")


def train_many(
    trainings: Sequence[Mapping[str, Any]], *, registry: Registry | None = None, report: Report = quiet, **common: Any
) -> list[Version]:
    """Train several adapters together, and register the best checkpoint of each as its adapter's next version.

    They share base, task, rows and the method's configuration but its reduction factor, and have settings of their own:
    seed, learning rate, schedule, length, class weights, early stop, name. Each step is one pass through the frozen
    base for all. Each training is a run as ``train`` makes it, with the same numbers except for rounding; one that was
    interrupted is resumed alone.

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
    first, outcomes = requests[0], dict[PreparedTraining, Version | PointsmanError]()
    with open_registry(registry) as opened:
        opened.check_writable()
        files, data = read_base(first.base, known=opened.base_names()), first.source.load(first.task)
        prepared = [prepare(request, registry=opened, data=data, base_files=files) for request in requests]
        for number, training in enumerate(prepared, 1):
            if (reason := why_alone(training)) is not None:
                raise SettingsError(f"training {number} shares no pass: {reason}; train one after another")
        run_together(prepared, at_once=len(prepared), registry=opened, ended=outcomes.__setitem__, report=report)
    results = [outcomes[training] for training in prepared]
    failed = {number: outcome for number, outcome in enumerate(results, 1) if isinstance(outcome, PointsmanError)}
    if len(set(failed.values())) == 1:  # of one, or of the pass that all shared
        raise next(iter(failed.values()))
    if failed:
        reasons = "; ".join(f"{number}: {error}" for number, error in failed.items())
        raise TrainingError(f"{len(failed)} of {len(results)} trainings failed: {reasons}") from next(
            iter(failed.values())
        )
    return [result for result in results if isinstance(result, Version)]


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
        SettingsError: With the two trainings, and what they differ in or that they are the same.
    """
    first = shared(requests[0], requests[0].settings)
    for number, request in enumerate(requests[1:], 2):
        for name, value in shared(request, request.settings).items():
            if value != first.get(name):
                raise SettingsError(
                    f"trainings 1 and {number} differ in {name} ({short_repr(first.get(name))} and "
                    f"{short_repr(value)}); trainings together share task, base, rows, device, precision, max_length, "
                    "drop_layers, and the method with its configuration but reduction_factor; train the others apart"
                )
    for (one, request), (other, same) in combinations(enumerate(requests, 1), 2):
        if request == same:
            raise SettingsError(f"trainings {one} and {other} are the same; change the seed or a setting of one")
