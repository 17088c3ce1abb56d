"""Progress of trainings."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pointsman.registry import Action, Advice
from pointsman.sdk.core.units import duration

from .advice import render
from .output import note

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from pointsman.sdk import Progress


def is_live(console: "Console") -> bool:
    """Whether a bar can be drawn on standard error: for rich, FORCE_COLOR makes a terminal of any file."""
    return console.is_terminal and sys.stderr.isatty()


@dataclass
class _Shown:
    """What is shown of a training."""

    bar: "TaskID"
    label: str
    scores: str = ""
    printed: float = 0.0
    """The share of its steps at the last line."""


class Watcher:
    """Shows the progress of trainings: a live bar for each on a terminal, plain lines elsewhere, on standard error.

    Args:
        alone: Whether to say after Ctrl-C how to resume; False where a larger operation says it.
        label: What tells a training from others that run with it.
    """

    def __init__(self, *, alone: bool = True, label: "Callable[[Progress], str]" = lambda _: "") -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        console = Console(stderr=True, highlight=False)
        self._live = is_live(console)
        self._bars = Bars(
            TextColumn("{task.description}epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[metric]}"),
            TextColumn("{task.fields[speed]}/s"),
            TextColumn("{task.fields[left]} left"),
            console=console,
            disable=not self._live,
        )
        self._shown: dict[str, _Shown] = {}
        """By run."""
        self._alone, self._label = alone, label

    def __enter__(self) -> "Watcher":
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._bars.stop()
        if kind is KeyboardInterrupt and self._alone:
            for run in self._shown:
                note(f"to resume it: {render(Advice(Action.RESUME, {'run': run}))}")

    def report(self, progress: "Progress") -> None:
        """Show a training's progress; a training calls it."""
        shown = self._shown.get(progress.run)
        if shown is None:
            label = f"{name}  " if (name := self._label(progress)) else ""
            bar = self._bars.add_task(label, total=None, epoch="-", loss="-", metric="", speed="-", left="?")
            shown = self._shown[progress.run] = _Shown(bar, label)
        if self._live:
            self._on_terminal(progress, shown)
        else:
            self._in_lines(progress, shown)

    def forget(self, run: str | None) -> None:
        """Show a training no longer, if it is shown."""
        if run in self._shown:
            self._bars.remove_task(self._shown.pop(run).bar)

    def _on_terminal(self, progress: "Progress", shown: _Shown) -> None:
        if progress.metrics is not None:
            shown.scores = _first(progress)
        self._bars.update(
            shown.bar,
            total=progress.steps,
            completed=progress.step,
            epoch=f"{progress.epoch:.2f}",
            loss=f"{progress.loss:.3f}",
            speed=f"{progress.samples_per_second:.0f}",
            left=duration(progress.seconds_left),
            metric=shown.scores,
        )

    def _in_lines(self, progress: "Progress", shown: _Shown) -> None:
        done = progress.step / progress.steps
        if progress.metrics is None and done - shown.printed < 0.1:
            return
        shown.printed = done
        scores = "" if progress.metrics is None else f"  {_first(progress)}"
        note(
            f"{shown.label}step {progress.step}/{progress.steps}  epoch {progress.epoch:.2f}  "
            f"loss {progress.loss:.3f}  {progress.samples_per_second:.0f} rows/s  "
            f"{duration(progress.seconds_left)} left{scores}"
        )


def _first(progress: "Progress") -> str:
    assert progress.metrics is not None
    return "  ".join(f"{key} {value:.4f}" for key, value in progress.metrics.items() if not key.endswith("/loss"))
