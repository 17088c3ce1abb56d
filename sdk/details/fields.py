"""The configuration of a version and the settings of a run, field by field, each beside its default."""

from dataclasses import dataclass, fields
from typing import Any, Final

from pointsman.registry import Run, Version
from pointsman.registry.errors import PointsmanError

from ..core.composition import from_dict
from ..methods.defaults import default_config, flat_config
from ..methods.fusion import DEFAULTS as FUSION_DEFAULTS
from ..training.settings import TrainSettings
from .texts import readable

_NOT_SETTINGS: Final = ("asked", "config", "origin", "seed", "steps")
"""Keys of a run's settings that are not settings of the training, and the seed, which is a field of the run."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """A field of a configuration, or a setting."""

    name: str
    value: Any
    default: Any = None
    has_default: bool
    """Whether ``default`` is one that is known."""
    chosen: bool
    """Whether its value says something: it was requested, or is not the default."""

    @property
    def text(self) -> str:
        """The value as people read it, with the default if it is another."""
        if not (self.chosen and self.has_default) or _same(self.value, self.default):
            return readable(self.value)
        return f"{readable(self.value)} (default: {readable(self.default)})"


def composition_text(version: Version) -> str | None:
    """What a composition or a fusion is made of, as it is written: ``average(a@1, b@2)``; None for other versions."""
    members = version.config.get("composition")
    if members is None:
        return None
    try:
        return str(from_dict(members))
    except PointsmanError:
        return readable(members)


def config_fields(version: Version) -> list[Field]:
    """The fields of a version's configuration; those that differ from the method's defaults are ``chosen``."""
    if "composition" in version.config:
        values, defaults = dict(version.config.get("fusion") or {}), dict(FUSION_DEFAULTS)
    else:
        try:
            defaults = flat_config(version.method, default_config(version.method))
            values = flat_config(version.method, version.config)
        except PointsmanError:  # a method of another release: nothing is known of its defaults
            values, defaults = dict(version.config), {}
    return [
        Field(
            name=name,
            value=value,
            default=defaults.get(name),
            has_default=name in defaults,
            chosen=name not in defaults or not _same(value, defaults[name]),
        )
        for name, value in values.items()
    ]


def setting_fields(run: Run) -> list[Field]:
    """The settings of a run; those that were requested are ``chosen``, of older runs those that are not defaults."""
    defaults = {field.name: field.default for field in fields(TrainSettings)}
    asked = run.settings.get("asked")
    requested = asked if isinstance(asked, list) else None

    def chosen(name: str, value: Any) -> bool:
        if name not in defaults or requested is None:
            return name not in defaults or not _same(value, defaults[name])
        return name in requested

    return [
        Field(
            name=name,
            value=value,
            default=defaults.get(name),
            has_default=defaults.get(name) is not None,
            chosen=chosen(name, value),
        )
        for name, value in run.settings.items()
        if name not in _NOT_SETTINGS
    ]


def _same(value: Any, default: Any) -> bool:
    """Whether a recorded value is a default; JSON has no tuples."""
    return bool(value == (list(default) if isinstance(default, tuple) else default))
