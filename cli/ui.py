"""registry ui: the registry in a browser."""

from pathlib import Path

import click

from pointsman.registry.errors import Action, Advice, SettingsError

from .listening import find_address, log_to_terminal, run_until_stopped
from .output import note
from .runtime import open_registry


@click.command("ui", short_help="Look at the registry in a browser.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address; one that other machines reach needs --token-file.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8001, show_default=True, help="Port; 0 chooses a free one."
)
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Answer only callers with a token; FILE has a line 'ROLE SHA256' for each.",
)
@click.option("--access-log", "logs_calls", is_flag=True, help="Print one line of JSON a call.")
@click.pass_context
def command(context: click.Context, host: str, port: int, token_file: Path | None, logs_calls: bool) -> None:
    """Show versions, metric charts, runs as they train, and the log of changes in a browser, until Ctrl-C or SIGTERM.

    It listens on this machine only, unless --host names another address. Without --token-file, everybody on this
    machine may look, and the printed URL has a token, valid until the end of the program, that may change aliases, tags
    and notes. 'registry serve --new-token' makes tokens for FILE.
    """
    try:
        from pointsman.sdk.dashboard.app import dashboard
        from pointsman.sdk.web import access, server  # noqa: F401
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"the dashboard needs the package {error.name}", advice=Advice(Action.INSTALL_EXTRA, {"extra": "serve"})
        ) from error
    address = find_address(host, port)
    address.check_guarded(
        token_file is not None,
        "name the tokens that may call with --token-file ('registry serve --new-token' makes one)",
    )
    fragment = ""
    if token_file:
        allowed = access.Access(tokens=access.read_tokens(token_file), anonymous=None)
    else:
        token, line = access.new_token(access.Role.ADMIN)
        fragment = f"#token={token}"
        tokens = access.Tokens({bytes.fromhex(line.split()[1]): access.Role.ADMIN})
        allowed = access.Access(tokens=tokens, anonymous=access.Role.READ)
    registry = open_registry(context)
    listening = context.with_resource(address.bind())
    log_to_terminal(calls=logs_calls)
    app = dashboard(registry, access=allowed, hosts=address.hosts)
    note("the dashboard of the registry; Ctrl-C ends it")
    note(f"{address.url(listening)}/{fragment}")
    run_until_stopped(app, listening)
