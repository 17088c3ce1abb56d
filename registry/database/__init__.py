"""The database: engines, transactions, tables, and the rows that several rooms share."""
