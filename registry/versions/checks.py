"""The rules for a version, whoever makes it: a training, a fusion, a merge, a composition, a program or a bundle.

The registry knows nothing of models: whether a configuration can be built on a base is found out where it is built
(``pointsman.sdk.methods``). Here every field is of the type and in the range that whoever reads a version relies on.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from ..database.bases import check_base
from ..errors import SettingsError, unknown
from ..records import Base, VersionKind
from ..refs import Ref, check_filename, check_metric, check_name, check_note, check_tag
from ..values import check_number, check_object, check_text, check_whole, refused

MAX_LENGTH: Final = 1_000_000
"""Tokens that an input can be cut to at most; no encoder takes as many."""

_TEXTS: Final = ("description", "label", "primary")
_LISTS: Final = ("text", "labels", "metrics", "validation")


def check_fields(
    *,
    name: str,
    files: Iterable[str],
    task: Mapping[str, Any],
    kind: str,
    method: str,
    config: Mapping[str, Any],
    base: Base,
    max_length: int,
    parameters: int,
    metrics: Mapping[str, float],
    primary_metric: str | None,
    tags: Mapping[str, str],
    note: str | None,
) -> None:
    """Refuse a version of which a field is not what it must be; the fields are those of ``Registry.add_version``.

    Raises:
        InvalidNameError: A name, a tag or the note breaks the rules.
        SettingsError: Another field does; the message names it.
    """
    check_name(name)
    names = list(files)
    if not names:
        raise SettingsError(f"a version of '{name}' needs at least one file")
    for filename in names:
        check_filename(filename)
    if len(set(names)) < len(names):
        raise SettingsError(f"a version of '{name}' has two files of one name: {', '.join(sorted(names))}")
    check_task(task)
    check_text("method", method, 64)
    check_object("config", config)
    check_members(check_kind(kind), config)
    check_base(base)
    check_whole("max_length", max_length, 1, MAX_LENGTH)
    check_whole("parameters", parameters)
    _check_metrics(metrics, primary_metric)
    if not isinstance(tags, Mapping):
        raise refused("tags", tags, "texts by name")
    for key, value in tags.items():
        check_tag(key, check_text(f"tag '{key}'", value, 5_000))
    if note is not None:
        check_note(note)


def check_kind(kind: str) -> VersionKind:
    """Return the kind of a version.

    Raises:
        SettingsError: It is unknown; the message lists the known ones.
    """
    try:
        return VersionKind(kind)
    except ValueError:
        raise unknown(SettingsError, "kind of version", str(kind), VersionKind) from None


def check_role(role: str) -> str:
    """Return the role of a parent if it is a text of at most 32 characters.

    Raises:
        SettingsError: It is something else.
    """
    return check_text("the role", role, 32)


def check_task(task: Mapping[str, Any]) -> None:
    """Refuse a task with a known field of a wrong type; all but the name may be absent.

    Raises:
        InvalidNameError: The name breaks the rules.
        SettingsError: Another field does.
    """
    check_object("task", task)
    check_name(task.get("name", ""), "task name")
    for field in _TEXTS:
        if field in task:
            check_text(f"task.{field}", task[field], 100_000)
    for field in _LISTS:
        texts = task.get(field, [])
        if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
            raise refused(f"task.{field}", texts, "a list of texts")
    bounds = task.get("bounds")
    if bounds is not None:
        if not isinstance(bounds, list | tuple) or len(bounds) != 2:
            raise refused("task.bounds", bounds, "two numbers, or null")
        for bound in bounds:
            check_number("task.bounds", bound, finite=True)
    if task.get("scored_with") is not None:
        check_name(task["scored_with"], "task name")


def check_members(kind: VersionKind, config: Mapping[str, Any]) -> None:
    """Refuse a fusion or a composition whose configuration does not name its members as ``name@number``.

    Raises:
        InvalidNameError: A member's ref breaks the rules.
        SettingsError: There is no member, or one is named by a ref that moves.
    """
    if kind is VersionKind.ADAPTER:
        return
    block = config.get("composition")
    if not isinstance(block, Mapping) or (kind is VersionKind.FUSION and not isinstance(block.get("fuse"), list)):
        example = '{"fuse": ["a@1", "b@2"]}' if kind is VersionKind.FUSION else '{"stack": ["a@1", "b@2"]}'
        raise refused("config.composition", block, f"the members of a {kind.value}, as {example}")
    found = list(_members(block))
    if not found:
        raise refused("config.composition", block, f"the members of a {kind.value}, of which there are none")
    for ref in found:
        if not isinstance(Ref.parse(ref).selector, int):
            raise refused("config.composition", ref, "made of refs with numbers, such as sst2@3, which do not move")


def _members(block: Any) -> Iterator[str]:
    """The texts in a composition that are not keys."""
    if isinstance(block, str):
        yield block
    elif isinstance(block, Mapping | list | tuple):
        for item in block.values() if isinstance(block, Mapping) else block:
            yield from _members(item)


def _check_metrics(metrics: Mapping[str, float], primary: str | None) -> None:
    if not isinstance(metrics, Mapping):
        raise refused("metrics", metrics, "numbers by name")
    for key, value in metrics.items():
        if math.isinf(check_number(f"metric '{check_metric(key)}'", value)):
            raise SettingsError(f"metric '{key}' is infinite: a version's metrics must be finite or NaN")
    if primary is not None and check_text("primary_metric", primary, 200) not in metrics:
        raise SettingsError(f"primary metric '{primary}' is not among the metrics: {', '.join(metrics)}")
