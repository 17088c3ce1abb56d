"""registry doctor: software versions, paths, counts and problems."""

import click

from .advice import hint, render
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
        advised = {**{problem.text: problem.advice for problem in diagnosis.problems}, **diagnosis.advice}
        emit_json(
            {
                "facts": diagnosis.facts,
                "problems": [problem.text for problem in diagnosis.problems],
                "advice": {subject: render(advice) for subject, advice in advised.items() if advice is not None},
            }
        )
    else:
        pairs(diagnosis.facts.items())
        click.echo()
        for problem in diagnosis.problems:
            note(f"problem: {problem.text}")
            if problem.advice is not None:
                note(hint(problem.advice))
        for fact, advice in diagnosis.advice.items():
            note(f"{fact}: {hint(advice)}")
        if not diagnosis.problems:
            note("all checks passed; 'registry verify' also reads every file")
    if diagnosis.problems:
        context.exit(1)
