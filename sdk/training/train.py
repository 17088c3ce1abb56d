"""Train one adapter on one task, and register what comes out; take up a run that crashed; do one again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from pointsman.registry import Origin, Registry, Run, Version
from pointsman.registry.errors import SettingsError

from ..core.registries import open_registry
from ..data.source import DataSource
from ..methods import DEFAULT_METHOD
from .loop import Report, quiet
from .request import TrainRequest
from .session import TrainSession
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
    name: str | None = None,
    registry: Registry | None = None,
    settings: TrainSettings | None = None,
    report: Report = quiet,
    callbacks: Sequence[TrainerCallback] = (),
    origin: Origin | None = None,
    if_newest: str | None = None,
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
        callbacks: transformers' or your own: they see and may stop the training as they would a ``Trainer``'s.
        origin: What the training is a part of; recorded with the run.
        if_newest: The uid of the newest run of that origin; as for ``Registry.start_run``.
        **options: Fields of ``TrainSettings``: ``epochs=3, learning_rate=5e-4``.

    Returns:
        The new version.

    Raises:
        PointsmanError: Something asked for cannot work; nothing is registered but, once it has started, the run.
    """
    request = TrainRequest.of(
        task,
        base=base,
        method=method,
        overrides=overrides,
        source=DataSource.of(data, validation, text, label),
        name=name,
        settings=TrainSettings.given(settings, options),
        origin=origin,
        if_newest=if_newest,
    )
    with open_registry(registry) as opened:
        opened.check_writable()
        return TrainSession(request, registry=opened, report=report, callbacks=callbacks).run()


def resume(
    run: str, *, registry: Registry | None = None, report: Report = quiet, callbacks: Sequence[TrainerCallback] = ()
) -> Version:
    """Go on with a run that crashed or was interrupted, from its last checkpoint, as if nothing had happened.

    Where no checkpoint was written in this registry's home, it begins anew.

    On one CPU thread it ends with the same weights, bit for bit, as if it had never been interrupted. Its history has
    no gap and nothing twice.

    Args:
        run: The run's uid, or how it begins.
        registry: Where it is recorded; by default the default registry.
        report: As for ``train``.
        callbacks: As for ``train``; they are told of the steps from the checkpoint on.

    Returns:
        The new version.

    Raises:
        RunNotFoundError: There is no such run.
        ConflictError: It has finished, or is running still.
        SettingsError: The base or the data have changed since.
    """
    with open_registry(registry) as opened:
        opened.check_writable()
        found = opened.check_resumable(run.removeprefix("run:"))
        session = TrainSession(
            TrainRequest.of_run(found), registry=opened, report=report, callbacks=callbacks, resumed=found
        )
        return session.run()


def train_like(
    ref: str,
    *,
    registry: Registry | None = None,
    report: Report = quiet,
    callbacks: Sequence[TrainerCallback] = (),
    **changes: Any,
) -> Version:
    """Train once more what a version or a run was trained like, every setting the same but those that are named.

    With nothing changed, on the same CPU with the same releases and number of threads, the weights are the same.

    Args:
        ref: A version's ref, or ``run:UID``.
        registry: Where it is recorded; by default the default registry.
        report: As for ``train``.
        callbacks: As for ``train``.
        **changes: ``base``, ``method``, ``overrides``, ``data``, ``validation``, ``text``, ``label``, ``name``, and
            fields of ``TrainSettings``.

    Returns:
        The new version.

    Raises:
        NotFoundError: There is no such version or run.
        SettingsError: The version was made by no run, or by one of an older release.
    """
    with open_registry(registry) as opened:
        opened.check_writable()
        request = TrainRequest.of_run(run_of(opened, ref)).changed(**changes)
        return TrainSession(request, registry=opened, report=report, callbacks=callbacks).run()


def run_of(registry: Registry, ref: str) -> Run:
    """The run ``run:UID``, or the one that made a version.

    Raises:
        NotFoundError: There is no such version or run.
        SettingsError: The version was made by no run.
    """
    if ref.startswith("run:"):
        return registry.run(ref.removeprefix("run:"))
    version = registry.version(ref)
    if version.run is None:
        raise SettingsError(f"{version.ref} was made by no run: there is nothing to repeat")
    return registry.run(version.run)
