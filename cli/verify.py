"""registry verify: check files, rows and the database, and repair files."""

import click

from pointsman.sdk.core.units import count, size

from .advice import hint, render
from .options import json_option
from .output import emit_json, note
from .runtime import open_registry
from .tables import table


@click.command("verify", short_help="Check every sha256 and every row; --repair restores files.")
@click.option("--repair", is_flag=True, help="Restore damaged and missing files from --from.")
@click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="PLACE",
    help="A backup, another home, a bundle, or an object store's directory or URL; may be repeated.",
)
@json_option
@click.pass_context
def command(context: click.Context, repair: bool, sources: tuple[str, ...], as_json: bool) -> None:
    """Check every sha256, every row against the others, and the database itself; exit 1 if there is a problem."""
    if repair != bool(sources):
        raise click.UsageError("--repair and --from PLACE go together")
    registry = open_registry(context)
    from pointsman.registry.upkeep import repair as repair_files
    from pointsman.registry.upkeep import verify

    report = verify(registry)
    repaired: tuple[str, ...] = ()
    problems = report.problems
    if repair:
        outcome = repair_files(registry, problems, sources)
        repaired, problems = outcome.repaired, outcome.remaining
    if as_json:
        emit_json(
            {
                "versions": report.versions,
                "files": report.files,
                "size": report.size,
                "repaired": repaired,
                "problems": [
                    {
                        "subject": problem.subject,
                        "text": problem.text,
                        "advice": None if problem.advice is None else render(problem.advice),
                    }
                    for problem in problems
                ],
                "notes": report.notes,
            }
        )
    else:
        for digest in repaired:
            note(f"repaired: {digest}")
        if problems:
            table(["subject", "problem"], [(problem.subject, problem.text) for problem in problems])
        for advice in dict.fromkeys(hint(problem.advice) for problem in problems if problem.advice is not None):
            note(advice)
        for text in report.notes:
            note(text)
        summary = count(len(problems), "problem") if problems else "no problems"
        note(f"{count(report.versions, 'version')}, {count(report.files, 'file')} ({size(report.size)}): {summary}")
    if problems:
        context.exit(1)
