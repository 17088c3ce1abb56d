"""Rows of bases: functions over an open transaction."""

import re
from typing import Any

import sqlalchemy as sa

from ..errors import SettingsError
from ..records import Base
from ..refs import check_length
from . import tables as t

_COLUMNS = tuple(column for column in t.base.c if column.name != "id")


def base_id(connection: sa.Connection, base: Base) -> int:
    """The row of ``base``, made if it is not there.

    Raises:
        SettingsError: It cannot be: its fingerprint is no sha256, or a count is negative.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", base.fingerprint):
        raise SettingsError(f"the base's fingerprint {base.fingerprint[:80]!a} is no sha256")
    check_length("the base's model type", base.model_type, 64)
    if min(base.hidden_size, base.layers, base.parameters, base.size) < 0:
        raise SettingsError(f"the base '{base.name}' has a size below 0: {base}")
    found = connection.scalar(sa.select(t.base.c.id).where(t.base.c.fingerprint == base.fingerprint))
    if found is not None:
        return int(found)
    values = {column.name: getattr(base, column.name) for column in _COLUMNS}
    return int(connection.execute(t.base.insert().values(values).returning(t.base.c.id)).scalar_one())


def base_columns() -> list[sa.Label[Any]]:
    """The columns that ``base_record`` reads."""
    return [column.label(f"base_{column.name}") for column in _COLUMNS]


def base_record(row: Any) -> Base:
    """The base of a joined row whose columns carry the prefix ``base_``."""
    return Base(**{column.name: getattr(row, f"base_{column.name}") for column in _COLUMNS})
