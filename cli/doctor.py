"""registry doctor: versions, paths, and what is wrong."""

import click

from .options import json_option
from .output import emit_json, note
from .tables import pairs


@click.command("doctor", short_help="Versions, paths, and what is wrong.")
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Print versions, paths and counts, and what is wrong, also of a registry that cannot be opened; then exit 1."""
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
