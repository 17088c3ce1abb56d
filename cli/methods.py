"""registry methods: the adapter methods and their fields."""

import json

import click

from .options import json_option
from .output import emit_json
from .tables import pairs, table


@click.command("methods", short_help="Adapter methods and their fields.")
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List adapter methods, or the fields of one, which 'registry train --set FIELD=VALUE' sets.

    Several methods make a union: lora+seq_bn. There 'r=4' sets r in every part that has it, and 'lora.r=4' in lora
    alone.
    """
    from pointsman.sdk.methods import FORMER_NAMES, METHODS, configure, find_method, part_names

    if name is None:
        former = {now: then for then, now in FORMER_NAMES.items()}
        if as_json:
            emit_json(list(METHODS.values()))
            return
        table(
            ["method", "formerly", "what it is", "paper"],
            [(m.name, former.get(m.name, "-"), m.summary, m.paper) for m in METHODS.values()],
        )
        return
    method = find_method(name)
    config = configure(method.name)
    if as_json:
        emit_json({"name": method.name, "summary": method.summary, "paper": method.paper, "config": config})
        return
    click.echo(f"{method.name}: {method.summary} ({method.paper})\n")
    names = part_names(method.name)
    for part_name, part in zip(names, config.get("configs", [config]), strict=True):
        if len(names) > 1:
            click.echo(f"{part_name}:")
        pairs([(field, json.dumps(value)) for field, value in part.items()])
        click.echo()
