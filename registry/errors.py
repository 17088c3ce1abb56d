"""Every error that pointsman raises on purpose, as one tree.

    PointsmanError
    ├── InvalidNameError          a name, ref, alias or metric key that breaks the rules
    ├── NotFoundError             something asked for by name is not there
    │   ├── AdapterNotFoundError
    │   ├── VersionNotFoundError
    │   ├── RunNotFoundError
    │   ├── MetricNotFoundError
    │   ├── TaskNotFoundError
    │   ├── MethodNotFoundError
    │   └── BaseNotFoundError
    ├── ConflictError             it would overwrite what must not change
    │   ├── InUseError            other things hang on what would be removed
    │   └── ReservedError         another process has started the same piece of work
    ├── SettingsError             a setting whose value cannot work
    ├── QueryError                a query that cannot be understood
    ├── CompositionError          a composition that breaks a rule, or cannot be read
    ├── DatabaseError             the database cannot serve the request
    │   ├── NotARegistryError     a file or database that is not a registry
    │   ├── OldSchemaError        made by an older pointsman: upgrade it
    │   ├── NewSchemaError        made by a newer pointsman: refuse it
    │   ├── ReadOnlyError         it cannot be written
    │   ├── BusyError             other writers held it too long
    │   └── DiskFullError         no space left
    ├── BundleError               a bundle that cannot be trusted or read
    ├── StoreError                the object store cannot serve the request
    │   ├── ObjectMissingError    a file that the database names is not there
    │   └── ObjectCorruptError    a file whose sha256 is not its name
    ├── DataError                 a data set that cannot be used as it is
    ├── UnusableBaseError                 a base that cannot be used
    │   └── BaseMismatchError     a version trained on another base
    ├── WeightsError              adapter weights that do not fit their configuration
    └── TrainingError             a training that cannot go on
        └── PrunedError           one that was given up on purpose: it was not promising

Each message says what was wrong and what was found. What to do next is in the message where it is plain in any
setting ("name an empty directory"); where it is an operation of pointsman's, it is the error's ``advice``, which the
command line prints as a command and a server sends as a field. This module imports nothing of pointsman's.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, TypeVar

_E = TypeVar("_E", bound="PointsmanError")


class Action(StrEnum):
    """An operation that helps after an error."""

    BENCHMARK = "benchmark"
    """Train a benchmark's cells."""
    FUSE = "fuse"
    """Train a fusion layer over ``members``."""
    INSTALL_EXTRA = "install_extra"
    """Install the optional dependencies ``extra``."""
    LIST_RUNS = "list_runs"
    """List the runs, of ``adapter`` where it is given."""
    LIST_VERSIONS = "list_versions"
    """List all versions, of ``adapter`` where it is given."""
    REMOVE_VERSION = "remove_version"
    """Remove the version ``ref``; with ``force``, also one that is in use."""
    REPAIR = "repair"
    """Bring missing or damaged files back from a good copy."""
    RESUME = "resume"
    """Continue the run ``run``."""
    SET_ARGUMENTS = "set_arguments"
    """Call the same again with these arguments; a value of None leaves the choice to the caller."""
    SHOW_HISTORY = "show_history"
    """Read the metric history of the run ``run``."""
    SHOW_VERSION = "show_version"
    """Show the version ``ref``."""
    TRAIN = "train"
    """Train an adapter."""
    TRAIN_LIKE = "train_like"
    """Repeat the training of ``ref``, with all other arguments changed."""
    UPGRADE_DATABASE = "upgrade_database"
    """Upgrade the database's schema, in ``home`` where it is given."""
    VERIFY = "verify"
    """Check every row and every file."""


@dataclass(frozen=True)
class Advice:
    """What to do after an error, as data.

    Example:
        >>> Advice(Action.RESUME, {"run": "3fa912bc04d1"})
    """

    action: Action
    arguments: Mapping[str, Any] = field(default_factory=dict)


class PointsmanError(Exception):
    """The root: ``except PointsmanError`` catches everything pointsman raises on purpose."""

    def __init__(self, message: str = "", *, advice: Advice | None = None) -> None:
        """Keep the advice beside the message.

        Args:
            message: What was wrong and what was found.
            advice: The operation that helps, if one does.
        """
        super().__init__(message)
        self.advice = advice


class InvalidNameError(PointsmanError):
    """A name, ref, alias or metric key that breaks the rules."""


class NotFoundError(PointsmanError):
    """Something asked for by name is not there; the message lists what is."""


class AdapterNotFoundError(NotFoundError):
    """No adapter of that name is registered."""


