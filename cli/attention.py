"""registry attention: which of its members a fusion listens to, text by text."""

from typing import TYPE_CHECKING, Final

import click

from .options import base_option, device_option, json_option
from .output import emit_json, printable
from .runtime import open_registry, quiet_libraries
from .tables import table

if TYPE_CHECKING:
    from pointsman.sdk import FusionAttention

_BAR: Final = 12
"""Characters of a bar as long as can be."""


@click.command("attention", short_help="Which members a fusion listens to.")
@click.argument("ref")
@click.argument("texts", nargs=-1, required=True)
@base_option
@device_option
@json_option
@click.pass_context
def command(
    context: click.Context, ref: str, texts: tuple[str, ...], base: str | None, device: str, as_json: bool
) -> None:
    """For each of TEXTS, show how much fusion REF listens to each of its members, layer by layer.

    For a task of pairs, texts come two by two. Shown is the mean over a text's tokens; the members of a row add up
    to 1. Layers are counted from 0; where members are at two places of a layer, each has its row.
    """
    registry = open_registry(context)
    version = registry.version(ref)
    columns = len(version.task["text"])
    if len(texts) % columns:
        raise click.UsageError(f"this task takes pairs, so texts come two by two; found {len(texts)}")
    rows = [texts[start : start + columns] for start in range(0, len(texts), columns)]
    quiet_libraries()
    from pointsman.sdk import fusion_attention

    found = fusion_attention(version.ref, rows, base=base, registry=registry, device=device)
    if as_json:
        emit_json([{"text": row, "places": _json(found, index)} for index, row in enumerate(rows)])
        return
    for index, row in enumerate(rows):
        click.echo("\n" * (index > 0) + printable(" | ".join(row)).replace("\n", "\\n"))
        _print(found, index)


def _json(found: "FusionAttention", index: int) -> list[dict[str, object]]:
    return [
        {**place._asdict(), "members": dict(zip(found.members, weights, strict=True))}
        for place, weights in zip(found.places, found.weights[index].tolist(), strict=True)
    ]


def _print(found: "FusionAttention", index: int) -> None:
    values = found.weights[index].tolist()
    mean = found.weights[index].mean(dim=0).tolist()
    named = [*(f"{place.layer} {place.location}" for place in found.places), "mean"]
    table(
        ["layer", *found.members],
        [[name, *(_cell(weight) for weight in weights)] for name, weights in zip(named, [*values, mean], strict=True)],
    )


def _cell(weight: float) -> str:
    return f"{weight:.2f} {'█' * round(weight * _BAR)}"
