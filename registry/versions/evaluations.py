"""What scores were computed on, for versions of releases that did not record it.

Their runs recorded a fingerprint of all their data, and how many rows were scored. Two of these versions were scored on
the same rows where both are the same, so the data's fingerprint stands in for that of the rows. Once a version that
recorded its rows has a run on the same data, the older ones are known to be of the same rows, and are set to them.
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from ..database import tables as t
from ..records import Evaluation
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


def settled(
    connection: sa.Connection,
    given: Evaluation | None,
    *,
    adapter_id: int,
    run_id: int | None,
    metric: str | None,
    corrects_older: bool,
) -> Evaluation | None:
    """The evaluation of a version to insert, made the same as that of versions that were scored on the same rows.

    Args:
        connection: A transaction that writes.
        given: As the version's release recorded it, or derived from its run.
        adapter_id: The version's adapter.
        run_id: The run that made it.
        metric: Its primary metric.
        corrects_older: Whether versions of earlier releases that were scored on the same rows are set to them.
    """
    if given is None or run_id is None:
        return given
    stand_in = derived(connection.scalar(sa.select(t.run.c.data).where(t.run.c.id == run_id)) or {})
    if stand_in is None or stand_in.rows != given.rows:
        return given
    if given != stand_in and not corrects_older:
        return given
    if given != stand_in:
        older = (
            _v.evaluation == stand_in.fingerprint,
            _v.evaluation_rows == stand_in.rows,
            _v.primary_metric == metric,
        )
        connection.execute(t.version.update().where(*older).values(evaluation=given.fingerprint))
        return given
    # A version of an earlier release, imported beside newer ones.
    newer = (_v.adapter_id == adapter_id, _v.primary_metric == metric, _v.evaluation_rows == given.rows)
    runs = sa.select(_v.evaluation, t.run.c.data).join(t.run, _v.run_id == t.run.c.id)
    for fingerprint, data in connection.execute(runs.where(*newer, _v.evaluation != given.fingerprint)):
        if derived(data) == stand_in:
            return Evaluation(fingerprint=fingerprint, rows=given.rows)
    return given
