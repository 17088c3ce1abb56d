"""How a command serves: the address it listens on, what it logs, and until when."""

import errno
import ipaddress
import logging
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from pointsman.registry.errors import Action, Advice, SettingsError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
"""Names of this machine that no page elsewhere can have."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """An address of this machine.

    Args:
        host: As the user named it.
        family: IPv4 or IPv6.
        numbers: As sockets take it.
    """

    host: str
    family: socket.AddressFamily
    numbers: tuple[Any, ...]

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return ipaddress.ip_address(self.numbers[0]).is_loopback

    @property
    def hosts(self) -> list[str] | None:
        """The names under which browsers of this machine may call it; None: any, since other machines reach it."""
        return list(dict.fromkeys((*_LOOPBACK, self._name.lower()))) if self.is_local else None

    def check_guarded(self, is_guarded: bool, remedy: str) -> None:
        """Refuse an address that other machines reach, unless the user has said who may call.

        Raises:
            click.UsageError: The user has not.
        """
        if not (self.is_local or is_guarded):
            raise click.UsageError(f"other machines reach {self.host}: {remedy}")

    @property
    def _name(self) -> str:
        """As URLs and the Host header have it: of IPv6 in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host

    def url(self, listening: socket.socket) -> str:
        """The URL of a socket that is bound to it."""
        return f"http://{self._name}:{listening.getsockname()[1]}"

    def bind(self) -> socket.socket:
        """A socket that is bound.

        Raises:
            SettingsError: Another program has the port, this user may not have it, or the address is another machine's.
        """
        port = self.numbers[1]
        try:
            return socket.create_server(self.numbers, family=self.family)
        except OSError as error:
            reasons = {
                errno.EADDRINUSE: f"another program listens on port {port} of {self.host}; choose another, or 0 for a "
                "free one",
                errno.EACCES: f"this user may not listen on port {port}; choose one above 1023, or 0 for a free one",
                errno.EADDRNOTAVAIL: f"{self.host} is no address of this machine",
            }
            if error.errno not in reasons:
                raise
            changed = {"host": "127.0.0.1"} if error.errno == errno.EADDRNOTAVAIL else {"port": 0}
            raise SettingsError(reasons[error.errno], advice=Advice(Action.SET_ARGUMENTS, changed)) from error


def find_address(host: str, port: int) -> Address:
    """The address that a name stands for, of IPv4 if it has one.

    Raises:
        SettingsError: It stands for none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SettingsError(
            f"{host!a} is no address of this machine; 127.0.0.1 is reached from here only, 0.0.0.0 is every address",
            advice=Advice(Action.SET_ARGUMENTS, {"host": "127.0.0.1"}),
        ) from error
    family, _, _, _, numbers = min(found, key=lambda item: item[0] != socket.AF_INET)
    return Address(host=host, family=family, numbers=numbers)


@contextmanager
def needing_extra(what: str) -> Iterator[None]:
    """Where the packages of the extra ``serve`` are imported.

    Args:
        what: What needs them, for the message.

    Raises:
        SettingsError: One is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{what} needs the package {error.name}", advice=Advice(Action.INSTALL_EXTRA, {"extra": "serve"})
        ) from error


def log_to_terminal(*, calls: bool) -> None:
    """Print what servers log on standard error, and, if the user wants it, a line for each call on standard output."""
    from pointsman.sdk.web import access_log

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    access_log.send_to(sys.stdout if calls else None)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def run_until_stopped(app: "ASGIApp", listening: socket.socket) -> None:
    """Answer calls on a socket that is bound, until Ctrl-C or SIGTERM."""
    from pointsman.sdk.web.server import http_server

    try:
        http_server(app).run(sockets=[listening])
    except KeyboardInterrupt:
        return  # uvicorn has answered what waited, and raises the signal once more
