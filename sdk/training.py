"""Train one adapter on one task, and register what comes out."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from pointsman.registry import Registry, Version
from pointsman.registry.errors import SettingsError
from pointsman.registry.refs import check_name

from . import loop, weights
from .bases import LoadedBase, load_base, torch_device
from .data import Split, TaskData, load_table_data, load_task_data
from .dropout import pool_dropout
from .environment import environment
from .evaluation import score
from .loop import Progress
from .methods import DEFAULT_METHOD, configure, find_method, reads_padding
from .precision import HalvedBase, has_fast_bf16
from .settings import TrainSettings
from .tasks import GLUE
from .tokens import TokenRows, choose_max_length, tokenise

SLOT = weights.slot_name(0)


def train(
    task: str,
    *,
    base: str,
    method: str = DEFAULT_METHOD,
    overrides: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    validation: str | Path | None = None,
    text: Sequence[str] | str = (),
    label: str = "label",
    name: str | None = None,
    registry: Registry | None = None,
    settings: TrainSettings | None = None,
    report: Callable[[Progress], None] = lambda _: None,
    **options: Any,
) -> Version:
    """Train an adapter and its head on a frozen base, and register the best checkpoint as the adapter's next version.

    While it runs, its metric history grows in the registry. The scores that count are computed in float32, as
    ``predict`` computes; the version's are those of its best checkpoint by the task's primary metric.

    Args:
        task: One of GLUE's, or a name for a task of your own.
        base: ``minilm``, a directory, or a name on the Hugging Face hub.
        method: An adapter method.
        overrides: Fields of the method's configuration to set otherwise, as ``{"reduction_factor": 8}``.
        data: For GLUE, a directory in the hub's or GLUE's own layout, ``sample``, or None for the hub; for a task of
            your own, a CSV, TSV, JSON lines or parquet file.
        validation: A file of validation rows for a task of your own; without, a part of ``data`` is held out.
        text: The one or two text columns of a task of your own; by default ``text``.
        label: Its label column.
        name: The adapter to make a version of; by default called as the task.
        registry: Where to register it; by default the default registry.
        settings: The settings, or give single ones as ``options``.
        report: Called some 250 times, and after every evaluation.
        **options: Fields of ``TrainSettings``: ``epochs=3, learning_rate=5e-4``.

    Returns:
        The new version.

    Raises:
        PointsmanError: Something asked for cannot work; nothing is registered but, once it has started, the run.
    """
    if settings is not None and options:
        raise SettingsError(f"give settings or single options, not both; found both settings and {', '.join(options)}")
    settings = settings or _settings(options)
    name = check_name(name or task)
    method = find_method(method).name
    config = configure(method, overrides)
    device = torch_device(settings.device)
    with nullcontext(registry) if registry is not None else Registry() as opened:
        opened.check_writable()
        return _train(
            _load_data(task, data, validation, text, label),
            load_base(base, device=settings.device, attention=_attention(device)),
            method=method,
            config=config,
            name=name,
            registry=opened,
            settings=settings,
            report=report,
        )


def _train(
    data: TaskData,
    base: LoadedBase,
    *,
    method: str,
    config: dict[str, Any],
    name: str,
    registry: Registry,
    settings: TrainSettings,
    report: Callable[[Progress], None],
) -> Version:
    model, task = base.model, data.task
    device = model.device
    max_length = choose_max_length(settings.max_length, base.tokenizer, model.config)
    train_split = data.splits["train"]
    if settings.max_train_rows is not None:
        train_split = train_split.sample(settings.max_train_rows, seed=settings.seed)
    settings = settings.completed(len(train_split))
    exact_lengths = reads_padding(config)
    set_seed(settings.seed)
    half = settings.precision == "bf16" or (settings.precision == "auto" and has_fast_bf16(device))
    halved = HalvedBase(model) if half else None
    weights.add_slot(model, SLOT, config)
    weights.add_head(model, SLOT, labels=task.labels)
    model.to(device)
    if device.type == "cpu":
        pool_dropout(model)

    cache = registry.home / "cache" / "tokens"

    def tokens(split: Split) -> TokenRows:
        return tokenise(base.tokenizer, split.texts(), max_length=max_length, cache=cache)

    examples = loop.LabelledRows(tokens(train_split), torch.tensor(train_split.labels()))
    evaluations = _evaluations(data, settings.max_eval_rows)
    evaluated = {prefix: (split, tokens(split)) for prefix, split in evaluations.items()}

    model.train_adapter(SLOT)
    model.active_head = SLOT

    def trained() -> dict[str, torch.Tensor]:
        return {**weights.adapter_tensors(model, SLOT), **weights.head_tensors(model, SLOT)}

    def evaluate() -> dict[str, float]:
        model.eval()
        with halved.exact() if halved else nullcontext():
            scores = {
                f"{prefix}/{metric}": value
                for prefix, (split, rows) in evaluated.items()
                for metric, value in score(model, SLOT, task, rows, split, exact_lengths=exact_lengths).items()
            }
        model.train()
        return scores

    primary = f"{next(iter(evaluations))}/{task.primary}"
    with registry.start_run(
        name,
        task=task.name,
        method=method,
        base=base.record,
        settings={**settings.to_dict(), "max_length": max_length, "config": config},
        data={
            "source": data.source,
            "fingerprint": data.fingerprint,
            "rows": {"train": len(train_split), **{prefix: len(split) for prefix, split in evaluations.items()}},
        },
        environment=environment(device, "bf16" if half else "fp32"),
        seed=settings.seed,
    ) as recorder:
        best = loop.run(
            model,
            examples,
            settings,
            primary=primary,
            exact_lengths=exact_lengths,
            autocast=torch.bfloat16 if half else None,
            recorder=recorder,
            hooks=loop.Hooks(
                evaluate=evaluate,
                snapshot=lambda: {key: tensor.detach().clone() for key, tensor in trained().items()},
                report=report,
            ),
        )
        if halved:
            halved.restore()
        with torch.no_grad():
            for key, tensor in trained().items():
                tensor.copy_(best.weights[key])
        return registry.add_version(
            name,
            files=weights.extract(model, SLOT, name=name, base=_plain_name(base.record.name)),
            task=task.to_dict(),
            method=method,
            config=config,
            base=base.record,
            max_length=max_length,
            parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
            metrics=best.metrics,
            primary_metric=primary,
            run=recorder.uid,
        )


def _attention(device: torch.device) -> str | None:
    """How to compute attention in training.

    With dropout in it, a CPU has no fused attention; written out, it takes the same time, and its dropout is a module.
    """
    return "eager" if device.type == "cpu" else None


def _settings(options: Mapping[str, Any]) -> TrainSettings:
    try:
        return TrainSettings(**options)
    except TypeError as error:
        known = ", ".join(TrainSettings.__dataclass_fields__)
        raise SettingsError(f"{error}; the settings are: {known}") from error


def _load_data(
    task: str, data: str | Path | None, validation: str | Path | None, text: Sequence[str] | str, label: str
) -> TaskData:
    if task in GLUE and (text or validation):
        raise SettingsError(f"'{task}' is a task of GLUE: it takes no text columns and no validation file of yours")
    if task in GLUE and not GLUE[task].trainable:
        other = GLUE[task].scored_with
        raise SettingsError(f"'{task}' has no training data: it is scored on {other}'s adapter; train '{other}'")
    if task in GLUE or data is None or data == "sample" or Path(data).is_dir():
        return load_task_data(task, data)  # an unknown task without a file of its own is refused there
    columns = [text] if isinstance(text, str) else list(text)
    return load_table_data(
        task,
        Path(data),
        text=columns or ["text"],
        label=label,
        validation=None if validation is None else Path(validation),
    )


def _evaluations(data: TaskData, most: int | None) -> dict[str, Split]:
    """The splits to evaluate on by the prefix of their metrics: ``eval``, and for a second one ``eval_mismatched``."""
    first, *others = data.task.validation
    named = {"eval": data.splits[first], **{f"eval_{name.partition('_')[2]}": data.splits[name] for name in others}}
    return {prefix: split if most is None else split.head(most) for prefix, split in named.items()}


def _plain_name(base: str) -> str:
    """A base's name for files that leave the machine: of a directory, only its last part."""
    return Path(base).name if Path(base).is_absolute() else base
