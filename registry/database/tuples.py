"""Plain tuples of many rows: SQLAlchemy's own rows take as long to make as the database takes to read them."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa


def fetch_tuples(
    connection: sa.Connection, query: sa.Select[Any], parameters: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    """All rows of a query, as the driver has them.

    Args:
        connection: A transaction.
        query: Its columns have to be numbers or texts, which need no conversion.
        parameters: What is bound to its names.
    """
    with connection.execute(query, parameters) as result:
        assert result.cursor is not None
        try:
            return list(result.cursor.fetchall())
        except Exception as error:
            # From the driver itself: SQLAlchemy has not wrapped it.
            driver = connection.dialect.loaded_dbapi
            if isinstance(error, driver.Error):
                raise sa.exc.OperationalError("fetch", None, error) from error
            raise
