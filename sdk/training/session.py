"""Run a prepared training: base, subject, rows, schedule, loop, version."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from pointsman.registry import Registry, RunRecorder, Version, VersionKind
from pointsman.registry.errors import (
    Action,
    Advice,
    BaseMismatchError,
    PrunedError,
    SettingsError,
    TrainingError,
)

from ..bases.load import LoadedBase, load_base
from ..core.memory import is_out_of_memory
from ..core.messages import without_messages
from ..data.batches import LengthBuckets
from ..data.lengths import longest_input
from ..data.tokens import TokenRows
from ..engines.adapter_program import covers
from ..engines.heads import restore_unit
from ..engines.scoring import Scorer, evaluation_of
from ..engines.slots import add_head, slot_name
from ..methods.fusion import FUSE
from ..patches.bf16 import HalvedBase
from ..patches.pooled_dropout import pool_dropout
from .callbacks import Callbacks, check_callbacks, make_trackers
from .checkpoints import Checkpoint, Checkpoints
from .defaults import lower_rate
from .environment import environment
from .loop import BestWeights, TrainingLoop
from .objective import Objective, forward_of, loss_of
from .optimiser import Optimiser
from .outage import resume_advised, wait_out
from .prepare import PreparedTraining
from .progress import Report, quiet
from .random_state import preserved_generators, seed_generators
from .row_record import row_record
from .rows import LabelledRows
from .schedule import Schedule
from .step import Steps, drive
from .trial_pass import check_runs

SLOT = slot_name(0)


def run_training(
    prepared: PreparedTraining,
    *,
    registry: Registry,
    report: Report = quiet,
    callbacks: Sequence[TrainerCallback] = (),
) -> Version:
    """Train, and register the best weights as the adapter's next version.

    The random generators of the process are seeded for the training, and given back as they were.

    Args:
        prepared: The training, from ``prepare``.
        registry: Where it is recorded and registered.
        report: Called after every record.
        callbacks: transformers' or the user's.

    Raises:
        PointsmanError: The base cannot be loaded or adapted, or the training cannot go on.

    Examples:
        >>> run_training(prepare(request, registry=registry), registry=registry)
    """
    audience = [*make_trackers(prepared.settings.report_to), *check_callbacks(callbacks)]
    with preserved_generators(), memory_explained(prepared):
        base = load_training_base(prepared, registry)
        return drive(training_steps(prepared, base, registry=registry, report=report, audience=audience))


def load_training_base(prepared: PreparedTraining, registry: Registry) -> LoadedBase:
    """The base of a training.

    A CPU has no fast attention with dropout; eager attention takes the same time, and its dropout is a module, which
    can be pooled.

    Raises:
        PointsmanError: It cannot be loaded.
    """
    return load_base(
        prepared.request.base,
        device=str(prepared.device),
        attention="eager" if prepared.device.type == "cpu" else None,
        known=registry.base_names(),
    )


def training_steps(
    prepared: PreparedTraining,
    base: LoadedBase,
    *,
    registry: Registry,
    report: Report = quiet,
    audience: Sequence[TrainerCallback] = (),
) -> Steps[Version]:
    """A training as its steps: yield every step to be computed, and return the version.

    It seeds the random generators of the process, and draws from them between any two steps.

    Args:
        prepared: The training, from ``prepare``.
        base: Its base, as ``load_training_base`` gives it; the adapter is added to it.
        registry: As for ``run_training``.
        report: Likewise.
        audience: Trackers and callbacks.

    Raises:
        PointsmanError: The base cannot be adapted, or the training cannot go on.
    """
    request, settings, task, device = prepared.request, prepared.settings, prepared.data.task, prepared.device
    resumed, scale, with_engine = prepared.resumed, prepared.target_scale, prepared.with_engine
    with memory_explained(prepared):
        _check_base(prepared, base)
        seed_generators(settings.seed, device)
        # Halved before the adapter comes in, whose weights stay in float32.
        halved = HalvedBase(base.model) if settings.autocast is not None and not with_engine else None

        # The subject: an adapter or a fusion, and a new head.
        model, setup = _insert_subject(prepared, base)

        # The rows.
        cache = registry.home / "cache" / "tokens"

        read = partial(LabelledRows.of, tokenizer=base.tokenizer, max_length=settings.max_length, cache=cache)

        rounded = settings.autocast is not None and device.type == "cpu" and not prepared.exact_lengths
        rows = read(prepared.train_rows, rounded_to=settings.max_length if rounded else None, target_scale=scale)
        check_runs(model, SLOT, rows.batch([0]).inputs, autocast=settings.autocast)
        evaluated = {prefix: (split, read(split).tokens) for prefix, split in prepared.evaluations.items()}
        scorer = Scorer(
            model,
            SLOT,
            task,
            evaluated,
            exact_lengths=prepared.exact_lengths,
            exactly=halved.exact if halved else nullcontext,
            written_out=request.method != FUSE and covers(prepared.config),
            setup=setup,
            target_scale=scale,
        )

        # The schedule.
        optimiser = Optimiser(((name, p) for name, p in model.named_parameters() if p.requires_grad), settings)
        buckets = LengthBuckets(
            rows.tokens.lengths,
            batch_size=settings.batch_size,
            seed=settings.seed,
            exact_lengths=prepared.exact_lengths,
        )
        schedule = Schedule(buckets=buckets, settings=settings)
        weights = None if prepared.class_weights is None else prepared.class_weights.to(device)
        objective = Objective(
            forward=forward_of(
                model, SLOT, with_engine=with_engine, autocast=settings.autocast, drop_layers=settings.drop_layers
            ),
            loss=loss_of(task, weights, penalty=prepared.subject.penalty(model, SLOT)),
            evaluate=scorer.scores,
            primary_metric=prepared.primary_metric,
            device=device,
            lower_rate=lower_rate(settings.learning_rate, request.method),
            loss_unit=1.0 if scale is None else scale.loss_unit,
        )

        # The loop.
        checkpoint = None if resumed is None else Checkpoints(registry.run_directory(resumed.uid)).load()
        tokens = {"train": rows.tokens, **{prefix: tokens for prefix, (_, tokens) in evaluated.items()}}
        with (
            resume_advised() as started,
            _start(prepared, base, tokens, steps=schedule.steps, registry=registry, checkpoint=checkpoint) as recorder,
            memory_explained(prepared),
        ):
            started(recorder.uid)
            checkpoints = Checkpoints(
                registry.run_directory(recorder.uid), step=checkpoint.step if checkpoint else None
            )
            loop = TrainingLoop(
                objective,
                rows,
                schedule,
                optimiser=optimiser,
                recorder=recorder,
                checkpoints=checkpoints,
                callbacks=Callbacks(
                    audience,
                    schedule,
                    model=model,
                    tokenizer=base.tokenizer,
                    optimiser=optimiser.adam,
                    name=f"{request.name}-{recorder.uid}",
                    directory=registry.home / "logs" / recorder.uid,
                    primary_metric=prepared.primary_metric,
                ),
                report=report,
                origin=request.origin,
                evaluation_seconds=scorer.seconds(),
            )
            try:
                best = yield from loop.steps(checkpoint)
            except PrunedError:
                checkpoints.remove()  # a pruned run is never resumed
                raise

            # The version.
            if halved:
                halved.restore()
            optimiser.restore(best.weights)
            if scale is not None:
                restore_unit(model, SLOT, scale)
            # Flushed before the version is listed, so that it has its full history; fails if the run is no longer ours.
            wait_out(recorder.flush)
            parameters = sum(vector.numel() for vector in optimiser.vectors.values())

            def register() -> Version:
                # An earlier attempt may have been committed although its answer never came.
                made = registry.run(recorder.uid).version
                if made is not None:
                    return registry.version(made)
                return _register(prepared, base, best, registry, run=recorder, parameters=parameters)

            version = wait_out(register)
            wait_out(recorder.finish)
        checkpoints.remove()
        return version


@contextmanager
def memory_explained(prepared: PreparedTraining, *, together: int = 1) -> Iterator[None]:
    """Say what to lower where memory runs out.

    Args:
        prepared: The training.
        together: The number of trainings that share a pass.

    Raises:
        TrainingError: It ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        fewer = "" if together == 1 else f", or train fewer than {together} together"
        raise TrainingError(
            f"out of memory on {prepared.device} with a batch of {prepared.settings.batch_size} rows of at most "
            f"{prepared.settings.max_length} tokens; lower batch_size (and raise gradient_accumulation, to keep the "
            f"rows of a step) or max_length{fewer}"
        ) from error


