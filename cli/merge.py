"""registry merge: make one version of several."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from pointsman.registry import Version
from pointsman.registry.refs import check_name
from pointsman.sdk.combining.merging.recipe import HOWS

from .options import base_option, device_option, json_option, own_rows_options
from .output import emit_json, note, version_json
from .runtime import open_registry, quiet_libraries
from .summaries import score_rows, size_rows
from .tables import pairs


@click.command("merge", short_help="Make one version of several.")
@click.argument("name")
@click.option("--of", "members", required=True, metavar="REF,REF,...", help="The versions to merge.")
@click.option("--how", type=click.Choice(HOWS), default="linear", show_default=True, help="See below.")
@click.option("--weights", metavar="W,W,...", help="One for each version. [default: the same for all]")
@click.option("--density", type=float, help="Of ties and dare: the share that is kept. [default: 0.2, 0.5]")
@click.option("--scale", type=float, help="Of ties: what the outcome is multiplied by. [default: 1]")
@click.option("--rank", type=int, help="Of svd: the rank of the outcome. [default: the first one's]")
@click.option("--seed", type=int, help="Of dare: what is dropped depends on it. [default: 0]")
@click.option("--head-of", metavar="REF", help="Whose head it gets. [default: the mean of all, if of one task]")
@click.option("--search", is_flag=True, help="Find the weights that score best on the task's validation rows.")
@click.option("--data", help="To search on: a directory with GLUE's data, 'sample', or a file of your own.")
@own_rows_options
@click.option("--max-rows", type=click.IntRange(min=1), help="Search on the first so many rows only.")
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
    linear      the weighted mean; weights add up to 1
    arithmetic  a sum; a weight below 0 takes a version away (negation); both
                factors of a LoRA are weighed, so -0.5 takes a quarter of it away
    svd         LoRA only: the weighted sum of the updates, cut to a rank
    ties        trim to --density, elect signs, the mean of those that agree
    dare        drop all but --density at random, scale up, the weighted mean

    \b
    registry merge both --of reviews@2,tweets --weights 0.7,0.3
    registry merge calm --of toxic --how arithmetic --weights -1
    registry merge wide --of a,b --how svd --rank 16
    registry merge both --of a,b,c --search --data glue/
    """
    check_name(name)
    shares = None if weights is None else _numbers(weights)
    registry = open_registry(context)
    registry.check_writable()  # before the seconds that the libraries take to load
    refs = [registry.version(ref.strip()).ref for ref in members.split(",")]
    if search:
        note("searching the weights …")
    quiet_libraries()
    from pointsman.sdk.combining.merging.merge import merge

    given = {key: value for key, value in options.items() if value not in (None, ())}
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
