"""registry doctor: versions, paths and problems."""

import click

from .options import json_option
from .output import emit_json, note
from .tables import pairs


@click.command("doctor", short_help="Versions, paths and problems.")
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Print versions, paths, counts and problems, also of a registry that cannot be opened; exit 1 on a problem."""
    from pointsman.registry.upkeep import diagnose

    diagnosis = diagnose(context.obj)
    if as_json:
        emit_json(diagnosis)
    else:
        pairs(diagnosis.facts.items())
        click.echo()
        for problem in diagnosis.problems:
            note(f"problem: {problem}")
        if not diagnosis.problems:
            note("nothing is wrong that a quick look finds; 'registry verify' reads every file")
    if diagnosis.problems:
        context.exit(1)
