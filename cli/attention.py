"""registry attention: the attention weights of a fusion over its members, text by text."""

from typing import TYPE_CHECKING, Final

import click

from .options import base_option, device_option, json_option
from .output import emit_json, printable
from .runtime import open_registry, quiet_libraries
from .tables import table

if TYPE_CHECKING:
    from pointsman.sdk import FusionAttention

_BAR: Final = 12
"""Characters of the longest bar."""


@click.command("attention", short_help="The attention weights of a fusion over its members.")
@click.argument("ref")
@click.argument("texts", nargs=-1, required=True)
@base_option
@device_option
@json_option
@click.pass_context
def command(
    context: click.Context, ref: str, texts: tuple[str, ...], base: str | None, device: str, as_json: bool
) -> None:
    """Show the attention weights of fusion REF over its members, for each of TEXTS and layer by layer.

    A task of sentence pairs takes two TEXTS for each pair. A weight is the mean over the text's tokens; each row sums
    to 1. Layers count from 0; a layer with adapters at two places has two rows.
    """
    registry = open_registry(context)
    version = registry.version(ref)
    columns = len(version.task["text"])
    if len(texts) % columns:
        raise click.UsageError(f"this task takes sentence pairs: give two texts for each; found {len(texts)} texts")
    rows = [texts[start : start + columns] for start in range(0, len(texts), columns)]
    quiet_libraries()
    from pointsman.sdk import fusion_attention

    attention = fusion_attention(version.ref, rows, base=base, registry=registry, device=device)
    if as_json:
        emit_json([{"text": row, "places": _json(attention, index)} for index, row in enumerate(rows)])
        return
    for index, row in enumerate(rows):
        click.echo("\n" * (index > 0) + printable(" | ".join(row)).replace("\n", "\\n"))
        _print(attention, index)


def _json(attention: "FusionAttention", index: int) -> list[dict[str, object]]:
    return [
        {**place._asdict(), "members": dict(zip(attention.members, weights, strict=True))}
        for place, weights in zip(attention.places, attention.weights[index].tolist(), strict=True)
    ]


def _print(attention: "FusionAttention", index: int) -> None:
    values = attention.weights[index].tolist()
    mean = attention.weights[index].mean(dim=0).tolist()
    named = [*(f"{place.layer} {place.location}" for place in attention.places), "mean"]
    table(
        ["layer", *attention.members],
        [[name, *(_cell(weight) for weight in weights)] for name, weights in zip(named, [*values, mean], strict=True)],
    )


def _cell(weight: float) -> str:
    return f"{weight:.2f} {'█' * round(weight * _BAR)}"
