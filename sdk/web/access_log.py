"""The access log: one line of JSON a call, on the logger ``pointsman.access``."""

import json
import logging
from typing import Any, Final, TextIO

from .calls import Call

_MAX_LETTERS: Final = 200
"""Of a path or ref."""

_log = logging.getLogger("pointsman.access")


def write(call: Call) -> None:
    """Write the line of a call."""
    if _log.isEnabledFor(logging.INFO):
        _log.info("%s", json.dumps(_line(call)))


def send_to(stream: TextIO | None) -> None:
    """Let the lines go to a stream and nowhere else; None: there are none."""
    _log.propagate = False
    _log.setLevel(logging.WARNING if stream is None else logging.INFO)
    _log.handlers = [] if stream is None else [logging.StreamHandler(stream)]


def _line(call: Call) -> dict[str, Any]:
    line: dict[str, Any] = {
        "time": call.began_at.isoformat(timespec="milliseconds"),
        "request_id": call.id,
        "method": call.method,
        "path": call.path[:_MAX_LETTERS],
        "status": call.status,
        "seconds": round(call.seconds, 6),
    }
    if call.ref is not None:
        line["ref"] = call.ref[:_MAX_LETTERS]
    if call.rows:
        line |= {"versions": list(call.rows), "inputs": call.inputs}
    return line
