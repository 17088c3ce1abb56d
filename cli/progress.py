"""Progress of a training."""

import sys
from typing import TYPE_CHECKING

from pointsman.registry import Action, Advice

from .advice import render
from .output import note
from .units import duration

if TYPE_CHECKING:
    from rich.console import Console

    from pointsman.sdk import Progress


def is_live(console: "Console") -> bool:
    """Whether a bar can be drawn on standard error: for rich, FORCE_COLOR makes a terminal of any file."""
    return console.is_terminal and sys.stderr.isatty()


class Watcher:
    """Shows a training's progress: a live bar on a terminal, plain lines elsewhere, on standard error.

    Args:
        alone: Whether to say after Ctrl-C how to resume; False where a larger operation says it.
    """

    def __init__(self, *, alone: bool = True) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        self._console = Console(stderr=True, highlight=False)
        self._live = is_live(self._console)
        self._bar = Bar(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[metric]}"),
            TextColumn("{task.fields[speed]}/s"),
            TextColumn("{task.fields[left]} left"),
            console=self._console,
            disable=not self._live,
        )
        self._task = self._bar.add_task("", total=None, epoch="-", loss="-", metric="", speed="-", left="?")
        self._scores = ""
        self._printed = 0.0
        self._run: str | None = None
        self._alone = alone

    def __enter__(self) -> "Watcher":
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._bar.stop()
        if kind is KeyboardInterrupt and self._alone and self._run is not None:
            note(f"to resume it: {render(Advice(Action.RESUME, {'run': self._run}))}")

    def report(self, progress: "Progress") -> None:
        """Show a training's progress; a training calls it."""
        self._run = progress.run
        if self._live:
            self._on_terminal(progress)
        else:
            self._in_lines(progress)

    def _on_terminal(self, progress: "Progress") -> None:
        if progress.metrics is not None:
            self._scores = _first(progress)
        self._bar.update(
            self._task,
            total=progress.steps,
            completed=progress.step,
            epoch=f"{progress.epoch:.2f}",
            loss=f"{progress.loss:.3f}",
            speed=f"{progress.samples_per_second:.0f}",
            left=duration(progress.seconds_left),
            metric=self._scores,
        )

    def _in_lines(self, progress: "Progress") -> None:
        done = progress.step / progress.steps
        if progress.metrics is None and done - self._printed < 0.1:
            return
        self._printed = done
        scores = "" if progress.metrics is None else f"  {_first(progress)}"
        note(
            f"step {progress.step}/{progress.steps}  epoch {progress.epoch:.2f}  loss {progress.loss:.3f}  "
            f"{progress.samples_per_second:.0f} rows/s  {duration(progress.seconds_left)} left{scores}"
        )


def _first(progress: "Progress") -> str:
    assert progress.metrics is not None
    return "  ".join(f"{key} {value:.4f}" for key, value in progress.metrics.items() if not key.endswith("/loss"))
