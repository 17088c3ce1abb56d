"""Check a training before anything large is loaded, and gather what it runs with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from pointsman.registry import Registry, Run
from pointsman.registry.errors import Action, Advice, SettingsError

from ..bases.load import read_base
from ..core.devices import torch_device
from ..data.splits import Split, TaskData
from ..engines.bert_training import supports_training
from ..methods.support import check_supported, reads_padding
from ..tasks import TargetScale, kind_of
from .callbacks import check_trackers
from .layer_drop import without_layers
from .measured import measured_as
from .objective import class_weights
from .request import TrainRequest
from .resolved import ResolvedSettings, resolve
from .row_checks import check_rows
from .subjects import Subject, subject_of

BaseFiles = tuple[PretrainedConfig, PreTrainedTokenizerBase]
"""A base's configuration and tokenizer, as ``read_base`` gives them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedTraining:
    """A training that was checked, with everything that it runs with but the base's weights."""

    request: TrainRequest
    resumed: Run | None
    """The interrupted run to continue; None: start a new one."""
    base: PretrainedConfig
    """The base's configuration."""
    config: Mapping[str, Any]
    """The configuration of the trained method, without the layers that are dropped for good."""
    subject: Subject
    """What is trained beside the head: an adapter, or a fusion over others."""
    data: TaskData
    """The task and all of its splits."""
    train_rows: Split
    """The rows to train on."""
    evaluations: Mapping[str, Split]
    """The rows to evaluate on, by the prefix of their metrics: ``eval``, and ``eval_mismatched`` for a second split."""
    class_weights: Tensor | None
    """The weight of each class in the loss, ``(classes,)``; None: 1."""
    target_scale: TargetScale | None
    """The unit of a regression's scores, taken out of what the head learns; None: it learns the labels as they are."""
    settings: ResolvedSettings
    device: torch.device
    exact_lengths: bool
    """Whether rows must not be padded."""

    @property
    def with_engine(self) -> bool:
        """Whether ``BertTrainingEngine`` computes the steps."""
        return isinstance(self.settings.drop_layers, int) and supports_training(self.base, self.config, self.device)

    @property
    def primary_metric(self) -> str:
        """The metric that selects the best weights."""
        return f"eval/{self.data.task.primary}"


def prepare(
    request: TrainRequest,
    *,
    registry: Registry,
    data: TaskData | None = None,
    base_files: BaseFiles | None = None,
    resumed: Run | None = None,
) -> PreparedTraining:
    """Check a request, and gather what its training runs with; nothing is recorded, seeded or kept.

    Args:
        request: The training.
        registry: Where the members of a fusion are.
        data: The task's rows, as ``request.source.load(request.task)`` gives them; None: load them.
        base_files: The base's configuration and tokenizer, as ``read_base(request.base)`` gives them; None: read them.
        resumed: The interrupted run to continue, which goes on with the metrics that it began with; None: a new one.

    Raises:
        PointsmanError: Something in the request cannot work; the message says what.

    Examples:
        >>> data = request.source.load("sst2")
        >>> prepare(request, registry=registry, data=data).settings.learning_rate
        0.001
    """
    settings = request.settings
    device = torch_device(settings.device)
    check_trackers(settings.report_to)
    base_config, tokenizer = read_base(request.base, known=registry.base_names()) if base_files is None else base_files
    config = without_layers(request.config, settings.drop_layers, base_config)
    subject = subject_of(request.method, config, registry)
    check_supported(base_config, config)
    data = request.source.load(request.task) if data is None else data
    if resumed is not None:
        data = measured_as(data, resumed)
        _check_same_rows(data, resumed)
    train_rows = data.splits["train"]
    if settings.max_train_rows is not None:
        train_rows = train_rows.sample(settings.max_train_rows, seed=settings.seed)
    resolved = resolve(
        settings,
        task=request.task,
        method=request.method,
        rows=len(train_rows),
        config=base_config,
        tokenizer=tokenizer,
        device=device,
    )
    evaluations = _evaluations(data, resolved.max_eval_rows)
    check_rows(train_rows, evaluations)
    return PreparedTraining(
        request=request,
        resumed=resumed,
        base=base_config,
        config=config,
        subject=subject,
        data=data,
        train_rows=train_rows,
        evaluations=evaluations,
        class_weights=class_weights(data.task, resolved.class_weights, train_rows.labels()),
        # A run that began in a release which learned scores as they are goes on so.
        target_scale=kind_of(data.task).target_scale(train_rows.labels()) if resumed is None else _scale_of(resumed),
        settings=resolved,
        device=device,
        exact_lengths=reads_padding(config, base_config),
    )


def _check_same_rows(data: TaskData, run: Run) -> None:
    """Refuse to resume a run on other rows than it began with."""
    if data.fingerprint != run.data["fingerprint"]:
        raise SettingsError(
            f"the data of run {run.uid} ({data.source}) have changed since it began, so it cannot be resumed; "
            "train again",
            advice=Advice(Action.TRAIN_LIKE, {"ref": f"run:{run.uid}"}),
        )


def _scale_of(run: Run) -> TargetScale | None:
    """The unit that a run took out of its scores; None if it learns its labels as they are."""
    recorded = run.data.get("target")
    return None if recorded is None else TargetScale.from_dict(recorded)


def _evaluations(data: TaskData, max_rows: int | None) -> dict[str, Split]:
    """The splits to evaluate on by the prefix of their metrics, the one of the primary metric first."""
    first, *others = data.task.validation
    splits = {"eval": data.splits[first], **{f"eval_{name.partition('_')[2]}": data.splits[name] for name in others}}
    return {prefix: split if max_rows is None else split.head(max_rows) for prefix, split in splits.items()}
