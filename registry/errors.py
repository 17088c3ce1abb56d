"""Every error that pointsman raises on purpose, as one tree.

    PointsmanError
    ├── InvalidNameError          a name, ref, alias or metric key that breaks the rules
    ├── NotFoundError             an unknown name
    │   ├── AdapterNotFoundError
    │   ├── VersionNotFoundError
    │   ├── RunNotFoundError
    │   ├── MetricNotFoundError
    │   ├── TaskNotFoundError
    │   ├── MethodNotFoundError
    │   └── BaseNotFoundError
    ├── ConflictError             a change of something that must not change
    │   ├── ChangedError          what would be changed is not what the caller expected
    │   ├── InUseError            other versions or aliases refer to what would be removed
    │   └── ReservedError         another process has started the same piece of work
    ├── SettingsError             a setting with an invalid value
    ├── QueryError                a query with an error in it
    ├── CompositionError          a composition that is not allowed, or text that is not one
    ├── DatabaseError             the database cannot serve the request
    │   ├── NotARegistryError     a file or database that is not a registry
    │   ├── OldSchemaError        a database of an older pointsman, to be upgraded
    │   ├── NewSchemaError        a database of a newer pointsman
    │   ├── ReadOnlyError         a database or directory that cannot be written
    │   ├── BusyError             a lock that other writers held too long
    │   ├── DamagedRowError       a row that cannot be read; the others can
    │   └── DiskFullError         no space left on the disk
    ├── BundleError               a bundle that is damaged, hostile or no bundle
    ├── StoreError                the object store cannot serve the request
    │   ├── ForeignStoreError     an object store that belongs to another registry
    │   ├── ObjectMissingError    a file that is not in the store
    │   └── ObjectCorruptError    a file that has another sha256 than its name
    ├── DataError                 a data set that cannot be used
    ├── UnusableBaseError         a base that cannot be used
    │   └── BaseMismatchError     a version trained on another base
    ├── WeightsError              adapter weights that do not fit their configuration
    ├── OverloadedError           more work waits than is accepted
    └── TrainingError             a training that cannot continue
        └── PrunedError           a training that was stopped early, since its scores were not promising

Each message says what was wrong and what was found. It also says what to do, if that reads the same in a program, at a
command line and in a browser ("name an empty directory"). If an operation of pointsman's helps, the error carries it as
``advice``: the command line prints it as a command, and a server sends it as a field. This module imports nothing of
pointsman's.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, TypeVar

_E = TypeVar("_E", bound="PointsmanError")
_P = TypeVar("_P", "QueryError", "CompositionError")


class Action(StrEnum):
    """An operation that helps after an error."""

    ADOPT_STORE = "adopt_store"
    """Make the object store this registry's own."""
    BENCHMARK = "benchmark"
    """Train a benchmark's cells."""
    COLLECT_GARBAGE = "collect_garbage"
    """Remove the files that no version needs."""
    FUSE = "fuse"
    """Train a fusion layer over ``members``."""
    INSTALL_EXTRA = "install_extra"
    """Install the optional dependencies ``extra``."""
    LIST_RUNS = "list_runs"
    """List all runs, or those of ``adapter``."""
    LIST_VERSIONS = "list_versions"
    """List all versions, or those of ``adapter``."""
    REMOVE_VERSION = "remove_version"
    """Remove the version ``ref``; with ``force``, also if it is in use."""
    REPAIR = "repair"
    """Restore missing or damaged files from a good copy."""
    RESUME = "resume"
    """Continue the run ``run``."""
    SET_ARGUMENTS = "set_arguments"
    """Repeat the call with these arguments changed; where a value is None, the caller chooses it."""
    SHOW_HISTORY = "show_history"
    """Read the metric history of the run ``run``."""
    SHOW_VERSION = "show_version"
    """Show the version ``ref``."""
    TRAIN = "train"
    """Train an adapter."""
    TRAIN_LIKE = "train_like"
    """Repeat the training of ``ref``, with the other arguments changed."""
    UPGRADE_DATABASE = "upgrade_database"
    """Upgrade the schema of the database, in ``home`` or where the environment says."""
    VERIFY = "verify"
    """Check every row and every file."""


@dataclass(frozen=True)
class Advice:
    """An operation that helps after an error, as data.

    Examples:
        >>> Advice(Action.RESUME, {"run": "3fa912bc04d1"})
    """

    action: Action
    arguments: Mapping[str, Any] = field(default_factory=dict)


class PointsmanError(Exception):
    """The root of all errors that pointsman raises on purpose."""

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
    """An unknown name; the message lists the known ones."""


class AdapterNotFoundError(NotFoundError):
    """No adapter of that name is registered."""


class VersionNotFoundError(NotFoundError):
    """The adapter exists, but it has no such version or alias."""


class RunNotFoundError(NotFoundError):
    """No run of that id is recorded."""


class MetricNotFoundError(NotFoundError):
    """The run has no metric of that name."""


class TaskNotFoundError(NotFoundError):
    """No task of that name is known."""


class MethodNotFoundError(NotFoundError):
    """No adapter method of that name is known."""


