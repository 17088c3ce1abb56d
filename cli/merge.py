"""registry merge: merge several versions into one."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from pointsman.registry import Version
from pointsman.registry.refs import check_name
from pointsman.sdk.combining.merging.recipe import HOWS

from .best import version_of
from .options import base_option, device_option, json_option, own_rows_options, with_reading
from .output import emit_json, note, version_json
from .runtime import open_registry, quiet_libraries
from .summaries import score_rows, size_rows
from .tables import pairs


@click.command("merge", short_help="Merge several versions into one.")
@click.argument("name")
@click.option("--of", "members", required=True, metavar="REF,REF,...", help="Versions to merge.")
@click.option(
    "--how", type=click.Choice(HOWS), default="linear", show_default=True, help="Rule of the merge, see below."
)
@click.option("--weights", metavar="W,W,...", help="Weights, one for each version. [default: equal]")
@click.option("--density", type=float, help="ties, dare: share of entries that is kept. [default: 0.2, 0.5]")
@click.option("--scale", type=float, help="ties: factor of the merged update. [default: 1]")
@click.option("--rank", type=int, help="svd: rank of the result. [default: that of the first version]")
@click.option("--seed", type=int, help="dare: seed of the dropped entries. [default: 0]")
@click.option("--head-of", metavar="REF", help="Version whose head is used. [default: the mean of all, if of one task]")
@click.option("--search", is_flag=True, help="Search the weights that score best on the task's validation rows.")
@click.option("--data", help="Data for --search: directory with GLUE's data, 'sample', or your own file.")
@own_rows_options
@click.option("--max-rows", type=click.IntRange(min=1), metavar="N", help="Search on at most N rows, the first ones.")
@base_option
@device_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    name: str,
    members: str,
    weights: str | None,
    search: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Merge versions of one base, method and configuration into the next version of adapter NAME.

    \b
    linear      weighted mean; the weights must sum to 1
    arithmetic  weighted sum; a negative weight subtracts that adapter's update
                (task arithmetic); both factors of a LoRA are scaled, so -0.5
                subtracts a quarter of its update
    svd         LoRA only: weighted sum of the updates, truncated to --rank
    ties        trim to --density, elect signs, mean of the entries that agree
    dare        keep a random --density, rescale, weighted mean

    \b
    registry merge both --of reviews@2,tweets --weights 0.7,0.3
    registry merge calm --of toxic --how arithmetic --weights -1
    registry merge wide --of a,b --how svd --rank 16
    registry merge both --of a,b,c --search --data glue/
    """
    check_name(name)
    shares = None if weights is None else _numbers(weights)
    registry = open_registry(context)
    registry.check_writable()  # before the libraries load, which takes seconds
    refs = [version_of(registry, ref.strip()).ref for ref in members.split(",")]
    if search:
        note("searching the weights …")
    quiet_libraries()
    from pointsman.sdk.combining.merging.merge import merge

    given = with_reading({key: value for key, value in options.items() if value not in (None, ())})
    version = merge(name, refs, registry=registry, weights=shares, search=search, **given)
    if as_json:
        emit_json(version_json(version))
        return
    _print(version)


def _print(version: Version) -> None:
    weights = version.tags["merge.weights"].split(",")
    made_of = ", ".join(f"{float(weight):.4g} {ref}" for weight, ref in zip(weights, version.parents, strict=True))
    pairs(
        [
            ("registered", version.ref),
            ("made of", made_of),
            ("how", ", ".join([version.tags["merge"], *_settings(version.tags)])),
            ("head", version.tags["merge.head"]),
            *score_rows(version),
            *size_rows(version),
        ]
    )


def _settings(tags: Mapping[str, str]) -> Iterator[str]:
    for key, value in tags.items():
        field = key.removeprefix("merge.")
        if field not in (key, "weights", "head"):
            yield f"{field} {value}"


def _numbers(text: str) -> list[float]:
    numbers = []
    for word in text.split(","):
        try:
            numbers.append(float(word))
        except ValueError:
            raise click.UsageError(f"--weights takes numbers, as 0.7,0.3; found {word.strip()!a}") from None
    return numbers
