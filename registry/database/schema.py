"""What a database lacks of the schema that this release needs."""

import sqlalchemy as sa

from .tables import metadata


def schema_problems(connection: sa.Connection) -> list[str]:
    """Return a text for each table and column that is missing."""
    inspector = sa.inspect(connection)
    present = set(inspector.get_table_names())
    problems = []
    for table in metadata.sorted_tables:
        if table.name not in present:
            problems.append(f"the table {table.name} is missing: restore a backup")
            continue
        columns = {column["name"] for column in inspector.get_columns(table.name)}
        problems += [
            f"the table {table.name} lacks the column {column.name}: restore a backup"
            for column in table.c
            if column.name not in columns
        ]
    return problems
