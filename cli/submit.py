"""registry submit: predictions on GLUE's test rows in the leaderboard's format."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pointsman.registry import Base, Registry, Version, quote
from pointsman.registry.errors import AdapterNotFoundError, BaseMismatchError
from pointsman.sdk.bases.places import place_of
from pointsman.sdk.core.plain import plain
from pointsman.sdk.core.units import count

from .best import version_of
from .options import base_option, device_option, json_option, precision_option
from .output import emit_json, note
from .progress import is_live
from .runtime import open_registry, quiet_libraries
from .tables import table

if TYPE_CHECKING:
    from pointsman.sdk.benchmark.submission import Submission


@click.command("submit", short_help="Write the zip of predictions for GLUE's leaderboard.")
@click.argument("refs", nargs=-1, metavar="[REF]...")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE.zip", help="Zip file to write.")
@click.option("--data", help="Directory with GLUE's data, or 'sample'. [default: the hub]")
@click.option("--fill", is_flag=True, help="Write class 0 for every row of a task without a version.")
@click.option("--force", is_flag=True, help="Overwrite FILE.zip.")
@base_option
@precision_option
@device_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    refs: tuple[str, ...],
    out: Path,
    data: str | None,
    fill: bool,
    force: bool,
    base: str | None,
    precision: str,
    device: str,
    as_json: bool,
) -> None:
    """Predict GLUE's test rows with versions REF, one for each task, and write the zip that gluebenchmark.com takes.

    Without a REF, TASK@best of every adapter that has a task's name and was trained on it. The version of mnli also
    predicts the diagnostic rows (ax), if the data have them.

    The leaderboard only takes complete submissions. Missing tasks are reported; --fill writes class 0 (stsb: 0) for
    every row of theirs.
    """
    registry = open_registry(context)
    versions = [version_of(registry, ref) for ref in refs] or _best(registry, synthetic=data == "sample")
    _check_one_base(versions)
    quiet_libraries()
    from pointsman.sdk import Switcher, submit

    source = place_of(registry, versions[0].base, base, of=versions[0].ref)
    with (
        Switcher(source, registry=registry, device=device, precision=precision) as switcher,
        _progress() as report,
    ):
        chosen = [version.ref for version in versions]
        made = submit(switcher, chosen, path=out, data=data, fill=fill, force=force, report=report)
    if as_json:
        emit_json({**plain(made), "path": str(made.path)})
    else:
        table(
            ["file", "rows", "ref"],
            [(file.name, count(file.rows), file.ref or "(filled)") for file in made.files],
            right=("rows",),
        )
    _explain(made, [version.ref for version in versions if _learned_synthetic(registry, version)])


def _best(registry: Registry, *, synthetic: bool) -> list[Version]:
    """The best version of each adapter that has the name of a GLUE task and was trained on it.

    Args:
        registry: The registry.
        synthetic: Whether one that learned synthetic rows may be preferred to one that learned GLUE's.
    """
    from pointsman.sdk.tasks import GLUE

    names = [name for name, task in GLUE.items() if task.trainable]
    versions = []
    for name in names:
        try:
            versions.append(version_of(registry, _best_ref(registry, name, synthetic=synthetic)))
        except AdapterNotFoundError:
            continue
    if chosen := [version for version in versions if version.task["name"] == version.name]:
        return chosen
    raise AdapterNotFoundError(
        f"no adapter has the name of the GLUE task that it was trained on ({', '.join(names)}): name the versions"
    )


def _best_ref(registry: Registry, name: str, *, synthetic: bool) -> str:
    """The best as the newest version is scored, or as the newest that learned GLUE's rows."""
    from pointsman.sdk.tasks import SYNTHETIC

    if not synthetic and _learned_synthetic(registry, registry.version(f"{name}@best")):
        learned = {run.version for run in registry.runs(f"data.source = {quote(SYNTHETIC)}")}
        for version in registry.versions(name=name, sort="created"):
            if version.score is not None and version.ref not in learned:
                return f"{name}@best@{version.number}"
    return f"{name}@best"


def _check_one_base(versions: Sequence[Version]) -> None:
    bases: list[Base] = []
    for version in versions:
        if not any(version.base.is_same(base) for base in bases):
            bases.append(version.base)
    if len(bases) > 1:
        each = "; ".join(
            f"'{base.name}' ({base.fingerprint[:12]}): "
            + ", ".join(version.ref for version in versions if version.base.is_same(base))
            for base in bases
        )
        raise BaseMismatchError(f"a submission is predicted on one base, and these versions are of several: {each}")


def _learned_synthetic(registry: Registry, version: Version) -> bool:
    from pointsman.sdk.tasks import SYNTHETIC

    return version.run is not None and registry.run(version.run).data.get("source") == SYNTHETIC


def _explain(made: "Submission", learned_synthetic: Sequence[str]) -> None:
    """Print what was written, and what the leaderboard will refuse."""
    from pointsman.sdk.tasks import SYNTHETIC

    note(f"{made.path} written, from {made.source}")
    if made.source == SYNTHETIC:
        note("these rows are synthetic: the predictions say nothing about GLUE")
    elif learned_synthetic:
        note(f"trained on synthetic rows, not on GLUE's: {', '.join(learned_synthetic)}")
    if made.misfits:
        rows = ", ".join(f"{file.name} {count(file.rows)} of {count(file.official_rows)}" for file in made.misfits)
        note(f"the leaderboard will refuse it for its numbers of rows: {rows}")
    predicted = {file.name for file in made.files if file.ref is not None}
    if "MNLI-m.tsv" in predicted and "AX.tsv" not in predicted:
        note("AX.tsv was not predicted: the data have no diagnostic rows (ax/ or diagnostic/)")
    if made.missing:
        note(f"the leaderboard only takes complete submissions; missing: {', '.join(made.missing)} (see --fill)")
    if made.filled:
        note(f"filled with each task's class 0 (STS-B: 0), not predicted: {', '.join(made.filled)}")


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, on a terminal only."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not is_live(console), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
