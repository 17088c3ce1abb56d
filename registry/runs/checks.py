"""The rules for a run, whoever records it: a training, a program or a bundle."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from ..errors import InvalidNameError, SettingsError
from ..records import SERVING, Origin
from ..refs import check_name
from ..values import check_object, check_text, check_time, check_whole, refused

_ERROR: Final = 1 << 20
"""Characters of the message of a run that failed at most."""


def check_fields(
    *,
    adapter: str,
    task: str,
    method: str,
    settings: Mapping[str, Any],
    data: Mapping[str, Any],
    environment: Mapping[str, Any],
    seed: int,
    error: str | None,
    times: Iterable[datetime],
    origin: Origin | None,
) -> None:
    """Refuse a run of which a field is not what it must be.

    Raises:
        InvalidNameError: A name breaks the rules.
        SettingsError: Another field does; the message names it.
    """
    check_name(adapter)
    check_name(task, "task name")
    check_text("method", method, 64)
    for what, value in (("settings", settings), ("data", data), ("environment", environment)):
        check_object(what, value)
    for field in ("packages", "git"):
        if not isinstance(environment.get(field) or {}, Mapping):
            raise refused(f"environment.{field}", environment[field], "a JSON object")
    check_whole("seed", seed, -(2**63))
    if error is not None:
        check_text("error", error, _ERROR)
    for time in times:
        check_time("a time of the run", time)
    if origin is not None:
        check_origin(origin)


def check_origin(origin: Origin) -> None:
    """Check that an origin can be stored.

    Raises:
        InvalidNameError: Its kind breaks the rule for names, or its name or item is empty or has characters that
            cannot be printed.
        SettingsError: One of them is too long, the kind is a server's, or the details are not JSON.
    """
    if origin.kind == SERVING:
        raise SettingsError(f"the origin kind '{SERVING}' is for the runs of servers: use another kind")
    check_text("the origin's kind", check_name(origin.kind, "origin kind"), 32)
    for what, text in (("name", origin.name), ("item", origin.item)):
        if isinstance(text, str) and not (text.strip() and text.isprintable()):
            raise InvalidNameError(f"the origin's {what} {text[:80]!a} is not valid: use printable characters")
        check_text(f"the origin's {what}", text, 200)
    check_object("the origin's details", origin.details)
