"""Train one adapter on one task and register it; resume an interrupted run; repeat a training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from pointsman.registry import Origin, Registry, Run, Version
from pointsman.registry.errors import SettingsError

from ..bases.places import place_of
from ..core.read_settings import ReadSettings
from ..core.registries import open_registry
from ..methods import DEFAULT_METHOD
from .own_paths import check_own_paths
from .prepare import prepare
from .progress import Report, quiet
from .request import TrainRequest
from .session import run_training
from .settings import TrainSettings


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
    reading: ReadSettings | Mapping[str, Any] | None = None,
    primary: str | None = None,
    positive: str | None = None,
    name: str | None = None,
    registry: Registry | None = None,
    settings: TrainSettings | None = None,
    report: Report = quiet,
    callbacks: Sequence[TrainerCallback] = (),
    origin: Origin | None = None,
    **options: Any,
) -> Version:
    """Train an adapter and its head on a frozen base, and register the best checkpoint as the adapter's next version.

    The metric history is in the registry while the training runs. Evaluations are computed in float32, as in
    ``predict``. The version has the scores of its best evaluation by the task's primary metric.

    Args:
        task: A task of GLUE, or a name for a task of your own.
        base: ``minilm``, a directory, or a name on the Hugging Face hub.
        method: An adapter method.
        overrides: Fields of the method's configuration to change, as ``{"reduction_factor": 8}``.
        data: For GLUE, a directory in the hub's or GLUE's own layout, ``sample``, or None for the hub; for a task of
            your own, a CSV, TSV, JSON lines or parquet file.
        validation: A file of validation rows for a task of your own; None: hold out a part of ``data``.
        text: The one or two text columns of a task of your own; by default ``text``.
        label: Its label column.
        reading: How files of a task of your own are read: quotes, delimiter, encoding, bad rows, the kind of labels; as
            ``ReadSettings``, or a mapping of some of its fields.
        primary: The metric that picks the best checkpoint and version, as ``f1``; by default the task's own.
        positive: The class that F1 is of, in a task of your own with two classes; by default the rarer one.
        name: The adapter's name; by default the task's.
        registry: The registry; None: the default one.
        settings: The settings; or give single settings as ``options``.
        report: Called some 250 times in total, and after every evaluation.
        callbacks: transformers' or your own ``TrainerCallback``, called as by a ``Trainer``.
        origin: What the training belongs to; recorded with the run.
        **options: Fields of ``TrainSettings``: ``epochs=3, learning_rate=5e-4``.

    Returns:
        The new version.

    Raises:
        PointsmanError: Something in the request cannot work; nothing is recorded before the training starts.

    Examples:
        >>> train("sst2", base="minilm", data="sample", epochs=1).ref
        'sst2@1'
    """
    request = TrainRequest.of_arguments(
        task,
        base=base,
        method=method,
        overrides=overrides,
        data=data,
        validation=validation,
        text=text,
        label=label,
        reading=reading,
        primary=primary,
        positive=positive,
        name=name,
        settings=settings,
        origin=origin,
        **options,
    )
    with open_registry(registry) as opened:
        opened.check_writable()
        return run_training(prepare(request, registry=opened), registry=opened, report=report, callbacks=callbacks)


def resume(
    run: str, *, registry: Registry | None = None, report: Report = quiet, callbacks: Sequence[TrainerCallback] = ()
) -> Version:
    """Continue a run that crashed or was interrupted, from its last checkpoint.

    Without a checkpoint in this registry's home, the run starts again from its first step. On one CPU thread it ends
    with the same weights, bit for bit, as a run without interruption, and its history has no gap and no point twice.

    Args:
        run: The run's uid, or its first characters.
        registry: The registry of the run; None: the default one.
        report: As for ``train``.
        callbacks: As for ``train``; called for the steps after the checkpoint.

    Returns:
        The new version.

    Raises:
        RunNotFoundError: The run is unknown.
        ConflictError: The run has finished, or is still running.
        SettingsError: The base or the data have changed since the run began, or the run came with a bundle that names
            files.

    Examples:
        >>> resume("3fa912bc04d1")
    """
    with open_registry(registry) as opened:
        opened.check_writable()
        interrupted = opened.check_resumable(run.removeprefix("run:"))
        base = place_of(opened, interrupted.base, None, of=f"run {interrupted.uid}")
        request = TrainRequest.of_run(interrupted, base=base)
        check_own_paths(opened, interrupted, request.source, {})
        prepared = prepare(request, registry=opened, resumed=interrupted)
        return run_training(prepared, registry=opened, report=report, callbacks=callbacks)


def train_like(
    ref: str,
    *,
    registry: Registry | None = None,
    report: Report = quiet,
    callbacks: Sequence[TrainerCallback] = (),
    **changes: Any,
) -> Version:
    """Repeat the training of a version or a run, with some settings changed.

    Without changes, the weights are the same on the same CPU with the same releases and number of threads.

    Args:
        ref: A version's ref, or ``run:UID``.
        registry: The registry of the version or run; None: the default one.
        report: As for ``train``.
        callbacks: As for ``train``.
        **changes: ``base``, ``method``, ``overrides``, ``data``, ``validation``, ``text``, ``label``, ``reading`` (a
            mapping changes single fields of it), ``primary``, ``positive``, ``name``, and fields of ``TrainSettings``.

    Returns:
        The new version.

    Raises:
        NotFoundError: The version or run is unknown.
        SettingsError: The version was not made by a run, or by one of an older release; or its rows are files that a
            bundle names, and ``data`` is not given.

    Examples:
        >>> train_like("sst2@1", seed=1)
    """
    with open_registry(registry) as opened:
        opened.check_writable()
        repeated = run_of(opened, ref)
        base = place_of(opened, repeated.base, changes.get("base"), of=f"run {repeated.uid}")
        recorded = TrainRequest.of_run(repeated, base=base)
        check_own_paths(opened, repeated, recorded.source, changes)
        request = recorded.changed(**changes)
        return run_training(prepare(request, registry=opened), registry=opened, report=report, callbacks=callbacks)


def run_of(registry: Registry, ref: str) -> Run:
    """The run ``run:UID``, or the run of a version.

    Raises:
        NotFoundError: The version or run is unknown.
        SettingsError: The version has no run, or the run is a server's.
    """
    if ref.startswith("run:"):
        run = registry.run(ref.removeprefix("run:"))
        if run.served is not None:
            raise SettingsError(f"run {run.uid} is what a server recorded of {run.served}: repeat '{run.served}'")
        return run
    version = registry.version(ref)
    if version.run is None:
        raise SettingsError(f"{version.ref} was not made by a training run, so it cannot be repeated")
    return registry.run(version.run)
