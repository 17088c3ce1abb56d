"""One training from what was asked for to the registered version."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback, set_seed

from pointsman.registry import Registry, Run, RunRecorder, Version, VersionKind
from pointsman.registry.errors import BaseMismatchError, PrunedError, SettingsError, TrainingError

from ..bases.load import LoadedBase, load_base, read_base
from ..core.devices import has_fast_bf16, torch_device
from ..core.memory import is_out_of_memory
from ..data.batches import LengthBuckets
from ..data.lengths import choose_max_length
from ..data.splits import Split, TaskData
from ..data.tokens import TokenRows, tokenise
from ..engines.bert_training import supports_training
from ..engines.scoring import Scorer
from ..engines.slots import add_head, slot_name
from ..methods.fusion import FUSE
from ..methods.support import check_supported, reads_padding
from ..patches.bf16 import HalvedBase
from ..patches.pooled_dropout import pool_dropout
from .callbacks import Callbacks, check_callbacks, trackers
from .checkpoints import Checkpoint, Checkpoints
from .environment import environment
from .layer_drop import without_layers
from .loop import Best, LabelledRows, Learner, Report, Training
from .objective import class_weights, forward_of, loss_of
from .optimiser import Optimiser
from .request import TrainRequest
from .schedule import Schedule
from .subjects import subject_of
from .trial_pass import check_runs

SLOT = slot_name(0)


class TrainSession:
    """A training that is checked when it is made, before anything large is loaded, and then run once.

    Args:
        request: What is asked for.
        registry: Where it is recorded and registered.
        report: Called after every record.
        callbacks: transformers' or the user's.
        resumed: The run to go on with.

    Raises:
        PointsmanError: Something asked for cannot work.
    """

    def __init__(
        self,
        request: TrainRequest,
        *,
        registry: Registry,
        report: Report,
        callbacks: Sequence[TrainerCallback] = (),
        resumed: Run | None = None,
    ) -> None:
        self._registry, self._report, self._resumed = registry, report, resumed
        settings = request.settings
        self._device = torch_device(settings.device)
        self._callbacks = [*trackers(settings.report_to), *check_callbacks(callbacks)]
        config, tokenizer = read_base(request.base)
        self._config = without_layers(request.config, settings.drop_layers, config)
        self._subject = subject_of(request.method, self._config, registry)
        check_supported(config, self._config)
        max_length = choose_max_length(settings.max_length, tokenizer, config)
        self._data = data = request.source.load(request.task)
        if resumed is not None and data.fingerprint != resumed.data["fingerprint"]:
            raise SettingsError(
                f"the data of run {resumed.uid} have changed since ({data.source}), and it cannot go on with other "
                f"rows: train anew, registry train --like run:{resumed.uid}"
            )
        self._train_split = data.splits["train"]
        if settings.max_train_rows is not None:
            self._train_split = self._train_split.sample(settings.max_train_rows, seed=settings.seed)
        settings = settings.completed(task=request.task, method=request.method, rows=len(self._train_split))
        # What "auto" comes to here is written down: a run that goes on elsewhere computes as it began.
        precision = settings.precision
        if precision == "auto":
            precision = "bf16" if has_fast_bf16(self._device) else "fp32"
        self.settings = replace(settings, max_length=max_length, precision=precision)
        """Every one of them, none left open."""
        self._request = request
        counts = class_weights(data.task, settings.class_weights, self._train_split.labels())
        self._class_weights = None if counts is None else counts.to(self._device)
        self._evaluations = _evaluations(data, settings.max_eval_rows)
        self._exact_lengths = reads_padding(self._config, config)

    def run(self) -> Version:
        """Train, and register the best weights as the adapter's next version.

        Raises:
            PointsmanError: The base cannot be loaded or adapted, or the training cannot go on.
        """
        # With dropout in it, a CPU has no fused attention; written out, it takes the same time, and its dropout is a
        # module.
        attention = "eager" if self._device.type == "cpu" else None
        with self._memory_explained():
            base = load_base(self._request.base, device=str(self._device), attention=attention)
        if self._resumed is not None and base.record.fingerprint != self._resumed.base.fingerprint:
            raise SettingsError(
                f"the base '{self._request.base}' has changed since run {self._resumed.uid} began: it cannot go on"
            )
        if self._subject.fingerprint not in (None, base.record.fingerprint):
            raise BaseMismatchError(
                f"the members were trained on another base than '{self._request.base}' "
                f"({base.record.fingerprint[:12]}): name the one that 'registry show' has for them"
            )
        with self._memory_explained():
            return self._train(base)

    @contextmanager
    def _memory_explained(self) -> Iterator[None]:
        """Say what to lower where memory does not do.

        Raises:
            TrainingError: It does not.
        """
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise TrainingError(
                f"the memory of {self._device} does not do for batches of {self.settings.batch_size} rows of up to "
                f"{self.settings.max_length} tokens: lower batch_size (and raise gradient_accumulation, which keeps "
                "what a step sees) or max_length"
            ) from error

    def _train(self, base: LoadedBase) -> Version:
        settings = self.settings
        set_seed(settings.seed)
        fused = supports_training(base.model, self._config) and isinstance(settings.drop_layers, int)
        autocast = torch.bfloat16 if self._half else None
        halved = HalvedBase(base.model) if self._half and not fused else None
        model, setup = self._prepare(base)
        rows = self._tokenise(base, self._train_split)
        examples = LabelledRows(
            rows=rows,
            labels=torch.tensor(self._train_split.labels()),
            rounded_to=None
            if self._exact_lengths or not self._half or self._device.type != "cpu"
            else settings.max_length,
        )
        check_runs(model, SLOT, rows.batch([0]), autocast=autocast)
        scorer = Scorer(
            model,
            SLOT,
            self._data.task,
            {prefix: (split, self._tokenise(base, split)) for prefix, split in self._evaluations.items()},
            exact_lengths=self._exact_lengths,
            exactly=halved.exact if halved else nullcontext,
            setup=setup,
        )
        optimiser = Optimiser(((name, p) for name, p in model.named_parameters() if p.requires_grad), settings)
        assert settings.batch_size is not None
        buckets = LengthBuckets(
            rows.lengths, batch_size=settings.batch_size, seed=settings.seed, exact_lengths=self._exact_lengths
        )
        plan = Schedule(buckets=buckets, settings=settings)
        learner = Learner(
            forward=forward_of(model, SLOT, fused=fused, autocast=autocast, drop_layers=settings.drop_layers),
            loss=loss_of(self._data.task, self._class_weights, penalty=self._subject.penalty(model, SLOT)),
            evaluate=scorer.scores,
            primary=self._primary,
            device=self._device,
        )
        checkpoints = checkpoint = None
        if self._resumed is not None:
            checkpoints = Checkpoints(self._registry.run_directory(self._resumed.uid))
            checkpoint = checkpoints.load()
        with self._start(base, checkpoint) as recorder, self._memory_explained():
            checkpoints = checkpoints or Checkpoints(self._registry.run_directory(recorder.uid))
            audience = Callbacks(
                self._callbacks,
                settings,
                model=model,
                tokenizer=base.tokenizer,
                optimiser=optimiser.adam,
                name=f"{self._request.name}-{recorder.uid}",
                directory=self._registry.home / "logs" / recorder.uid,
                steps=plan.steps,
                epochs=plan.steps / plan.steps_per_epoch,
                evaluate_every=plan.evaluate_every,
                primary=self._primary,
            )
            training = Training(
                learner,
                examples,
                plan,
                optimiser=optimiser,
                recorder=recorder,
                checkpoints=checkpoints,
                audience=audience,
                report=self._report,
                evaluation_seconds=scorer.seconds(),
            )
            try:
                best = training.run(checkpoint)
            except PrunedError:
                checkpoints.remove()  # nobody will take it up
                raise
            if halved:
                halved.restore()
            optimiser.restore(best.weights)
            recorder.flush()  # so that a version that is listed has all of its history; and the run is still ours
            version = self._register(base, best, optimiser, recorder)
        checkpoints.remove()
        return version

    def _prepare(self, base: LoadedBase) -> tuple[Any, Any]:
        """The model with the subject and a new head, ready to train only them; and what is active in it."""
        model = base.model
        setup = self._subject.insert(model, SLOT)
        add_head(model, SLOT, labels=self._data.task.labels)
        model.to(self._device)
        if self._device.type == "cpu":
            pool_dropout(model, dtype=torch.bfloat16 if self._half else torch.float32)
        model.active_head = SLOT
        return model.train(), setup

    def _tokenise(self, base: LoadedBase, split: Split) -> TokenRows:
        assert self.settings.max_length is not None
        return tokenise(
            base.tokenizer,
            split.texts(),
            max_length=self.settings.max_length,
            cache=self._registry.home / "cache" / "tokens",
        )

    def _start(self, base: LoadedBase, checkpoint: Checkpoint | None) -> RunRecorder:
        """The recorder of a new run, or of the one that goes on."""
        if self._resumed is not None:
            return self._registry.resume_run(self._resumed.uid, last_step=checkpoint.step if checkpoint else -1)
        request, data, settings = self._request, self._data, self.settings
        return self._registry.start_run(
            request.name,
            task=data.task.name,
            method=request.method,
            base=base.record,
            settings={**settings.to_dict(), "asked": sorted(request.asked), "config": request.config},
            data={
                "source": data.source,
                "fingerprint": data.fingerprint,
                "rows": {
                    "train": len(self._train_split),
                    **{prefix: len(split) for prefix, split in self._evaluations.items()},
                },
                "majority": _majority(self._evaluations["eval"]),
                "given": request.given,
            },
            environment=environment(self._device, self.settings.precision),
            seed=settings.seed,
            origin=request.origin,
            if_newest=request.if_newest,
        )

    def _register(self, base: LoadedBase, best: Best, optimiser: Optimiser, recorder: RunRecorder) -> Version:
        request, model = self._request, base.model
        assert self.settings.max_length is not None
        return self._registry.add_version(
            request.name,
            files=self._subject.files(model, SLOT, name=request.name, base=_plain_name(base.record.name)),
            task=self._data.task.to_dict(),
            method=request.method,
            config=dict(self._config),
            base=base.record,
            max_length=self.settings.max_length,
            parameters=sum(vector.numel() for vector in optimiser.vectors.values()),
            kind=VersionKind.FUSION if request.method == FUSE else VersionKind.ADAPTER,
            metrics=best.metrics,
            primary_metric=self._primary,
            run=recorder.uid,
            parents=self._subject.parents,
        )

    @property
    def _half(self) -> bool:
        return self.settings.precision == "bf16"

    @property
    def _primary(self) -> str:
        return f"{next(iter(self._evaluations))}/{self._data.task.primary}"


def _evaluations(data: TaskData, most: int | None) -> dict[str, Split]:
    """The splits to evaluate on by the prefix of their metrics: ``eval``, and for a second one ``eval_mismatched``."""
    first, *others = data.task.validation
    named = {"eval": data.splits[first], **{f"eval_{name.partition('_')[2]}": data.splits[name] for name in others}}
    return {prefix: split if most is None else split.head(most) for prefix, split in named.items()}


def _majority(split: Split) -> float | None:
    """The share of the most frequent class; None of a regression."""
    if split.task.is_regression:
        return None
    counts = np.bincount(split.labels())
    return float(counts.max() / counts.sum())


def _plain_name(base: str) -> str:
    """A base's name for files that leave the machine: of a directory, only its last part."""
    return Path(base).name if Path(base).is_absolute() else base
