"""What callers ask: with what, and about which texts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np

from pointsman.registry import Ref
from pointsman.registry.errors import SettingsError

from ...core.composition import Average, BatchSplit, Block, Fuse, Stack
from ...tasks import Task

Text = str | Sequence[str]
"""One input: a text, or the two texts of a pair."""

Asked = str | Ref | Block
"""What to predict with: a ref, or a composition as text or as a value."""

OneAnswer = str | Ref | Stack | Fuse | Average | BatchSplit
"""What gives one answer to a row."""


def input_list(inputs: object, what: str = "texts, or of pairs") -> list[Any]:
    """Inputs as a list: of a list, a tuple, an array or a column of a data frame.

    Args:
        inputs: What the caller gave.
        what: What it should have been, for the message.

    Raises:
        SettingsError: It is one text, is without an order, or can be gone through only once.
    """
    found = inputs.tolist() if hasattr(inputs, "tolist") else inputs
    if isinstance(found, str | bytes):
        raise SettingsError(f"inputs are a list of {what}; found one string: put it into a list")
    if not isinstance(found, Sequence):
        raise SettingsError(
            f"inputs are a list of {what}; found a {type(inputs).__name__}: make it a list, "
            "or give what comes bit by bit to predict_stream"
        )
    return list(found)


def input_stream(inputs: object) -> Iterator[Any]:
    """Inputs that may come bit by bit, as an iterator.

    Raises:
        SettingsError: It is one text, without an order, or nothing that can be gone through.
    """
    if isinstance(inputs, str | bytes | Mapping | Set) or not isinstance(inputs, Iterable):
        raise SettingsError(
            f"inputs are texts, or pairs, one after the other; found a {type(inputs).__name__}: {repr(inputs)[:80]}"
        )
    return iter(inputs)


def mixed_rows(rows: object) -> list[tuple[Asked, Text]]:
    """Rows that each name what they ask, as a list.

    Raises:
        SettingsError: They are no list, or one of them is not a ref and an input; the message says which.
    """
    found = input_list(rows, "(ref, text)")
    for number, row in enumerate(found):
        if not (isinstance(row, tuple | list) and len(row) == 2 and isinstance(row[0], str | Ref | Block)):
            raise SettingsError(
                f"row {number} is {repr(row)[:80]}: write (ref, text), or (ref, (text, text)) for a task of pairs"
            )
    return found


def check_input(task: Task, text: Text, number: int) -> tuple[str, ...]:
    """An input as one text or two, refused where it is not what the task takes.

    Raises:
        SettingsError: It is not; the message says which input it was.
    """
    # Of a mapping the keys would be taken, and of a set any order.
    row = (text,) if isinstance(text, str) else tuple(text) if isinstance(text, Sequence | np.ndarray) else ()
    if len(row) != len(task.text) or not all(isinstance(part, str) for part in row):
        due = f"pairs of texts ({', '.join(task.text)})" if task.is_pair else "single texts"
        raise SettingsError(f"'{task.name}' takes {due}: input {number} is {repr(text)[:80]}")
    try:
        "".join(row).encode()
    except UnicodeEncodeError as error:  # tokenizers would refuse the type, without saying which text
        raise SettingsError(f"input {number} is not valid Unicode: {error}") from error
    return row