def _check_base(prepared: PreparedTraining, base: LoadedBase) -> None:
    """Refuse a base that is not the one of the resumed run, or of a fusion's members.

    Raises:
        SettingsError, BaseMismatchError: It is another.
    """
    name, fingerprint, resumed = prepared.request.base, base.record.fingerprint, prepared.resumed
    if resumed is not None and not base.record.is_same(resumed.base):
        if base.record.has_same_weights(resumed.base):
            raise SettingsError(
                f"the tokenizer of the base '{name}' has changed since run {resumed.uid} began, so it cannot be resumed"
            )
        raise SettingsError(
            f"the base '{name}' has changed since run {resumed.uid} began ({resumed.base.fingerprint[:12]} then, "
            f"{fingerprint[:12]} now), so it cannot be resumed"
        )
    subject = prepared.subject
    if subject.base is not None and not base.record.is_same(subject.base):
        _, member = subject.parents[0]
        raise BaseMismatchError(
            f"the members were trained on another base than '{name}' ({fingerprint[:12]}); name the members' base",
            advice=Advice(Action.SHOW_VERSION, {"ref": member}),
        )


def _insert_subject(prepared: PreparedTraining, base: LoadedBase) -> tuple[Any, Any]:
    """Put the subject and a new head into the model, ready to train only them.

    Returns:
        The model in training mode, and the adapter setup that is active in it.
    """
    model = base.model
    # The library warns that no adapter is active, while it initialises the one to be trained.
    with without_messages("adapters.model_mixin", below=logging.ERROR):
        setup = prepared.subject.insert(model, SLOT)
    add_head(model, SLOT, labels=prepared.data.task.labels)
    model.to(prepared.device)
    if prepared.device.type == "cpu":
        pool_dropout(model, dtype=prepared.settings.autocast or torch.float32)
    model.active_head = SLOT
    return model.train(), setup


