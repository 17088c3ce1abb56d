"""Compare recorded cells with what is requested now: all cells of one benchmark are trained with the same settings."""

from collections.abc import Mapping
from typing import Any, Final

from pointsman.registry import Base, Run, RunStatus

from ..training.settings import TrainSettings
from .cells import requested_settings

_MAY_DIFFER: Final = frozenset({"seed", "device", "report_to", "checkpoint_every"})
"""Settings that do not change what is trained, so that they may differ from cell to cell."""


def non_default_settings(settings: TrainSettings) -> dict[str, Any]:
    """The settings that differ from the defaults, as JSON; they are recorded with every cell."""
    defaults = TrainSettings().to_dict()
    return {
        key: value for key, value in settings.to_dict().items() if key not in _MAY_DIFFER and value != defaults[key]
    }


def is_resumable(run: Run) -> bool:
    """Whether a cell's run was interrupted before it made a version."""
    return run.version is None and run.status is RunStatus.INTERRUPTED


def is_usable(run: Run) -> bool:
    """Whether a cell's run has made, or may still make, a version that exists."""
    return run.version is not None or run.status in (RunStatus.INTERRUPTED, RunStatus.RUNNING)


def request_differences(run: Run, *, base: Base, settings: TrainSettings) -> list[str]:
    """What differs between the request that a cell was started with and the one of now, for people.

    Args:
        run: The cell's run.
        base: The base that is requested now.
        settings: The settings that are requested now.
    """
    differences = []
    if not run.base.is_same(base):
        recorded_base, base_now = (f"{each.name}, {each.fingerprint[:12]}" for each in (run.base, base))
        differences.append(_difference("base", recorded_base, base_now))
    recorded, requested = requested_settings(run), non_default_settings(settings)
    defaults = TrainSettings().to_dict()
    for key in dict.fromkeys([*recorded, *requested]):
        before, now = (settings_.get(key, defaults.get(key)) for settings_ in (recorded, requested))
        if before != now:
            differences.append(_difference(key, before, now))
    return differences


def training_differences(
    run: Run, *, settings: Mapping[str, Any], config: Mapping[str, Any], fingerprint: str
) -> list[str]:
    """What differs between a cell's recorded training and the training that would be started now, for people.

    Args:
        run: The cell's run.
        settings: The resolved settings of now, as JSON; defaults may change from release to release.
        config: The method's configuration of now.
        fingerprint: The fingerprint of the task's rows now.
    """
    now = {**settings, "config": config}
    differences = [
        _difference(key, run.settings.get(key), value)
        for key, value in now.items()
        if key not in _MAY_DIFFER and run.settings.get(key) != value
    ]
    if run.data["fingerprint"] != fingerprint:
        differences.append(f"the rows of {run.task} (then from {run.data['source']}, other rows now)")
    if is_resumable(run) and run.settings.get("device") != settings["device"]:
        differences.append(_difference("device", run.settings.get("device"), settings["device"]))
    return differences


def _difference(what: str, before: Any, now: Any) -> str:
    return f"{what} ({_format(before)} then, {_format(now)} now)"


def _format(value: Any) -> str:
    if value is None:
        return "not given"
    return f"{value:g}" if isinstance(value, float) else str(value)
