"""registry compare: versions and runs side by side."""

import json
import re
from collections.abc import Sequence
from typing import Any

import click

from pointsman.registry import ComparedField
from pointsman.sdk.core.units import number

from .options import json_option
from .output import emit_csv, emit_json, note
from .runtime import open_registry
from .tables import table


@click.command("compare", short_help="Versions and runs side by side.")
@click.argument("refs", nargs=-1, required=True, metavar="REF REF...")
@click.option("--diff", is_flag=True, help="Only fields that differ.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@json_option
@click.pass_context
def command(context: click.Context, refs: tuple[str, ...], diff: bool, as_csv: bool, as_json: bool) -> None:
    """Compare versions, or runs as run:UID: configurations, settings, data and metrics side by side."""
    if len(refs) < 2:
        raise click.UsageError("name two or more versions or runs")
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    every = open_registry(context).compare(refs)
    rows = [row for row in every if row.differs or not diff]
    if as_json:
        emit_json([{"name": row.name, "values": dict(zip(refs, row.values, strict=True))} for row in rows])
    elif as_csv:
        emit_csv(["field", *refs], [(row.name, *map(_plain, row.values)) for row in rows])
    elif rows:
        table(["field", *refs], [(row.name, *map(_cell, row.values)) for row in rows])
        _explain(refs, every)
    else:
        note("nothing differs")


def _explain(refs: tuple[str, ...], rows: Sequence[ComparedField]) -> None:
    """Say which scores cannot be compared, since they are of other rows than the first one's."""
    fields = {row.name: row.values for row in rows}
    evaluations = fields.get("scored on.fingerprint")
    scores = [row.values for row in rows if row.name.startswith("metrics.eval/")]
    scored = [place for place in range(len(refs)) if any(values[place] is not None for values in scores)]
    if evaluations is None or not scored:
        return
    first = scored[0]
    others = [
        f"{refs[place]} ({'unknown' if evaluations[place] is None else fields['scored on.rows'][place]} rows)"
        for place in scored
        if evaluations[place] != evaluations[first]
    ]
    if others:
        note(f"scored on other rows than {refs[first]}: {', '.join(others)}; their scores cannot be compared with its")


def _plain(value: Any) -> Any:
    return json.dumps(value, sort_keys=True) if isinstance(value, list | dict | bool) else value


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return number(value)
    text = str(_plain(value))
    # A sha256 is shortened to its first digits, so that several fit side by side.
    return text[:12] if re.fullmatch(r"[0-9a-f]{64}", text) else text
