"""transformers' callbacks and trackers on our loop, with the events of a ``Trainer``.

They come from ``report_to`` and from the user. The loop does what they request through ``control``: stop, evaluate,
log, save a checkpoint. It ignores ``should_epoch_stop``.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import integration_utils
from transformers.trainer_callback import CallbackHandler, DefaultFlowCallback

from pointsman.registry.errors import SettingsError, unknown

from ..core.arguments import as_list, short_repr
from .schedule import Schedule


def check_callbacks(callbacks: Iterable[Any]) -> list[TrainerCallback]:
    """Check the user's callbacks, instances or classes of ``TrainerCallback``.

    Raises:
        SettingsError: They are not a list of callbacks.
    """
    checked = as_list(callbacks)
    for callback in [callbacks] if checked is None else checked:
        is_class = isinstance(callback, type) and issubclass(callback, TrainerCallback)
        if not is_class and not isinstance(callback, TrainerCallback):
            raise SettingsError(
                f"callbacks must be a list of transformers' TrainerCallback; found {short_repr(callback)}"
            )
    if checked is None:
        raise SettingsError(f"callbacks must be a list; found one alone, {short_repr(callbacks)}")
    return checked


def check_trackers(names: Iterable[str]) -> None:
    """Refuse trackers that transformers does not know; whether one is installed shows when it is made.

    Raises:
        SettingsError: A tracker is unknown.
    """
    for name in names:
        if name not in integration_utils.INTEGRATION_TO_CALLBACK:
            raise unknown(SettingsError, "tracker for report_to", name, integration_utils.INTEGRATION_TO_CALLBACK)


def make_trackers(names: Iterable[str]) -> list[TrainerCallback]:
    """The callbacks that send metrics to trackers.

    Raises:
        SettingsError: A tracker is unknown, or its package is not installed.
    """
    check_trackers(names)
    callbacks = []
    for name in names:
        try:
            callbacks.append(integration_utils.INTEGRATION_TO_CALLBACK[name]())
        except (RuntimeError, ImportError) as error:
            raise SettingsError(f"report_to {name}: {error}") from error
    return callbacks


class Callbacks:
    """Calls the callbacks of a training, and keeps their requests in ``control``.

    Args:
        callbacks: The callbacks; without any, every method returns at once.
        schedule: The training's steps, evaluations and settings.
        model: The model.
        tokenizer: Its tokenizer.
        optimiser: torch's optimiser.
        name: The run's name in trackers.
        directory: The directory for trackers that write files.
        primary_metric: The metric that selects the best weights; greater is better.
    """

    def __init__(
        self,
        callbacks: Sequence[TrainerCallback],
        schedule: Schedule,
        *,
        model: Any,
        tokenizer: Any,
        optimiser: Any,
        name: str,
        directory: Path,
        primary_metric: str,
    ) -> None:
        self.control = TrainerControl()
        """The callbacks' requests."""
        self._any = bool(callbacks)
        if not self._any:
            return
        settings, epochs = schedule.settings, schedule.steps / schedule.steps_per_epoch
        self._arguments = TrainingArguments(
            output_dir=str(directory),
            logging_dir=str(directory),
            run_name=name,
            num_train_epochs=epochs,
            max_steps=schedule.steps,
            learning_rate=settings.learning_rate,
            per_device_train_batch_size=settings.batch_size,
            gradient_accumulation_steps=settings.gradient_accumulation,
            weight_decay=settings.weight_decay,
            seed=settings.seed,
            use_cpu=settings.device.startswith("cpu"),
            logging_strategy="no",
            eval_strategy="steps",
            eval_steps=schedule.evaluate_every,
            metric_for_best_model=primary_metric.replace("/", "_"),
            greater_is_better=True,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        with_default = [DefaultFlowCallback(), *callbacks]
        self._handler = CallbackHandler(with_default, model, tokenizer, optimiser, None)  # type: ignore[no-untyped-call]
        self._state = TrainerState(
            max_steps=schedule.steps, num_train_epochs=max(1, round(epochs)), eval_steps=schedule.evaluate_every
        )
        self._call("on_init_end")

    def begin(self, step: int, epoch: float) -> None:
        """The training begins, or continues after a step."""
        self._at(step, epoch)
        self._call("on_train_begin")

    def step_begins(self) -> None:
        """An optimiser step begins."""
        self._call("on_step_begin")

    def step_ended(self, step: int, epoch: float) -> None:
        """An optimiser step has ended."""
        self._at(step, epoch)
        self._call("on_step_end")

    def epoch_begins(self, step: int, epoch: float) -> None:
        """A pass over the rows begins."""
        self._at(step, epoch)
        self._call("on_epoch_begin")

    def epoch_ended(self, step: int, epoch: float) -> None:
        """A pass over the rows has ended."""
        self._at(step, epoch)
        self._call("on_epoch_end")

    def logged(self, values: Mapping[str, float], step: int) -> None:
        """Values were recorded; the callbacks get them under the names of a ``Trainer``."""
        if not self._any:
            return
        logs = {key.removeprefix("train/").replace("/", "_"): value for key, value in values.items()}
        self._state.log_history.append({**logs, "step": step})
        self.control = self._handler.on_log(self._arguments, self._state, self.control, logs)

    def evaluated(self, metrics: Mapping[str, float], step: int, *, best: float) -> None:
        """An evaluation has ended."""
        if not self._any:
            return
        self.logged(metrics, step)
        renamed = {key.replace("/", "_"): value for key, value in metrics.items()}
        self.control = self._handler.on_evaluate(self._arguments, self._state, self.control, renamed)
        self._state.best_metric = best  # after the event, as in a Trainer: callbacks compare with the best before it

    def saved(self) -> None:
        """A checkpoint was written."""
        self._call("on_save")

    def end(self) -> None:
        """The training has ended."""
        self._call("on_train_end")

    def _at(self, step: int, epoch: float) -> None:
        if self._any:
            self._state.global_step, self._state.epoch = step, epoch

    def _call(self, event: str) -> None:
        if self._any:
            self.control = getattr(self._handler, event)(self._arguments, self._state, self.control)
