"""Whether the process that records a run is still alive, which only its own machine knows for certain."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

KEY: Final = "process"
"""Where a run's environment says, in its row, which process records it. It never leaves the database: to people it is
noise, and in a bundle it would mean nothing."""

_PLACE: Final = ("host", "boot", "namespace")
"""What has to agree for a process number to mean the same: a machine may have been started anew, a container may share
its host's name, and each has numbers of its own."""


def this_process() -> dict[str, Any]:
    """This process, as JSON.

    Returns:
        ``host``, the machine's name; ``boot`` and ``namespace``, Linux's names for this start of the machine and for
        the processes that see each other; ``pid``; and ``started``, in ticks since the machine was started
        (man7.org, proc_pid_stat(5), field 22). What a system does not tell is None.
    """
    stat = _stat(os.getpid())
    return {
        # The name of a machine need not be Unicode.
        "host": platform.node().encode(errors="replace").decode(),
        "boot": _boot(),
        "namespace": _namespace(),
        "pid": os.getpid(),
        "started": None if stat is None else stat[1],
    }


def alive(process: Any) -> bool | None:
    """Whether a process is alive, or None where that cannot be told from here.

    Args:
        process: What ``this_process`` said of it; anything else cannot be told.
    """
    # To signal no. 0 to a process is to ask after it; but on Windows it is Ctrl-C.
    if os.name != "posix" or not isinstance(process, Mapping):
        return None
    here = this_process()
    if any(process.get(name) != here[name] for name in _PLACE):
        return None
    pid, started = process.get("pid"), process.get("started")
    if type(pid) is not int or not 0 < pid < 2**31:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is another user's
    stat = _stat(pid)
    if stat is None or started is None:
        return None  # there is one of that number, and whether it is that one is not told
    state, began = stat
    # One that is dead keeps its number until its parent has asked how it ended.
    return began == started and state not in ("Z", "X")


def _stat(pid: int) -> tuple[str, int] | None:
    """A process's state and when it was started."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # Field 2, in brackets, is a name that may hold anything; field 3 comes after the last bracket.
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
