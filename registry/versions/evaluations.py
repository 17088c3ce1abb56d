"""What scores were computed on, for versions of releases that did not record it.

Their runs recorded a fingerprint of all their data, and how many rows were scored. Two of these versions were scored on
the same rows where both are the same, so the data's fingerprint stands in for that of the rows. Once a version that
recorded its rows has a run on the same data, the older ones are known to be of the same rows, and are set to them.
"""

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from ..database import tables as t
from ..database.lists import select_numbers, select_texts
from ..database.refs import ref_column
from ..records import Evaluation
from ..refs import Ref
from ..storage.objects import DIGEST
from ..values import check_whole, refused

_v = t.version.c


def check(evaluation: Evaluation | None) -> None:
    """Refuse an evaluation that cannot be.

    Raises:
        SettingsError: Its fingerprint is no sha256, or its number of rows is below 0.
    """
    if evaluation is None:
        return
    if not isinstance(evaluation.fingerprint, str) or not DIGEST.fullmatch(evaluation.fingerprint):
        raise refused("the evaluation's fingerprint", evaluation.fingerprint, "a sha256 as 64 hexadecimal digits")
    check_whole("the evaluation's rows", evaluation.rows)


def derived(data: Mapping[str, Any]) -> Evaluation | None:
    """What stands in for the evaluation of a version whose run has these data; None if they do not say enough."""
    fingerprint, rows = data.get("fingerprint"), data.get("rows")
    scored = rows.get("eval") if isinstance(rows, Mapping) else None
    if not isinstance(fingerprint, str) or not DIGEST.fullmatch(fingerprint) or type(scored) is not int or scored < 0:
        return None
    return Evaluation(fingerprint=fingerprint, rows=scored)


def correct_older(
    connection: sa.Connection, given: Evaluation | None, *, run_id: int | None, metric: str | None
) -> None:
    """Set versions of earlier releases that were scored on the rows of a new version of this release to these rows.

    Args:
        connection: A transaction that writes.
        given: What the new version was scored on.
        run_id: The run that made it.
        metric: Its primary metric.
    """
    if given is None or run_id is None:
        return
    stand_in = derived(connection.scalar(sa.select(t.run.c.data).where(t.run.c.id == run_id)) or {})
    if stand_in is None or stand_in.rows != given.rows or stand_in == given:
        return
    older = (
        _v.evaluation == stand_in.fingerprint,
        _v.evaluation_rows == stand_in.rows,
        _v.primary_metric == metric,
    )
    connection.execute(t.version.update().where(*older).values(evaluation=given.fingerprint))


def settle_imported(connection: sa.Connection, refs: Collection[str]) -> None:
    """Set imported versions of earlier releases to the rows that another version recorded, which were the same.

    What was here already is not changed.

    Args:
        connection: A transaction that writes.
        refs: The imported versions.
    """
    imported = set(refs)
    a = t.adapter.c
    query = (
        sa.select(_v.id, _v.adapter_id, _v.primary_metric, _v.evaluation, _v.evaluation_rows, t.run.c.data)
        .add_columns(ref_column().label("ref"))
        .join(t.run, _v.run_id == t.run.c.id)
        .join(t.adapter, _v.adapter_id == a.id)
        .where(a.name.in_(select_texts(connection, {Ref.parse(ref).name for ref in imported})))
        .order_by(_v.id)
    )
    recorded: dict[tuple[int, str | None, Evaluation], str] = {}
    older: dict[tuple[int, str | None, Evaluation], list[int]] = {}
    for row in connection.execute(query):
        stand_in = derived(row.data or {})
        if row.evaluation is None or stand_in is None or stand_in.rows != row.evaluation_rows:
            continue
        key = (row.adapter_id, row.primary_metric, stand_in)
        if row.evaluation != stand_in.fingerprint:
            recorded.setdefault(key, row.evaluation)
        elif row.ref in imported:
            older.setdefault(key, []).append(row.id)
    for key in older.keys() & recorded.keys():
        here = _v.id.in_(select_numbers(connection, older[key]))
        connection.execute(t.version.update().where(here).values(evaluation=recorded[key]))
