"""The fields of a query over runs.

run adapter task method base fingerprint error    text; run is the run's uid
status                                            running, finished, failed, interrupted or pruned
version                                           the ref of the version that it made, as in sst2@3
seed                                              a number
started, ended                                    times: 2026-11-01, 2026-11-01T12:00, 7d ago
origin.kind origin.name origin.item               text
origin.FIELD, settings.FIELD, data.FIELD          the details of its origin; its settings; where its rows came from
last(M) best(M) first(M) min(M) max(M) mean(M) count(M)
                                                  of metric M

``status`` is the status that people see: a run whose process is dead, or that has been silent for three minutes, is
interrupted, although its row still says that it is running. ``fingerprint`` is any fingerprint of the base, also the
one that an older release computed.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import sqlalchemy as sa

from ..database import tables as t
from ..database.bases import same_base_ids
from ..database.refs import ref_column
from ..records import RunStatus
from .subject import NUMBER, TEXT, TIME, Document, Place, Subject, Test, choice, own, through

_r, _b, _v = t.run.c, t.base.c, t.version.c


def _version(test: Test) -> sa.ColumnElement[bool]:
    made = sa.select(_v.run_id).join(t.adapter, _v.adapter_id == t.adapter.c.id).where(_v.run_id.is_not(None))
    return _r.id.in_(made.where(test(ref_column().element)))


_FIELDS: Final = {
    "run": Place(TEXT, own(_r.uid)),
    "adapter": Place(TEXT, own(_r.adapter_name)),
    "task": Place(TEXT, own(_r.task)),
    "method": Place(TEXT, own(_r.method)),
    "base": Place(TEXT, through(_r.base_id, _b.name)),
    "fingerprint": Place(TEXT, lambda test: _r.base_id.in_(same_base_ids(test)), several=True),
    "status": Place(choice(RunStatus), own(_r.status)),
    "error": Place(TEXT, own(_r.error)),
    "version": Place(TEXT, _version),
    "seed": Place(NUMBER, own(_r.seed)),
    "started": Place(TIME, own(_r.started_at)),
    "ended": Place(TIME, own(_r.ended_at)),
    "origin.kind": Place(TEXT, own(_r.origin_kind)),
    "origin.name": Place(TEXT, own(_r.origin_name)),
    "origin.item": Place(TEXT, own(_r.origin_item)),
}


def run_subject(status: Callable[[], sa.ColumnElement[str]]) -> Subject:
    """Runs, for ``Registry.runs``.

    Args:
        status: Makes the expression of the status that people see; called only for a query that names it, since it
            asks the operating system about every run that is recorded as running.
    """
    seen = Place(choice(RunStatus), lambda test: test(status()))
    return replace(RUNS, fields={**_FIELDS, "status": seen})


RUNS: Final = Subject(
    fields=_FIELDS,
    run=_r.id,
    documents={
        "settings": Document(_r.settings, lambda condition: condition),
        "data": Document(_r.data, lambda condition: condition),
        "origin": Document(_r.origin_details, lambda condition: condition),
    },
    known=(*_FIELDS, "origin.FIELD", "settings.FIELD", "data.FIELD", "last(eval/accuracy)"),
)
