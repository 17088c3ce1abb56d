"""Resolved refs: the versions of a ref or a composition, and the routes that rows take through it.

A route is written as the composition without ``Parallel`` and ``BatchSplit``: the routes through
``stack(a, parallel(b, c))`` are ``stack(a, b)`` and ``stack(a, c)``.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pointsman.registry import Ref, Version
from pointsman.registry.errors import CompositionError

from ...core.composition import Average, BatchSplit, Composition, Fuse, Parallel, Stack, refs, replace
from ...methods.fusion import fusion_members
from ...tasks import Task
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

    Examples:
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
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When it was looked up, its last part if it is a composition: since then a Switcher answers with it."""

    @property
    def required_rows(self) -> int | None:
        """The number of rows that the sizes of a ``BatchSplit`` add up to; None: any number of rows."""
        return _required_rows(self.composition)

    def routes_of_row(self, row: int, rows: int) -> tuple[Route, ...]:
        """The routes that a row takes, one for each answer that it gets.

        Args:
            row: The number of the row, from 0.
            rows: The number of all rows.

        Raises:
            CompositionError: The sizes of a ``BatchSplit`` do not add up to the rows.
        """
        return tuple(self.routes[blocks] for blocks in _routes_for(self.composition, row, rows))


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
    routes: dict[Composition, Route] = {}
    for route in _all_routes(blocks):
        check_route(route, versions)
        routes[route] = _route(route, versions)
    since = max(resolved[lookup].since for lookup in lookups(composition))
    return ResolvedRef(composition=blocks, versions=versions, routes=routes, since=since)


def _route(blocks: Composition, versions: Mapping[str, Version]) -> Route:
    heads = tuple((str(ref), weight) for ref, weight in _head_refs(blocks))
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
        CompositionError: Answers for tasks of different kinds would be averaged.
    """
    first, *others = (Task.from_dict(versions[str(ref)].task) for ref, _ in _head_refs(blocks))
    for other in others:
        if (other.labels, len(other.text)) != (first.labels, len(first.text)):
            raise CompositionError(
                f"{blocks} cannot average the answers of its heads: {_describe(first)}, and {_describe(other)}"
            )
    return first


def _describe(task: Task) -> str:
    return f"'{task.name}' answers {task.labels_text} to {len(task.text)} text{'s' if task.is_pair else ''}"


def _routes_for(composition: Composition, row: int, rows: int) -> tuple[Composition, ...]:
    """The routes that one of the rows takes, one for each answer it gets.

    Args:
        composition: The composition.
        row: The number of the row, from 0.
        rows: The number of all rows.

    Raises:
        CompositionError: The sizes of a ``BatchSplit`` do not add up to the rows, or two ``Parallel`` in a stack have
            different numbers of members.
    """
    match composition:
        case Parallel(members=members):
            return tuple(itertools.chain.from_iterable(_routes_for(member, row, rows) for member in members))
        case BatchSplit(members=members, sizes=sizes):
            if sum(sizes) != rows:
                raise CompositionError(f"the sizes of {composition} add up to {sum(sizes)}, and there are {rows} rows")
            for member, size in zip(members, sizes, strict=True):
                if row < size:
                    return _routes_for(member, row, size)
                row -= size
        case Stack(members=members) | Average(members=members):
            return tuple(_block_of(composition, route) for route in _side_by_side(composition, members, row, rows))
    return (composition,)


def _required_rows(composition: Composition) -> int | None:
    """The number of rows that the sizes in a composition add up to; None: it takes any number."""
    match composition:
        case Ref():
            return None
        case BatchSplit(sizes=sizes):
            return sum(sizes)
    return next((rows for member in composition.members if (rows := _required_rows(member)) is not None), None)


def _all_routes(composition: Composition) -> list[Composition]:
    """The routes of all rows, those of the first row first.

    Raises:
        CompositionError: As for ``_routes_for``, for any of the rows.
    """
    rows = _required_rows(composition) or 1
    routes_by_row = [_routes_for(composition, row, rows) for row in sorted(set(_starts(composition, 0)))]
    return list(dict.fromkeys(itertools.chain.from_iterable(routes_by_row)))


def _head_refs(route: Composition) -> tuple[tuple[Ref, float], ...]:
    """The refs whose heads answer on a route, with their weights: of a stack the last, of an average all."""
    match route:
        case Ref():
            return ((route, 1.0),)
        case Stack(members=members):
            return _head_refs(members[-1])
        case Average(members=members, weights=weights):
            return tuple(
                (ref, weight * share)
                for member, weight in zip(members, weights, strict=True)
                for ref, share in _head_refs(member)
            )
    raise CompositionError(f"{route} has no head of its own")


def _starts(composition: Composition, start: int) -> Iterator[int]:
    """The rows at which the routes through a composition change, counted from ``start``."""
    yield start
    match composition:
        case BatchSplit(members=members, sizes=sizes):
            for member, size in zip(members, sizes, strict=True):
                yield from _starts(member, start)
                start += size
        case Stack(members=members) | Average(members=members) | Parallel(members=members):
            for member in members:
                yield from _starts(member, start)


def _block_of(block: Composition, members: tuple[Composition, ...]) -> Composition:
    """A stack or an average like ``block``, of the members on a route."""
    if isinstance(block, Average):
        return Average(*members, weights=block.weights)
    return Stack(*members) if len(members) > 1 else members[0]


def _side_by_side(
    block: Composition, members: tuple[Composition, ...], row: int, rows: int
) -> list[tuple[Composition, ...]]:
    """For each route through a block, the routes through its members: a member with a single one is on all of them."""
    routes = [_routes_for(member, row, rows) for member in members]
    widths = {len(route) for route in routes} - {1}
    if len(widths) > 1:
        numbers = " and ".join(map(str, sorted(widths)))
        raise CompositionError(f"parallel blocks in {block} must have the same number of members; found {numbers}")
    width = max(widths, default=1)
    return list(zip(*(route * width if len(route) == 1 else route for route in routes), strict=True))
