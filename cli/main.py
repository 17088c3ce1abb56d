"""The program: ``registry``, also installed as ``pointsman``."""

import errno
import os
import signal
import sys
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from typing import Any, Final

import click

from pointsman.registry.errors import PointsmanError

from .advice import HOME, hint
from .output import no_color, printable, replace_unknown_letters

SECTIONS: Final = {
    "Train and use": ("train", "tune", "glue", "predict", "serve", "evaluate", "submit", "tasks", "methods", "demo"),
    "Combine": ("compose", "fuse", "merge", "attention"),
    "Look": ("list", "show", "history", "compare", "runs", "log", "ui"),
    "Label": ("alias", "tag", "note"),
    "Move and remove": ("export", "import", "rm"),
    "Upkeep": ("verify", "gc", "backup", "doctor", "db"),
}
COMMANDS: Final = tuple(name for names in SECTIONS.values() for name in names)


class _Commands(click.Group):
    """Imports a command's module on first use, so that no command waits for the imports of another."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, names in SECTIONS.items():
            with formatter.section(section):
                commands = [(name, self.get_command(ctx, name)) for name in names]
                formatter.write_dl([(name, command.get_short_help_str(90)) for name, command in commands if command])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        command: click.Command = import_module(f"pointsman.cli.{module}").command
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="pointsman", prog_name="pointsman", message="%(prog)s %(version)s")
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
    registry list --where "task = sst2 and eval/accuracy > 0.9"
    registry predict sst2 "a gripping film" predict with it

    A REF is a version: sst2 (the latest), sst2@3, sst2@best, sst2@production (an alias).
    """
    context.obj = home
    HOME.set(home)
    if no_color():
        context.color = False


def main() -> None:
    """Run the program: exit 0 when done, 1 when refused or failed, 2 on wrong usage."""
    signal.signal(signal.SIGTERM, _interrupt)
    replace_unknown_letters()
    try:
        status: Any = cli.main(standalone_mode=False, prog_name=Path(sys.argv[0]).name)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except PointsmanError as error:
        status = _failed(str(error))
        if error.advice is not None:
            click.echo(hint(error.advice), err=True)
    except (click.Abort, KeyboardInterrupt) as error:
        status = _failed(_interrupted(error))
    except BrokenPipeError:
        # The reader closed the pipe. Without this, Python would report it again when it flushes at exit.
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


def _interrupted(error: BaseException) -> str:
    """What to say after Ctrl-C; an interrupted wait says in its error what was waited for."""
    cause = error if isinstance(error, KeyboardInterrupt) else error.__cause__  # click raises an error of its own
    return f"interrupted {cause}".strip() if isinstance(cause, KeyboardInterrupt) else "interrupted"


def _of(error: OSError) -> str:
    return "" if error.filename is None else f" ({error.filename})"


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
