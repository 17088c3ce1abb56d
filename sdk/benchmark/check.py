"""Whether a benchmark goes on as it was begun: all cells of one name are trained alike."""

from collections.abc import Mapping
from typing import Any, Final

from pointsman.registry import Base, Run, RunStatus

from ..training.settings import TrainSettings
from .cells import asked_settings

_NOT_WHAT: Final = frozenset({"seed", "device", "report_to", "checkpoint_every"})
"""Settings that say where and how a training goes, and not what it is: they may differ from cell to cell."""


def non_default_settings(settings: TrainSettings) -> dict[str, Any]:
    """The settings that are not the defaults, as JSON: what is recorded with every cell."""
    defaults = TrainSettings().to_dict()
    return {key: value for key, value in settings.to_dict().items() if key not in _NOT_WHAT and value != defaults[key]}


def is_resumable(run: Run) -> bool:
    """Whether it can be taken up where it was interrupted."""
    return run.version is None and run.status is RunStatus.INTERRUPTED


def is_usable(run: Run) -> bool:
    """Whether it is a part of what comes out: not if it failed, or its version was removed."""
    return run.version is not None or run.status in (RunStatus.INTERRUPTED, RunStatus.RUNNING)


def request_differences(run: Run, *, base: Base, settings: TrainSettings) -> list[str]:
    """What was asked for otherwise when any cell of the benchmark was begun.

    Args:
        run: The cell's.
        base: The base that is asked for now.
        settings: The settings that are asked for now.
    """
    differing = []
    if not run.base.is_same(base):
        then, now = (f"{each.name}, {each.fingerprint[:12]}" for each in (run.base, base))
        differing.append(_differing("base", then, now))
    recorded, present = asked_settings(run), non_default_settings(settings)
    defaults = TrainSettings().to_dict()
    for key in dict.fromkeys([*recorded, *present]):
        then, now = (given.get(key, defaults.get(key)) for given in (recorded, present))
        if then != now:
            differing.append(_differing(key, then, now))
    return differing


def training_differences(
    run: Run, *, settings: TrainSettings, config: Mapping[str, Any], fingerprint: str
) -> list[str]:
    """What is otherwise than it was when a cell was trained, or begun.

    Args:
        run: The cell's.
        settings: Those that it would be trained with now, completed: defaults may change from release to release.
        config: The method's configuration now.
        fingerprint: Of its task's data now.
    """
    now = {**settings.to_dict(), "config": config}
    differing = [
        _differing(key, run.settings.get(key), value)
        for key, value in now.items()
        if key not in _NOT_WHAT and run.settings.get(key) != value
    ]
    if run.data["fingerprint"] != fingerprint:
        differing.append(f"the rows of {run.task} (were {run.data['source']}, and are others now)")
    if is_resumable(run) and run.settings.get("device") != settings.device:
        differing.append(_differing("device", run.settings.get("device"), settings.device))
    return differing


def _differing(what: str, then: Any, now: Any) -> str:
    return f"{what} ({_said(then)} then, {_said(now)} now)"


def _said(value: Any) -> str:
    if value is None:
        return "not given"
    return f"{value:g}" if isinstance(value, float) else str(value)