class VersionNotFoundError(NotFoundError):
    """The adapter exists, but not that version or alias of it."""


class RunNotFoundError(NotFoundError):
    """No run of that id is recorded."""


class MetricNotFoundError(NotFoundError):
    """The run has no metric of that name."""


class TaskNotFoundError(NotFoundError):
    """No task of that name is known."""


class MethodNotFoundError(NotFoundError):
    """No adapter method of that name is known."""


class BaseNotFoundError(NotFoundError):
    """The base is neither a directory, nor cached, nor to be had from the hub."""


class ConflictError(PointsmanError):
    """It would overwrite something that must not change."""


class InUseError(ConflictError):
    """Other versions or aliases hang on what would be removed."""


class ReservedError(ConflictError):
    """Another process has started the same piece of work, such as a trial or a cell; take the next one."""


class SettingsError(PointsmanError):
    """A setting whose value cannot work; the message names the field and what is allowed."""


class QueryError(PointsmanError):
    """A query that cannot be understood; the message points at the character."""


class CompositionError(PointsmanError):
    """A composition that breaks a rule, or whose text cannot be read; the message points at the character."""


class DatabaseError(PointsmanError):
    """The database cannot serve the request."""


class NotARegistryError(DatabaseError):
    """A file or database that is not a pointsman registry."""


class OldSchemaError(DatabaseError):
    """The database was made by an older pointsman; the message quotes the command that upgrades it."""


class NewSchemaError(DatabaseError):
    """The database was made by a newer pointsman."""


class ReadOnlyError(DatabaseError):
    """The database or its directory cannot be written."""


class BusyError(DatabaseError):
    """Other processes held the database for longer than the busy timeout."""


class DiskFullError(DatabaseError):
    """No space is left where the registry lives."""


class BundleError(PointsmanError):
    """A bundle that is damaged, hostile or of another kind; nothing of it was imported."""


class StoreError(PointsmanError):
    """The object store cannot serve the request."""


class ObjectMissingError(StoreError):
    """A file that the database names is not in the store."""


class ObjectCorruptError(StoreError):
    """A file's sha256 is not the one it is stored under."""


class DataError(PointsmanError):
    """A data set that cannot be used as it is."""


class UnusableBaseError(PointsmanError):
    """A base that cannot be used."""


class BaseMismatchError(UnusableBaseError):
    """A version was trained on a base with another fingerprint."""


class WeightsError(PointsmanError):
    """Adapter weights that do not fit their configuration or the model."""


class TrainingError(PointsmanError):
    """A training that cannot go on."""


class PrunedError(TrainingError):
    """A training that was given up on purpose, because it was not promising."""


def unknown(
    kind: type[_E], what: str, name: str, known: Iterable[object], hint: str = "", *, advice: Advice | None = None
) -> _E:
    """An error for an unknown name, which lists the known ones, similar ones first.

    Args:
        kind: The error's class.
        what: What the name is of: "adapter".
        name: The unknown name.
        known: The known names.
        hint: More, for the end of the message.
        advice: The error's advice.
    """
    names = [str(item) for item in known]
    lowered = {item.lower(): item for item in names}
    near = [lowered[item] for item in get_close_matches(name.lower(), lowered, n=3)]
    quoted = ascii(name if len(name) <= 80 else name[:77] + "...")
    parts = [f"unknown {what} {quoted}"]
    if near:
        parts.append(f"did you mean {' or '.join(near)}?")
    if names:
        rest = f", and {len(names) - 20} more" if len(names) > 20 else ""
        parts.append(f"known: {', '.join(names[:20])}{rest}")
    else:
        parts.append("none exists yet")
    if hint:
        parts.append(hint)
    return kind("; ".join(parts), advice=advice)


def pointed(kind: type[_E], subject: str, text: str, position: int, what: str) -> _E:
    """An error that says ``what`` is wrong at ``position`` of a ``subject``'s text, and points at that character."""
    first = max(text.rfind("\n", 0, position), text.rfind("\r", 0, position)) + 1
    line = re.split(r"[\r\n]", text[first:], maxsplit=1)[0]
    caret = position - first
    if len(line) > 70:
        start = max(0, min(caret - 34, len(line) - 68))
        line = "…" * (start > 0) + line[start : start + 68] + "…" * (start + 68 < len(line))
        caret += (start > 0) - start
    head = f"the {subject} has an error at character {position + 1:,}: {_printable(what)}"
    return kind(f"{head}\n  {_printable(line)}\n  {' ' * caret}^")


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
