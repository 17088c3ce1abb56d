"""Refs, with @best among them: which version they mean, and what it was not compared with."""

from collections.abc import Iterable, Iterator, Sequence

from pointsman.registry import Best, Ref, Registry, Version
from pointsman.registry.errors import DamagedRowError
from pointsman.registry.refs import BEST
from pointsman.sdk.core.composition import Composition, parse, refs, replace
from pointsman.sdk.core.units import count

from .output import note


def version_of(registry: Registry, ref: str | Ref) -> Version:
    """The version that a ref means; of ``@best``, versions that were scored otherwise are named on standard error."""
    parsed = Ref.parse(ref)
    if parsed.selector != BEST:
        return registry.version(parsed)
    best = registry.best(parsed)
    if best.left_out:
        note(_left_out(registry, parsed, best))
    return best.version


def pinned(registry: Registry, composition: str) -> Composition:
    """A composition whose refs are the versions that they mean now, each looked up once, as by ``version_of``."""
    parsed = parse(composition)
    versions = {ref: version_of(registry, ref) for ref in refs(parsed)}
    return replace(parsed, lambda ref: Ref.parse(versions[ref].ref))


def scored_on(version: Version) -> str:
    """The rows that a version was scored on: ``872 rows``."""
    return "unknown rows" if version.evaluation is None else count(version.evaluation.rows, "row")


def scored_rows(versions: Sequence[Version]) -> dict[str, str]:
    """The number of rows that each version was scored on, by ref; with a mark where other rows are as many."""
    rows: dict[int, set[str]] = {}
    for version in versions:
        if version.evaluation is not None:
            rows.setdefault(version.evaluation.rows, set()).add(version.evaluation.fingerprint)

    def text(version: Version) -> str:
        evaluation = version.evaluation
        if evaluation is None:
            return "-" if version.primary_metric is None else "?"
        several = len(rows[evaluation.rows]) > 1
        return count(evaluation.rows) + (f" ({evaluation.fingerprint[:6]})" if several else "")

    return {version.ref: text(version) for version in versions}


def _left_out(registry: Registry, ref: Ref, best: Best) -> str:
    version, others = best.version, best.left_out
    named = ", ".join(f"{other.ref} ({difference})" for other, difference in _differences(registry, version, others))
    more = "" if len(others) == others.total else f" and {others.total - len(others):,} more"
    compared = "the only one" if best.compared == 1 else f"the best of {best.compared:,}"
    return (
        f"{ref} is {version.ref}, {compared} scored by {version.primary_metric} on its {scored_on(version)}; not "
        f"compared: {named}{more}; {ref.name}@best@N takes the rows of version N, {ref.name}@best@any takes all"
    )


def _differences(registry: Registry, version: Version, others: Iterable[Version]) -> Iterator[tuple[Version, str]]:
    """Each of the others, with what its score differs in."""
    source = _source(registry, version)
    for other in others:
        if other.primary_metric != version.primary_metric:
            yield other, str(other.primary_metric)
        elif (of_other := _source(registry, other)) not in (None, source):
            yield other, f"{scored_on(other)} of {of_other}"
        else:
            same_count = other.evaluation and version.evaluation and other.evaluation.rows == version.evaluation.rows
            yield other, f"other {scored_on(other)}" if same_count else scored_on(other)


def _source(registry: Registry, version: Version) -> str | None:
    """Where the rows of a version came from; None if that is unknown."""
    try:
        source = None if version.run is None else registry.run(version.run).data.get("source")
    except DamagedRowError:
        return None  # what is left out is a note only
    return source if isinstance(source, str) else None
