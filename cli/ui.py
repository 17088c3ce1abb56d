"""registry ui: the registry in a browser."""

from pathlib import Path

import click

from .listening import find_address, log_to_terminal, needing_extra, run_until_stopped
from .options import access_log_option, host_option, port_option, token_file_option
from .output import note
from .runtime import open_registry


@click.command("ui", short_help="Look at the registry in a browser.")
@host_option
@port_option(8001)
@token_file_option
@access_log_option
@click.pass_context
def command(context: click.Context, host: str, port: int, token_file: Path | None, logs_calls: bool) -> None:
    """Show versions, metric charts, runs as they train, and the log of changes in a browser, until Ctrl-C or SIGTERM.

    It listens on this machine only, unless --host names another address. Without --token-file, everybody on this
    machine may look, and the printed URL has a token, valid until the end of the program, that may change aliases, tags
    and notes. 'registry serve --new-token' makes tokens for FILE.
    """
    with needing_extra("the dashboard"):
        from pointsman.sdk.dashboard.app import dashboard
        from pointsman.sdk.web import access, server  # noqa: F401
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
        allowed = access.Access(tokens=access.Tokens.of_lines([line]), anonymous=access.Role.READ)
    registry = open_registry(context)
    listening = context.with_resource(address.bind())
    log_to_terminal(calls=logs_calls)
    app = dashboard(registry, access=allowed, hosts=address.hosts)
    note("the dashboard of the registry; Ctrl-C ends it")
    note(f"{address.url(listening)}/{fragment}")
    run_until_stopped(app, listening)