def _start(
    prepared: PreparedTraining,
    base: LoadedBase,
    tokens: Mapping[str, TokenRows],
    *,
    steps: int,
    registry: Registry,
    checkpoint: Checkpoint | None,
) -> RunRecorder:
    """The recorder of a new run, or of the resumed one, whose history is cut after the checkpoint."""
    if prepared.resumed is not None:
        return registry.resume_run(prepared.resumed.uid, last_step=checkpoint.step if checkpoint else -1)
    request, settings = prepared.request, prepared.settings
    return registry.start_run(
        request.name,
        task=prepared.data.task.name,
        method=request.method,
        base=base.record,
        # "asked" is the name of the requested settings in all recorded runs.
        settings={
            **settings.to_dict(),
            "steps": steps,
            "asked": sorted(request.requested),
            "config": request.config,
        },
        data=row_record(prepared, tokens, longest=longest_input(base.tokenizer, base.model.config)),
        environment=environment(prepared.device, settings.precision),
        seed=settings.seed,
        origin=request.origin,
        if_newest=request.if_newest,
    )


def _register(
    prepared: PreparedTraining,
    base: LoadedBase,
    best: BestWeights,
    registry: Registry,
    *,
    run: RunRecorder,
    parameters: int,
) -> Version:
    """Register the weights that are in the model now."""
    request = prepared.request
    # Of a directory only the last part: the files leave this machine.
    base_name = Path(base.record.name).name if Path(base.record.name).is_absolute() else base.record.name
    return registry.add_version(
        request.name,
        files=prepared.subject.files(base.model, SLOT, name=request.name, base=base_name),
        task=prepared.data.task.to_dict(),
        method=request.method,
        config=dict(prepared.config),
        base=base.record,
        max_length=prepared.settings.max_length,
        parameters=parameters,
        kind=VersionKind.FUSION if request.method == FUSE else VersionKind.ADAPTER,
        metrics=best.metrics,
        primary_metric=prepared.primary_metric,
        run=run,
        parents=prepared.subject.parents,
        evaluation=evaluation_of(prepared.data.task, prepared.evaluations["eval"]),
    )
