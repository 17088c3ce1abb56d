"""What a ref or a composition resolves to: its versions, and its routes with the task of each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pointsman.registry import Ref, Version
from pointsman.registry.errors import CompositionError

from ...core.composition import Composition, Fuse, Stack, refs, replace
from ...methods.fusion import fusion_members
from ...tasks import Task
from .routes import all_routes, head_refs, routes_for
from .rules import check_route

Lookup = Ref | Fuse
"""A part of a composition that is looked up as one: a ref, or a fusion, which has a fusion layer as its version."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Route:
    """A route through a composition, with what computes it: each route gives a row one answer."""

    composition: Composition
    """The blocks on the route: no ``Parallel``, no ``BatchSplit``."""
    task: Task
    """The task of the heads that answer."""
    heads: tuple[tuple[str, float], ...]
    """The refs of the versions whose heads answer, and each one's weight in the answer."""
    versions: tuple[Version, ...]
    """All versions that compute the answer, members before the fusion layers over them."""
    max_length: int
    """Tokens that a row is cut to."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ResolvedRef:
    """What a ref or a composition resolves to.

    Example:
        >>> resolved = resolve(parse("parallel(sst2, cola)"), registry, base)
        >>> resolved.composition
        Parallel('sst2@3', 'cola@1')
        >>> [route.task.name for route in resolved.routes_of_row(0, 1)]
        ['sst2', 'cola']
    """

    composition: Composition
    """Its refs are ``name@number``, and none of them is a version that is itself a composition."""
    versions: Mapping[str, Version]
    """The versions of its refs, and the members of fusion layers among them, by ref."""
    routes: Mapping[Composition, Route]
    """All routes that rows take, by their blocks: those of the first row first."""

    def routes_of_row(self, row: int, rows: int) -> tuple[Route, ...]:
        """The routes that a row takes, one for each answer that it gets.

        Args:
            row: The number of the row, from 0.
            rows: The number of all rows.

        Raises:
            CompositionError: The sizes of a ``BatchSplit`` do not add up to the rows.
        """
        return tuple(self.routes[blocks] for blocks in routes_for(self.composition, row, rows))


def lookups(composition: Composition) -> Iterator[Lookup]:
    """The parts of a composition that are looked up, in the order in which they are written."""
    if isinstance(composition, Ref | Fuse):
        yield composition
    else:
        for member in composition.members:
            yield from lookups(member)


def resolved_version(version: Version, members: Mapping[str, Version]) -> ResolvedRef:
    """What a single version resolves to.

    Args:
        version: A version that is no composition.
        members: The members by ref, if it is a fusion layer.
    """
    ref = Ref(version.name, version.number)
    versions = {**members, version.ref: version}
    return ResolvedRef(composition=ref, versions=versions, routes={ref: _route(ref, versions)})


def combine(composition: Composition, resolved: Mapping[Lookup, ResolvedRef]) -> ResolvedRef:
    """What a composition resolves to.

    Args:
        composition: A ref or a composition.
        resolved: What each of its ``lookups`` resolves to.

    Raises:
        CompositionError: A ref stands for a composition that may not stand there, adapters do not work together, or
            answers for tasks of different kinds would be averaged.
    """
    if isinstance(composition, Ref | Fuse):
        return resolved[composition]
    versions: dict[str, Version] = {}

    def resolve_part(part: Composition) -> Composition:
        match part:
            case Ref() | Fuse():
                versions.update(resolved[part].versions)
                return resolved[part].composition
            case Stack(members=members):  # the one block that holds fusions
                return Stack(*(resolve_part(member) for member in members))
        return replace(part, resolve_part)

    blocks = resolve_part(composition)
    routes = {route: _route(route, versions) for route in all_routes(blocks)}
    return ResolvedRef(composition=blocks, versions=versions, routes=routes)


def _route(blocks: Composition, versions: Mapping[str, Version]) -> Route:
    heads = tuple((str(ref), weight) for ref, weight in head_refs(blocks))
    needed: dict[str, Version] = {}
    for ref in refs(blocks):
        version = versions[str(ref)]
        for member in fusion_members(version):
            needed[str(member)] = versions[str(member)]
        needed[version.ref] = version
    return Route(
        composition=blocks,
        task=_answered_task(blocks, versions),
        heads=heads,
        versions=tuple(needed.values()),
        max_length=max(versions[ref].max_length for ref, _ in heads),
    )


def _answered_task(blocks: Composition, versions: Mapping[str, Version]) -> Task:
    """The task of the heads that answer on a route.

    Raises:
        CompositionError: Adapters do not work together, or answers for tasks of different kinds would be averaged.
    """
    check_route(blocks, versions)
    first, *others = (Task.from_dict(versions[str(ref)].task) for ref, _ in head_refs(blocks))
    for other in others:
        if (other.labels, len(other.text)) != (first.labels, len(first.text)):
            raise CompositionError(
                f"{blocks} cannot average the answers of its heads: {_describe(first)}, and {_describe(other)}"
            )
    return first


def _describe(task: Task) -> str:
    return f"'{task.name}' answers {task.labels_text} to {len(task.text)} text{'s' if task.is_pair else ''}"
