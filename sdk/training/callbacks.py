"""transformers' callbacks and trackers on our loop: they are told what a ``Trainer`` would tell them.

``report_to`` and a user's own ``TrainerCallback`` come here. What they ask for with ``control`` is done: to stop, to
evaluate, to log, to save a checkpoint; but an epoch is not cut short alone (``should_epoch_stop``).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import integration_utils
from transformers.trainer_callback import CallbackHandler, DefaultFlowCallback

from pointsman.registry.errors import SettingsError, unknown

from ..core.arguments import as_list, short_repr
from .settings import TrainSettings


def check_callbacks(callbacks: Iterable[Any]) -> list[TrainerCallback]:
    """The callbacks of others, as objects of theirs or as classes to make one of.

    Raises:
        SettingsError: They are no list of such.
    """
    found = as_list(callbacks)
    for one in [callbacks] if found is None else found:
        if not isinstance(one, TrainerCallback) and not (isinstance(one, type) and issubclass(one, TrainerCallback)):
            raise SettingsError(
                f"callbacks have to be a list of transformers' TrainerCallback; found {short_repr(one)}"
            )
    if found is None:
        raise SettingsError(f"callbacks have to be a list; found one alone, {short_repr(callbacks)}")
    return found


def trackers(names: Iterable[str]) -> list[TrainerCallback]:
    """The callbacks that tell the trackers of these names.

    Raises:
        SettingsError: transformers knows no such tracker, or what it needs is not installed.
    """
    found = []
    for name in names:
        if name not in integration_utils.INTEGRATION_TO_CALLBACK:
            raise unknown(SettingsError, "tracker for report_to", name, integration_utils.INTEGRATION_TO_CALLBACK)
        try:
            found.append(integration_utils.INTEGRATION_TO_CALLBACK[name]())
        except (RuntimeError, ImportError) as error:
            raise SettingsError(f"report_to {name}: {error}") from error
    return found


class Callbacks:
    """Tells callbacks how a training goes, and what they ask for.

    Args:
        callbacks: The callbacks; nothing is done for none.
        settings: Completed settings.
        model: The model.
        tokenizer: Its tokenizer.
        optimiser: torch's optimiser.
        name: What to call the run.
        directory: Where trackers that write files put them.
        steps: How many steps there are.
        epochs: How many passes over the rows that is.
        evaluate_every: Steps between two evaluations.
        primary: The metric that says which weights are best; greater is better.
    """

    def __init__(
        self,
        callbacks: Sequence[TrainerCallback],
        settings: TrainSettings,
        *,
        model: Any,
        tokenizer: Any,
        optimiser: Any,
        name: str,
        directory: Path,
        steps: int,
        epochs: float,
        evaluate_every: int,
        primary: str,
    ) -> None:
        self.control = TrainerControl()
        self._any = bool(callbacks)
        if not self._any:
            return
        self._arguments = TrainingArguments(
            output_dir=str(directory),
            logging_dir=str(directory),
            run_name=name,
            num_train_epochs=epochs,
            max_steps=steps,
            learning_rate=settings.learning_rate or 0.0,
            per_device_train_batch_size=settings.batch_size or 1,
            gradient_accumulation_steps=settings.gradient_accumulation,
            weight_decay=settings.weight_decay,
            seed=settings.seed,
            use_cpu=settings.device.startswith("cpu"),
            logging_strategy="no",
            eval_strategy="steps",
            eval_steps=evaluate_every,
            metric_for_best_model=primary.replace("/", "_"),
            greater_is_better=True,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        everyone = [DefaultFlowCallback(), *callbacks]
        self._handler = CallbackHandler(everyone, model, tokenizer, optimiser, None)  # type: ignore[no-untyped-call]
        self._state = TrainerState(max_steps=steps, num_train_epochs=max(1, round(epochs)), eval_steps=evaluate_every)
        self._call("on_init_end")

    def begin(self, step: int, epoch: float) -> None:
        """The training begins, or goes on after a step."""
        self._at(step, epoch)
        self._call("on_train_begin")

    def step_begins(self) -> None:
        """An optimiser step begins."""
        self._call("on_step_begin")

    def step_ended(self, step: int, epoch: float) -> None:
        """A step is done."""
        self._at(step, epoch)
        self._call("on_step_end")

    def epoch_begins(self, step: int, epoch: float) -> None:
        """A pass over the rows begins."""
        self._at(step, epoch)
        self._call("on_epoch_begin")

    def epoch_ended(self, step: int, epoch: float) -> None:
        """A pass over the rows is done."""
        self._at(step, epoch)
        self._call("on_epoch_end")

    def logged(self, values: Mapping[str, float], step: int) -> None:
        """Values were recorded; by the names that a ``Trainer`` gives them."""
        if not self._any:
            return
        logs = {key.removeprefix("train/").replace("/", "_"): value for key, value in values.items()}
        self._state.log_history.append({**logs, "step": step})
        self.control = self._handler.on_log(self._arguments, self._state, self.control, logs)

    def evaluated(self, metrics: Mapping[str, float], step: int, *, best: float) -> None:
        """An evaluation is done."""
        if not self._any:
            return
        self.logged(metrics, step)
        named = {key.replace("/", "_"): value for key, value in metrics.items()}
        self.control = self._handler.on_evaluate(self._arguments, self._state, self.control, named)
        self._state.best_metric = best  # after they were told, as a Trainer does: so they see what was gained

    def saved(self) -> None:
        """A checkpoint was written."""
        self._call("on_save")

    def end(self) -> None:
        """The training is over."""
        self._call("on_train_end")

    def _at(self, step: int, epoch: float) -> None:
        if self._any:
            self._state.global_step, self._state.epoch = step, epoch

    def _call(self, event: str) -> None:
        if self._any:
            self.control = getattr(self._handler, event)(self._arguments, self._state, self.control)
