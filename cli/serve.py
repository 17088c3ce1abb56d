"""registry serve: answers with every adapter of one base over HTTP."""

import errno
import logging
import socket
from typing import Final

import click

from pointsman.registry import Registry
from pointsman.registry.errors import Action, Advice, SettingsError
from pointsman.sdk.bases.places import place_of

from .options import base_option, device_option, precision_option
from .output import note
from .runtime import open_registry, quiet_libraries

_LOOPBACK: Final = ("127.0.0.1", "localhost")


@click.command("serve", short_help="Answer over HTTP with every adapter of one base.")
@base_option
@click.option("--host", type=click.Choice(_LOOPBACK), default="127.0.0.1", show_default=True, help="Address.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0 chooses a free one."
)
@click.option("--capacity", type=click.IntRange(min=1), metavar="N", help="Versions in memory at most. [default: all]")
@click.option(
    "--max-batch-tokens",
    type=click.IntRange(min=1),
    default=16384,
    show_default=True,
    metavar="N",
    help="Tokens of a batch at most, by an estimate.",
)
@click.option(
    "--max-queue",
    type=click.IntRange(min=1),
    default=2048,
    show_default=True,
    metavar="N",
    help="Inputs that wait at most; more are refused with 429.",
)
@click.option(
    "--refresh",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="Look refs up anew so often: aliases, and new versions. [default: never]",
)
@click.option("--preload", "preloaded", multiple=True, metavar="REF", help="Load REF before the first call.")
@precision_option
@device_option
@click.pass_context
def command(
    context: click.Context,
    base: str | None,
    host: str,
    port: int,
    capacity: int | None,
    max_batch_tokens: int,
    max_queue: int,
    refresh: float | None,
    preloaded: tuple[str, ...],
    precision: str,
    device: str,
) -> None:
    """Answer over HTTP with every adapter and composition of one base, in batches that mix them.

    Without --base it is the base that all versions have. It listens on this machine only. Ctrl-C and SIGTERM end it
    once what waits is answered.

    \b
    curl localhost:8000/v1/classify -H 'content-type: application/json' \\
      -d '{"model": "sst2", "input": ["a gripping film"]}'
    """
    registry = open_registry(context)
    place = base or _only_base(registry)
    try:
        import uvicorn

        from pointsman.sdk.serving.app import Server
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"serving needs the package {error.name}", advice=Advice(Action.INSTALL_EXTRA, {"extra": "serve"})
        ) from error
    listening = context.with_resource(_listening(host, port))  # before seconds go into the base
    quiet_libraries()
    from pointsman.sdk import Switcher

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    with Switcher(place, registry=registry, device=device, precision=precision, capacity=capacity) as switcher:
        for ref in preloaded:
            switcher.load(ref)
        server = Server(switcher, registry, max_batch_tokens=max_batch_tokens, max_queue=max_queue, hosts=_LOOPBACK)
        config = uvicorn.Config(server.app, log_config=None, access_log=False, timeout_graceful_shutdown=30)
        note(f"{switcher.base.name} in {precision} on http://{host}:{listening.getsockname()[1]}; Ctrl-C ends it")
        try:
            uvicorn.Server(config).run(sockets=[listening])
        except KeyboardInterrupt:
            return  # uvicorn has answered what waited, and raises the signal once more


def _only_base(registry: Registry) -> str:
    """Where the base is that all versions have.

    Raises:
        SettingsError: There is no version, or there are several bases.
    """
    newest = {
        version.base.fingerprint: version for version in registry.versions(newest_only=True, sort="created").items
    }
    if len(newest) != 1:
        names = ", ".join(sorted({version.base.name for version in newest.values()}))
        found = f"versions of several bases: {names}" if newest else "no version"
        raise SettingsError(
            f"a server has one base, and the registry has {found}; name the base",
            advice=Advice(Action.SET_ARGUMENTS, {"base": None}),
        )
    version = next(iter(newest.values()))
    return place_of(registry, version.base, None, of=version.ref)


def _listening(host: str, port: int) -> socket.socket:
    """A socket that is bound.

    Raises:
        SettingsError: Another program has the port.
    """
    try:
        return socket.create_server((host, port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise SettingsError(
            f"another program listens on port {port} of {host}; choose another port, or 0 for a free one",
            advice=Advice(Action.SET_ARGUMENTS, {"port": 0}),
        ) from error
