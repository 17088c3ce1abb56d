"""The program: ``registry``, also installed as ``pointsman``."""

import errno
import os
import signal
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import click

from pointsman.registry.errors import PointsmanError

from .output import no_color, printable

COMMANDS: Final = (
    "train",
    "list",
    "show",
    "history",
    "predict",
    "evaluate",
    "alias",
    "export",
    "runs",
    "tasks",
    "methods",
    "db",
    "demo",
)


class _Commands(click.Group):
    """Imports a command's module when it is asked for, so that none waits for another's imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"pointsman.cli.{cmd_name}").command
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("pointsman"), prog_name="pointsman", message="%(prog)s %(version)s")
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="The registry's directory. [default: $POINTSMAN_HOME, or the user's data directory]",
)
@click.pass_context
def cli(context: click.Context, home: Path | None) -> None:
    """Train adapters, remember every version and every metric point, and switch between them on one base.

    \b
    registry train sst2 --base minilm       train an adapter and register it
    registry list                           what there is
    registry predict sst2 "a gripping film" use it
    """
    context.obj = home
    if no_color():
        context.color = False


def main() -> None:
    """Run the program: exit 0 when done, 1 when refused or failed, 2 on wrong usage."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        status: Any = cli.main(standalone_mode=False, prog_name=Path(sys.argv[0]).name)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except PointsmanError as error:
        status = _failed(str(error))
    except (click.Abort, KeyboardInterrupt):
        status = _failed("interrupted")
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except OSError as error:
        if error.errno == errno.ENOSPC:
            status = _failed(f"no space is left on the disk{_of(error)}: free some and try again")
        else:
            status = _failed(f"{error.strerror or error}{_of(error)}")
    sys.exit(status if isinstance(status, int) else 0)


def _failed(message: str) -> int:
    click.echo(f"error: {printable(message)}", err=True)
    return 1


def _of(error: OSError) -> str:
    return "" if error.filename is None else f" ({error.filename})"


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
