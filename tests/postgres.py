"""A PostgreSQL server of the tests' own, on a port of its own, gone when they end."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


def program(name: str) -> str | None:
    """Where one of PostgreSQL's programs is: Debian keeps them off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def memory() -> Path | None:
    """A directory in memory, where a database is copied in an eighth of the time; None where it is too small."""
    found = Path("/dev/shm")
    return found if found.is_dir() and shutil.disk_usage(found).free > 2**31 else None


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    url: str
    """Of its database."""
    port: int
    """On 127.0.0.1."""
    restart: Callable[[str], None]
    """Restart it: ``fast`` ends all transactions first, ``immediate`` ends its processes as a crash does."""


@contextmanager
def server() -> Iterator[Server]:
    """Start a server; skip where PostgreSQL is not installed, but not in CI."""
    initdb, control = program("initdb"), program("pg_ctl")
    if initdb is None or control is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed: apt-get install postgresql")
        pytest.skip("PostgreSQL is not installed here: apt-get install postgresql")
    # The server refuses to run as root; and its socket's path may not be long, as pytest's directories are.
    directory = Path(tempfile.mkdtemp(prefix="pg-", dir=memory()))
    user = "postgres" if os.geteuid() == 0 else None
    if user is not None:
        found = pwd.getpwnam(user)
        os.chown(directory, found.pw_uid, found.pw_gid)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = str(directory / "data")

    def call(*command: str) -> None:
        subprocess.run(command, check=True, user=user, cwd=directory, stdout=subprocess.DEVNULL, timeout=60)

    call(initdb, "-D", data, "-A", "trust", "-U", "pointsman", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
    options = f"-p {port} -k {directory} -c listen_addresses=127.0.0.1 -c fsync=off -c full_page_writes=off"
    start = (control, "-D", data, "-w", "-l", str(directory / "log"), "-o", options)
    call(*start, "start")
    try:
        yield Server(
            url=f"postgresql://pointsman@127.0.0.1:{port}/postgres",
            port=port,
            restart=lambda mode: call(*start, "-m", mode, "restart"),
        )
    finally:
        call(control, "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(directory)