class BaseNotFoundError(NotFoundError):
    """The base is neither a directory, nor in the cache, nor on the hub."""


class ConflictError(PointsmanError):
    """The operation would change something that must not change."""


class ChangedError(ConflictError):
    """What would be changed is not what the caller expected; nothing was changed, and ``current`` is what it is."""

    current: Any = None


class InUseError(ConflictError):
    """Other versions or aliases refer to what would be removed."""


class ReservedError(ConflictError):
    """Another process has started the same piece of work, such as a trial or a cell; take the next one."""


class SettingsError(PointsmanError):
    """A setting with an invalid value; the message names the setting and what is allowed."""


class QueryError(PointsmanError):
    """A query with an error in it; the message points at the character, whose index is ``position``."""

    position: int | None = None


class CompositionError(PointsmanError):
    """A composition that is not allowed, or text that is not one; the message points at the character."""

    position: int | None = None


class DatabaseError(PointsmanError):
    """The database cannot serve the request."""


class NotARegistryError(DatabaseError):
    """A file or database that is not a pointsman registry."""


class OldSchemaError(DatabaseError):
    """The database was made by an older pointsman; the advice upgrades it."""


class NewSchemaError(DatabaseError):
    """The database was made by a newer pointsman."""


class ReadOnlyError(DatabaseError):
    """The database or its directory cannot be written."""


class BusyError(DatabaseError):
    """Other processes locked the database for longer than the busy timeout."""


class DamagedRowError(DatabaseError):
    """A row of the database cannot be read; the message names it, and the others go on being read."""


class DiskFullError(DatabaseError):
    """No space is left on the disk of the registry."""


class BundleError(PointsmanError):
    """A bundle that is damaged, hostile or no bundle at all; nothing of it was imported."""


class StoreError(PointsmanError):
    """The object store cannot serve the request."""


class ForeignStoreError(StoreError):
    """The store is another registry's, or has versions that this copy of the database lacks; nothing was changed."""


class ObjectMissingError(StoreError):
    """A file that the database names is not in the store."""


class ObjectCorruptError(StoreError):
    """A file has another sha256 than the one it is stored under."""


class DataError(PointsmanError):
    """A data set that cannot be used."""


class UnusableBaseError(PointsmanError):
    """A base that cannot be used."""


class BaseMismatchError(UnusableBaseError):
    """A version was trained on a base with another fingerprint."""


class WeightsError(PointsmanError):
    """Adapter weights that do not fit their configuration or the model."""


class OverloadedError(PointsmanError):
    """More work waits than is accepted; try again in a moment."""


class TrainingError(PointsmanError):
    """A training that cannot continue."""


class PrunedError(TrainingError):
    """A training that was stopped early, because its scores were not promising."""


def close_names(name: str, known: Iterable[str]) -> list[str]:
    """The known names that are similar to a name, at most three, the most similar first."""
    lowered = {item.lower(): item for item in known}
    return [lowered[item] for item in get_close_matches(name.lower(), lowered, n=3)]


def listed(names: Iterable[object], separator: str = ", ") -> str:
    """Names for a message: the first 20, and how many more there are."""
    texts = [str(name) for name in names]
    rest = f"{separator}and {len(texts) - 20} more" if len(texts) > 20 else ""
    return f"{separator.join(texts[:20])}{rest}"


def unknown(
    kind: type[_E], what: str, name: str, known: Iterable[object], hint: str = "", *, advice: Advice | None = None
) -> _E:
    """Make an error for an unknown name, whose message lists the known ones.

    Args:
        kind: The error's class.
        what: What the name stands for: "adapter".
        name: The unknown name.
        known: The known names; the message has at most 20 of them, after those that are similar.
        hint: The end of the message.
        advice: The error's advice.
    """
    names = [str(item) for item in known]
    near = close_names(name, names)
    quoted = ascii(name if len(name) <= 80 else name[:77] + "...")
    parts = [f"unknown {what} {quoted}"]
    if near:
        parts.append(f"did you mean {' or '.join(near)}?")
    if names:
        parts.append(f"known: {listed(names)}")
    else:
        parts.append("none exists yet")
    if hint:
        parts.append(hint)
    return kind("; ".join(parts), advice=advice)


def pointed(kind: type[_P], subject: str, text: str, position: int, what: str) -> _P:
    """Make an error whose message quotes a line of text and points at one character of it.

    Args:
        kind: The error's class.
        subject: What the text is: "query".
        text: The text.
        position: The index of the character.
        what: What is wrong with it.
    """
    first = max(text.rfind("\n", 0, position), text.rfind("\r", 0, position)) + 1
    line = re.split(r"[\r\n]", text[first:], maxsplit=1)[0]
    caret = position - first
    if len(line) > 70:
        start = max(0, min(caret - 34, len(line) - 68))
        line = "…" * (start > 0) + line[start : start + 68] + "…" * (start + 68 < len(line))
        caret += (start > 0) - start
    head = f"the {subject} has an error at character {position + 1:,}: {_printable(what)}"
    error = kind(f"{head}\n  {_printable(line)}\n  {' ' * caret}^")
    error.position = position
    return error


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
