"""Run migrations on the connection that the caller opened, inside the caller's transaction.

Alembic takes SQLite's DDL for non-transactional and would commit it statement by statement; SQLite rolls DDL back like
anything else under an explicit BEGIN, so an interrupted upgrade leaves the old schema, whole.
"""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes.get("target_metadata"),
    transactional_ddl=True,
)
# No begin_transaction() here: the transaction is the caller's, and ends with the caller.
context.run_migrations()
