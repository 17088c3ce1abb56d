"""A version's configuration and its run's settings, data and environment, as rows of names and readable values.

Each function returns the rows that say something beyond the defaults, or, with ``every``, all of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from pointsman.registry import Run, Version
from pointsman.registry.errors import PointsmanError
from pointsman.sdk.core.composition import from_dict
from pointsman.sdk.methods.defaults import default_config, flat_config
from pointsman.sdk.methods.fusion import DEFAULTS as FUSION_DEFAULTS
from pointsman.sdk.training.settings import TrainSettings

from .units import count, share

Row = tuple[str, str]

_NOT_SETTINGS: Final = ("asked", "config", "origin", "seed")
"""Keys of a run's settings that are not settings of the training, and the seed, which is a field of the run."""

_MAIN_PACKAGES: Final = ("pointsman", "torch", "transformers", "adapters")

_PREFIXES: Final = {"given": "requested", "measured": "measured by"}
"""The data of a run that only the full view shows, field by field, and what stands before each."""


@dataclass(frozen=True)
class Section:
    """Rows, and how many there would be with ``every``."""

    rows: list[Row]
    total: int


def composition_text(version: Version) -> str | None:
    """What a composition or a fusion is made of, as it is written: ``average(a@1, b@2)``; None for other versions."""
    members = version.config.get("composition")
    if members is None:
        return None
    try:
        return str(from_dict(members))
    except PointsmanError:
        return readable(members)


def config_section(version: Version, *, every: bool) -> Section:
    """The fields of the configuration that differ from the method's defaults, each with its default."""
    if "composition" in version.config:
        values, defaults = dict(version.config.get("fusion") or {}), dict(FUSION_DEFAULTS)
    else:
        try:
            defaults = flat_config(version.method, default_config(version.method))
            values = flat_config(version.method, version.config)
        except PointsmanError:  # a method of another release: nothing is known of its defaults
            values, defaults = dict(version.config), {}
    rows = [
        (name, _with_default(value, defaults, name))
        for name, value in values.items()
        if every or name not in defaults or value != defaults[name]
    ]
    return Section(rows, len(values))


def settings_section(run: Run, *, every: bool) -> Section:
    """The settings that were requested, each with its default; of older runs, those that differ from the defaults."""
    defaults = {field.name: field.default for field in fields(TrainSettings)}
    values = {name: value for name, value in run.settings.items() if name not in _NOT_SETTINGS}
    asked = run.settings.get("asked")
    requested = asked if isinstance(asked, list) else None

    def differs(name: str) -> bool:
        if name not in defaults or requested is None:
            return name not in defaults or not _same(values[name], defaults[name])
        return name in requested

    fixed = {name: default for name, default in defaults.items() if default is not None}
    rows = [
        (name, _with_default(value, fixed, name) if differs(name) else readable(value))
        for name, value in values.items()
        if every or differs(name)
    ]
    return Section(rows, len(values))


def data_rows(run: Run, *, every: bool) -> list[Row]:
    """Where the rows came from, how many there were, and the sha256 over them."""
    rows: list[Row] = []
    for name, value in run.data.items():
        if name == "fingerprint":
            rows.append(("sha256", readable(value)))
        elif name == "rows" and isinstance(value, Mapping):
            rows.append(("rows", _by_split(value)))
        elif name == "repeated" and isinstance(value, Mapping):
            rows += [("in training, too", _by_split(value))] if every or any(value.values()) else []
        elif name == "cut" and isinstance(value, Mapping) and isinstance(counts := value.get("rows"), Mapping):
            rows += [("cut rows", _by_split(counts))] if every or any(counts.values()) else []
        elif name == "absent":
            rows.append(("without rows", readable(value)))
        elif name == "target" and isinstance(value, Mapping):
            rows.append(("scores", ", ".join(f"{key} {_short(number)}" for key, number in value.items())))
        elif name == "majority" and isinstance(value, float):
            rows.append(("majority class", share(value, 1)))
        elif name not in _PREFIXES or not isinstance(value, Mapping):
            rows.append((name, readable(value)))
        elif every:
            rows += [(f"{_PREFIXES[name]} {key}", text) for key, text in _flat(value)]
    return rows


def environment_rows(run: Run, *, every: bool) -> list[Row]:
    """The packages, the machine and the commit that a run ran on."""
    recorded = run.environment
    if every:
        return list(_flat(recorded))
    packages = _mapping(recorded.get("packages"))
    versions = {"python": recorded.get("python"), **{name: packages.get(name) for name in _MAIN_PACKAGES}}
    git = _mapping(recorded.get("git"))
    commit = str(git.get("commit", ""))[:12]
    rows = [
        ("packages", ", ".join(f"{name} {version}" for name, version in versions.items() if version is not None)),
        ("device", _joined(recorded, "device", "precision", "threads")),
        ("machine", _joined(recorded, "processor", "cores", "platform")),
        ("commit", f"{commit}, with uncommitted changes" if git.get("changed") else commit),
    ]
    return [(name, text) for name, text in rows if text]


def readable(value: Any) -> str:
    """A JSON value without JSON's brackets and quotes."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {readable(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(readable, value)) or "none"
    return str(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    """A recorded mapping; an empty one for anything else, which a stranger's bundle may hold."""
    return value if isinstance(value, Mapping) else {}


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else readable(value)


def _by_split(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{readable(number)} {split}" for split, number in counts.items())


def _with_default(value: Any, defaults: Mapping[str, Any], name: str) -> str:
    if name not in defaults or _same(value, defaults[name]):
        return readable(value)
    return f"{readable(value)} (default: {readable(defaults[name])})"


def _same(value: Any, default: Any) -> bool:
    """Whether a recorded value is a default; JSON has no tuples."""
    return bool(value == (list(default) if isinstance(default, tuple) else default))


def _joined(recorded: Mapping[str, Any], *names: str) -> str:
    """Those fields that were recorded; a number with its name."""
    values = [(name, recorded[name]) for name in names if recorded.get(name) is not None]
    return ", ".join(count(value, name[:-1]) if isinstance(value, int) else readable(value) for name, value in values)


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[Row]:
    """Nested fields as one row each, by dotted name."""
    for name, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _flat(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", readable(item)
