"""Alembic migrations of the registry's database; they ship in the wheel and run from there."""
