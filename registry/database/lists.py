"""Lists for the IN of a statement: each is one bound value, since databases limit their number."""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa


def select_numbers(connection: sa.Connection, numbers: Iterable[int]) -> sa.Select[Any]:
    """Select integers, for an IN."""
    return _select_items(connection.dialect.name, sa.literal(list(numbers), sa.JSON))


def select_texts(connection: sa.Connection, texts: Iterable[str]) -> sa.Select[Any]:
    """Select texts, for an IN."""
    return _select_items(connection.dialect.name, sa.literal(list(texts), sa.JSON), sa.Text())


def select_bound_numbers(dialect: str, name: str) -> sa.Select[Any]:
    """Select the integers of the list that is bound to ``name`` when the statement is executed, for an IN."""
    return _select_items(dialect, sa.bindparam(name, type_=sa.JSON))


def select_bound_texts(dialect: str, name: str) -> sa.Select[Any]:
    """Select the texts of the list that is bound to ``name`` when the statement is executed, for an IN."""
    return _select_items(dialect, sa.bindparam(name, type_=sa.JSON), sa.Text())


def _select_items(
    dialect: str, text: sa.ColumnElement[Any], kind: sa.types.TypeEngine[Any] | None = None
) -> sa.Select[Any]:
    if dialect == "postgresql":
        elements = sa.func.json_array_elements_text(sa.cast(text, sa.JSON))
        items: Any = sa.select(sa.cast(elements, kind or sa.BigInteger()))
    else:
        items = sa.select(sa.func.json_each(text).table_valued("value").c.value)
    return sa.select(items.subquery("listed"))
