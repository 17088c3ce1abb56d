"""What a run was trained on, and where."""

from collections.abc import Mapping
from typing import Any, Final

from pointsman.registry import Run

from ..core.units import count, share
from .texts import Row, flat_rows, readable

_MAIN_PACKAGES: Final = ("pointsman", "torch", "transformers", "adapters")

_PREFIXES: Final = {"given": "requested", "measured": "measured by"}
"""The data of a run that only the full view shows, field by field, and what stands before each."""


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
            rows += [(f"{_PREFIXES[name]} {key}", text) for key, text in flat_rows(value)]
    return rows


def environment_rows(run: Run, *, every: bool) -> list[Row]:
    """The packages, the machine and the commit that a run ran on."""
    recorded = run.environment
    if every:
        return list(flat_rows(recorded))
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


def _mapping(value: Any) -> Mapping[str, Any]:
    """A recorded mapping; an empty one for anything else, which a stranger's bundle may hold."""
    return value if isinstance(value, Mapping) else {}


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else readable(value)


def _by_split(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{readable(number)} {split}" for split, number in counts.items())


def _joined(recorded: Mapping[str, Any], *names: str) -> str:
    """Those fields that were recorded; a number with its name."""
    values = [(name, recorded[name]) for name in names if recorded.get(name) is not None]
    return ", ".join(count(value, name[:-1]) if isinstance(value, int) else readable(value) for name, value in values)
