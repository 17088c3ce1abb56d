"""Ways through a composition: a row takes one for each answer that it gets."""

import itertools
from collections.abc import Iterator

from pointsman.registry import Ref
from pointsman.registry.errors import CompositionError

from ...core.composition import Average, BatchSplit, Composition, Parallel, Stack


def routes_for(composition: Composition, row: int, rows: int) -> tuple[Composition, ...]:
    """The ways through a composition that one of the rows takes, one for each answer it gets.

    What is returned has no ``Parallel`` and no ``BatchSplit`` in it any more.

    Args:
        composition: The composition.
        row: Which row.
        rows: How many there are.

    Raises:
        CompositionError: Sizes of a ``BatchSplit`` do not add up to the rows, or two ``Parallel`` in a stack differ in
            their number of members.
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
            return tuple(_joined(composition, way) for way in _side_by_side(composition, members, row, rows))
    return (composition,)


def required_rows(composition: Composition) -> int | None:
    """The number of rows that a composition is for, by the sizes in it; None: any."""
    match composition:
        case Ref():
            return None
        case BatchSplit(sizes=sizes):
            return sum(sizes)
    return next((rows for member in composition.members if (rows := required_rows(member)) is not None), None)


def all_routes(composition: Composition) -> list[Composition]:
    """All ways that rows take, those of the first row first.

    Raises:
        CompositionError: As ``ways_of``, for any of the rows.
    """
    rows = required_rows(composition) or 1
    of_rows = [routes_for(composition, row, rows) for row in sorted(set(_firsts(composition, 0)))]
    return list(dict.fromkeys(itertools.chain.from_iterable(of_rows)))


def head_refs(way: Composition) -> tuple[tuple[Ref, float], ...]:
    """Whose heads answer, and how much each counts: of a stack the last one's, of an average each by its weight."""
    match way:
        case Ref():
            return ((way, 1.0),)
        case Stack(members=members):
            return head_refs(members[-1])
        case Average(members=members, weights=weights):
            return tuple(
                (ref, weight * share)
                for member, weight in zip(members, weights, strict=True)
                for ref, share in head_refs(member)
            )
    raise CompositionError(f"{way} has no head of its own")


def _firsts(composition: Composition, start: int) -> Iterator[int]:
    """The rows, counted from ``start``, at which the ways through a composition change."""
    yield start
    match composition:
        case BatchSplit(members=members, sizes=sizes):
            for member, size in zip(members, sizes, strict=True):
                yield from _firsts(member, start)
                start += size
        case Stack(members=members) | Average(members=members) | Parallel(members=members):
            for member in members:
                yield from _firsts(member, start)


def _joined(whole: Composition, way: tuple[Composition, ...]) -> Composition:
    """A stack or an average of what is left of its members."""
    if isinstance(whole, Average):
        return Average(*way, weights=whole.weights)
    return Stack(*way) if len(way) > 1 else way[0]


def _side_by_side(
    whole: Composition, members: tuple[Composition, ...], row: int, rows: int
) -> list[tuple[Composition, ...]]:
    """Members with one way each, or as many as the others have: way by way."""
    ways = [routes_for(member, row, rows) for member in members]
    widths = {len(way) for way in ways} - {1}
    if len(widths) > 1:
        raise CompositionError(f"what runs in parallel in {whole} has to have the same number of members: {widths}")
    width = max(widths, default=1)
    return list(zip(*(way * width if len(way) == 1 else way for way in ways), strict=True))
