"""Requests: what callers give, checked, with the routes that each input takes."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pointsman.registry import Ref
from pointsman.registry.errors import CompositionError, SettingsError

from ...core.composition import Average, BatchSplit, Block, Fuse, Parallel, Stack
from ...tasks import Task
from ..resolve.resolved_ref import ResolvedRef, Route

Text = str | Sequence[str]
"""One input: a text, or the two texts of a pair."""

RefLike = str | Ref | Block
"""What to predict with: a ref, or a composition as text or as a value."""

SingleAnswer = str | Ref | Stack | Fuse | Average | BatchSplit
"""A ref or composition that gives one answer to an input."""

STREAM_ROWS: Final = 1024
"""Inputs of a stream that are read and predicted at a time."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Request:
    """An input, and the routes that answer it."""

    routes: tuple[Route, ...]
    """One for each answer."""
    text: Text
    number: int
    """Its place in the caller's inputs, from 0."""
    is_parallel: bool
    """Whether the caller gets a tuple of predictions."""


def build_requests(
    resolved: ResolvedRef, texts: Sequence[Text], *, start: int = 0, rows: int | None = None
) -> list[Request]:
    """One request for each text, all with the same ref.

    Args:
        resolved: What the ref resolves to.
        texts: The inputs; of a stream, a part of them.
        start: The number of the first of them.
        rows: The number of all rows, which the sizes of a ``BatchSplit`` add up to; by default that of ``texts``.

    Raises:
        CompositionError: The sizes of a ``BatchSplit`` do not add up to the rows.
    """
    total = len(texts) if rows is None else rows
    return [_request(resolved, row, total, text, row) for row, text in enumerate(texts, start)]


def mixed_requests(rows: object, resolve: Callable[[RefLike], ResolvedRef]) -> list[Request]:
    """One request for each row, each with its own ref.

    Args:
        rows: The caller's ``(ref, text or pair)``.
        resolve: Resolves a ref; called once for each.

    Raises:
        SettingsError: They are no list, or one of them is not a ref and an input; the message says which.
        CompositionError: The sizes of a ``BatchSplit`` do not add up to its one row.
    """
    pairs = input_list(rows, "(ref, text)")
    for number, row in enumerate(pairs):
        if not (isinstance(row, tuple | list) and len(row) == 2 and isinstance(row[0], str | Ref | Block)):
            raise SettingsError(
                f"row {number} is {repr(row)[:80]}: write (ref, text), or (ref, (text, text)) for a task of pairs"
            )
    resolved = {ref: resolve(ref) for ref in dict.fromkeys(ref for ref, _ in pairs)}
    return [_request(resolved[ref], 0, 1, text, number) for number, (ref, text) in enumerate(pairs)]


def stream_requests(resolved: ResolvedRef, texts: Iterator[Text]) -> Iterator[list[Request]]:
    """The requests of a stream, at most ``STREAM_ROWS`` at a time, all with the same ref.

    Raises:
        CompositionError: The sizes of a ``BatchSplit`` do not add up to the inputs.
    """
    total = resolved.required_rows
    start = 0
    while chunk := list(itertools.islice(texts, STREAM_ROWS)):
        end = start + len(chunk)
        if total is not None and end > total:
            raise CompositionError(f"the sizes of {resolved.composition} add up to {total}, and there are more rows")
        rows = end if total is None or len(chunk) < STREAM_ROWS else total
        yield build_requests(resolved, chunk, start=start, rows=rows)
        start = end
    if total is not None:
        resolved.routes_of_row(0, start)  # refuses a stream that is too short


def input_list(inputs: object, expected: str = "texts, or of pairs") -> list[Any]:
    """Inputs as a list: of a list, a tuple, an array or a column of a data frame.

    Args:
        inputs: What the caller gave.
        expected: What it is a list of, for the message.

    Raises:
        SettingsError: It is one text, has no order, or can be read only once.
    """
    items = inputs.tolist() if hasattr(inputs, "tolist") else inputs
    if isinstance(items, str | bytes):
        raise SettingsError(f"inputs are a list of {expected}; found one string: put it into a list")
    if not isinstance(items, Sequence):
        raise SettingsError(
            f"inputs are a list of {expected}; found a {type(inputs).__name__}: make it a list, "
            "or give an iterator of texts to predict_stream"
        )
    return list(items)


def input_stream(inputs: object) -> Iterator[Any]:
    """Inputs that may come one after the other, as an iterator.

    Raises:
        SettingsError: It is one text, has no order, or is no iterable.
    """
    if isinstance(inputs, str | bytes | Mapping | Set) or not isinstance(inputs, Iterable):
        raise SettingsError(
            f"inputs are texts, or pairs, one after the other; found a {type(inputs).__name__}: {repr(inputs)[:80]}"
        )
    return iter(inputs)


def checked(requests: list[Request]) -> list[Request]:
    """Return requests, if there are some, and each one's task takes its input.

    Raises:
        SettingsError: There is none, or a task does not; the message says which input it was.
    """
    if not requests:
        raise SettingsError("nothing to predict: the list of inputs is empty")
    for request in requests:
        for route in request.routes:
            check_input(route.task, request.text, request.number)
    return requests


def check_input(task: Task, text: Text, number: int) -> tuple[str, ...]:
    """Return an input as one text or two.

    Raises:
        SettingsError: The task does not take it; the message says which input it was.
    """
    # A mapping would give its keys, and a set any order.
    row = (text,) if isinstance(text, str) else tuple(text) if isinstance(text, Sequence | np.ndarray) else ()
    if len(row) != len(task.text) or not all(isinstance(part, str) for part in row):
        expected = f"pairs of texts ({', '.join(task.text)})" if task.is_pair else "single texts"
        raise SettingsError(f"'{task.name}' takes {expected}: input {number} is {repr(text)[:80]}")
    try:
        "".join(row).encode()
    except UnicodeEncodeError as error:  # the tokenizer's own error does not say which text
        raise SettingsError(f"input {number} is not valid Unicode: {error}") from error
    return row


def _request(resolved: ResolvedRef, row: int, rows: int, text: Text, number: int) -> Request:
    routes = resolved.routes_of_row(row, rows)
    is_parallel = isinstance(resolved.composition, Parallel) or len(routes) > 1
    return Request(routes=routes, text=text, number=number, is_parallel=is_parallel)
