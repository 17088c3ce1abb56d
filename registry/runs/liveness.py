"""Whether the process that records a run is alive; only the machine that it runs on can tell."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

KEY: Final = "process"
"""The key, in the environment of a run's row, of the process that records it. Records and bundles leave it out, since
another machine cannot use it."""

_SAME_MACHINE: Final = ("host", "boot", "namespace")
"""The fields that must be equal for process numbers to be comparable: a restart of the machine begins a new numbering,
and so does a container, which may share its host's name."""


def this_process() -> dict[str, Any]:
    """Describe this process, as JSON.

    Returns:
        ``host``, the name of the machine; ``boot`` and ``namespace``, Linux's ids of this boot and of the namespace of
        process numbers; ``pid``; and ``started``, in ticks since the boot (man7.org, proc_pid_stat(5), field 22). A
        value that the system does not tell is None.
    """
    stat = _stat(os.getpid())
    return {
        # The name of a machine need not be valid Unicode.
        "host": platform.node().encode(errors="replace").decode(),
        "boot": _boot(),
        "namespace": _namespace(),
        "pid": os.getpid(),
        "started": None if stat is None else stat[1],
    }


def alive(process: Any) -> bool | None:
    """Return whether a process is alive; None if this machine cannot tell.

    Args:
        process: A description by ``this_process``; for any other value the answer is None.
    """
    # Signal 0 only tests whether a process exists; on Windows it is Ctrl-C.
    if os.name != "posix" or not isinstance(process, Mapping):
        return None
    present = this_process()
    if any(process.get(name) != present[name] for name in _SAME_MACHINE):
        return None
    pid, started = process.get("pid"), process.get("started")
    if type(pid) is not int or not 0 < pid < 2**31:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it exists, and belongs to another user
    stat = _stat(pid)
    if stat is None or started is None:
        return None  # a process has that number, but it may be another one
    state, start = stat
    # A dead process keeps its number until its parent has read its exit status.
    return start == started and state not in ("Z", "X")


def _stat(pid: int) -> tuple[str, int] | None:
    """Return the state and the start time of a process; None if ``/proc`` has no entry."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # Field 2, in parentheses, is a name that may contain any character; field 3 follows the last parenthesis.
    fields = text.rpartition(b")")[2].split()
    return fields[0].decode(), int(fields[19])


def _boot() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None


def _namespace() -> str | None:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None
