"""Routes through a composition: a row takes one for each answer that it gets.

A route is written as the composition without ``Parallel`` and ``BatchSplit``: of ``stack(a, parallel(b, c))`` there are
two, ``stack(a, b)`` and ``stack(a, c)``.
"""

import itertools
from collections.abc import Iterator

from pointsman.registry import Ref
from pointsman.registry.errors import CompositionError

from ...core.composition import Average, BatchSplit, Composition, Parallel, Stack


def routes_for(composition: Composition, row: int, rows: int) -> tuple[Composition, ...]:
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
            return tuple(itertools.chain.from_iterable(routes_for(member, row, rows) for member in members))
        case BatchSplit(members=members, sizes=sizes):
            if sum(sizes) != rows:
                raise CompositionError(f"the sizes of {composition} add up to {sum(sizes)}, and there are {rows} rows")
            for member, size in zip(members, sizes, strict=True):
                if row < size:
                    return routes_for(member, row, size)
                row -= size
        case Stack(members=members) | Average(members=members):
            return tuple(_block_of(composition, route) for route in _side_by_side(composition, members, row, rows))
    return (composition,)


def required_rows(composition: Composition) -> int | None:
    """The number of rows that the sizes in a composition add up to; None: it takes any number."""
    match composition:
        case Ref():
            return None
        case BatchSplit(sizes=sizes):
            return sum(sizes)
    return next((rows for member in composition.members if (rows := required_rows(member)) is not None), None)


def all_routes(composition: Composition) -> list[Composition]:
    """The routes of all rows, those of the first row first.

    Raises:
        CompositionError: As for ``routes_for``, for any of the rows.
    """
    rows = required_rows(composition) or 1
    routes_by_row = [routes_for(composition, row, rows) for row in sorted(set(_starts(composition, 0)))]
    return list(dict.fromkeys(itertools.chain.from_iterable(routes_by_row)))


def head_refs(route: Composition) -> tuple[tuple[Ref, float], ...]:
    """The refs whose heads answer on a route, with their weights: of a stack the last, of an average all."""
    match route:
        case Ref():
            return ((route, 1.0),)
        case Stack(members=members):
            return head_refs(members[-1])
        case Average(members=members, weights=weights):
            return tuple(
                (ref, weight * share)
                for member, weight in zip(members, weights, strict=True)
                for ref, share in head_refs(member)
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
    routes = [routes_for(member, row, rows) for member in members]
    widths = {len(route) for route in routes} - {1}
    if len(widths) > 1:
        numbers = " and ".join(map(str, sorted(widths)))
        raise CompositionError(f"parallel blocks in {block} must have the same number of members; found {numbers}")
    width = max(widths, default=1)
    return list(zip(*(route * width if len(route) == 1 else route for route in routes), strict=True))
