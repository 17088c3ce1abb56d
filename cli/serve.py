"""registry serve: answers with every adapter of one base over HTTP."""

from pathlib import Path

import click

from pointsman.registry import Registry
from pointsman.registry.errors import Action, Advice, SettingsError
from pointsman.sdk.bases.places import place_of

from .listening import find_address, log_to_terminal, needing_extra, run_until_stopped
from .options import (
    access_log_option,
    base_option,
    device_option,
    host_option,
    port_option,
    precision_option,
    token_file_option,
)
from .output import note
from .runtime import open_registry, quiet_libraries


@click.command("serve", short_help="Answer over HTTP with every adapter of one base.")
@base_option
@host_option
@port_option(8000)
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
    "--max-wait-ms",
    type=click.FloatRange(0, 1000),
    default=5,
    show_default=True,
    metavar="MS",
    help="Milliseconds at most that a batch waits for the callers of the last one to call again.",
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
@click.option(
    "--record-every",
    "record_seconds",
    type=click.IntRange(0, 86_400),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="Write what each version answered into the registry so often; 0: never.",
)
@click.option("--preload", "preloaded", multiple=True, metavar="REF", help="Load REF before the first call.")
@token_file_option
@click.option("--no-tokens", is_flag=True, help="Let whoever reaches --host read and predict.")
@click.option(
    "--new-token",
    type=click.Choice(["read", "predict", "admin"]),
    metavar="ROLE",
    help="Make a token for read, predict or admin, print its line for FILE, and end.",
)
@access_log_option
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
    max_wait_ms: float,
    max_queue: int,
    refresh: float | None,
    record_seconds: int,
    preloaded: tuple[str, ...],
    token_file: Path | None,
    no_tokens: bool,
    new_token: str | None,
    logs_calls: bool,
    precision: str,
    device: str,
) -> None:
    """Answer over HTTP with every adapter and composition of one base, in batches that mix them.

    Without --base it is the base that all versions have. It listens on this machine only, unless --host names another
    address. Ctrl-C and SIGTERM end it once what waits is answered.

    \b
    curl localhost:8000/v1/classify -H 'content-type: application/json' \\
      -d '{"model": "sst2", "input": ["a gripping film"]}'
    """
    if token_file and no_tokens:
        raise click.UsageError("--token-file and --no-tokens exclude each other")
    with needing_extra("serving"):
        import prometheus_client  # noqa: F401 -- the server's import of it is too late to ask for it

        from pointsman.sdk.web import access, server  # noqa: F401
    if new_token:
        token, line = access.new_token(access.Role[new_token.upper()])
        note(f"the token, which is shown this once: {token}")
        click.echo(line)
        return
    address = find_address(host, port)
    address.check_guarded(
        token_file is not None or no_tokens,
        "name the tokens that may call with --token-file (--new-token makes one), or let whoever reaches it read and "
        "predict with --no-tokens",
    )
    tokens = access.read_tokens(token_file) if token_file else None
    registry = open_registry(context)
    place = base or _only_base(registry)
    listening = context.with_resource(address.bind())  # before seconds go into the base
    quiet_libraries()
    from pointsman.sdk import Switcher
    from pointsman.sdk.serving.app import Server

    log_to_terminal(calls=logs_calls)
    with Switcher(place, registry=registry, device=device, precision=precision, capacity=capacity) as switcher:
        for ref in preloaded:
            switcher.load(ref)
        answering = Server(
            switcher,
            registry,
            max_batch_tokens=max_batch_tokens,
            max_wait=max_wait_ms / 1000,
            max_queue=max_queue,
            hosts=address.hosts,
            tokens=tokens,
            refresh_seconds=refresh,
            record_seconds=record_seconds or None,
        )
        note(f"{switcher.base.name} in {precision} on {address.url(listening)}; Ctrl-C ends it")
        run_until_stopped(answering.app, listening)


def _only_base(registry: Registry) -> str:
    """Where the base is that all versions have.

    Raises:
        SettingsError: There is no version, or there are several bases.
    """
    bases = registry.bases()
    if not all(base.is_same(bases[-1]) for base in bases) or not bases:
        names = ", ".join(sorted({base.name for base in bases}))
        found = f"versions of several bases: {names}" if bases else "no version"
        raise SettingsError(
            f"a server has one base, and the registry has {found}; name the base",
            advice=Advice(Action.SET_ARGUMENTS, {"base": None}),
        )
    return place_of(registry, bases[-1], None, of="all versions")
