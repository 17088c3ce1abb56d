"""The fields of a query over versions.

name task method kind base fingerprint primary_metric evaluation digest run note    text
number parameters size max_length score evaluation_rows seed             numbers; version is the number
created                      a time: 2026-11-01, 2026-11-01T12:00, 7d ago
alias, parent                any alias of the version; any ref that it was made from
tags.KEY                     text
config.FIELD                 the method's configuration
settings.FIELD               the settings of the run that made it
eval/accuracy, metrics.NAME  the version's own score
last(M) best(M) first(M) min(M) max(M) mean(M) count(M)
                             of metric M in the run that made it

``kind`` is ``adapter``, ``fusion`` or ``composition``. ``fingerprint`` is any fingerprint of the base, also the
one that an older release computed.
"""

from typing import Final

import sqlalchemy as sa

from ..database import tables as t
from ..database.bases import same_base_ids
from ..metrics.points import key_id
from ..records import VersionKind
from .subject import NUMBER, TEXT, TIME, Document, Place, Subject, choice, own, through

_v, _a, _b, _r = t.version.c, t.adapter.c, t.base.c, t.run.c

_FIELDS: Final = {
    "name": Place(TEXT, through(_v.adapter_id, _a.name)),
    "number": Place(NUMBER, own(_v.number)),
    "version": Place(NUMBER, own(_v.number)),
    "task": Place(TEXT, own(_v.task_name)),
    "method": Place(TEXT, own(_v.method)),
    "kind": Place(choice(VersionKind), own(_v.kind)),
    "base": Place(TEXT, through(_v.base_id, _b.name)),
    "fingerprint": Place(TEXT, lambda test: _v.base_id.in_(same_base_ids(test)), several=True),
    "primary_metric": Place(TEXT, own(_v.primary_metric)),
    "evaluation": Place(TEXT, own(_v.evaluation)),
    "evaluation_rows": Place(NUMBER, own(_v.evaluation_rows)),
    "digest": Place(TEXT, own(_v.digest)),
    "note": Place(TEXT, own(_v.note)),
    "run": Place(TEXT, through(_v.run_id, _r.uid)),
    "seed": Place(NUMBER, through(_v.run_id, _r.seed)),
    "parameters": Place(NUMBER, own(_v.parameters)),
    "size": Place(NUMBER, own(_v.size)),
    "max_length": Place(NUMBER, own(_v.max_length)),
    "score": Place(NUMBER, own(_v.score)),
    "created": Place(TIME, own(_v.created_at)),
    "alias": Place(
        TEXT, lambda test: _v.id.in_(sa.select(t.alias.c.version_id).where(test(t.alias.c.name))), several=True
    ),
    "parent": Place(
        TEXT, lambda test: _v.id.in_(sa.select(t.lineage.c.child_id).where(test(t.lineage.c.parent_ref))), several=True
    ),
}


def _tag(key: str) -> Place:
    tag = t.tag.c
    return Place(TEXT, lambda test: _v.id.in_(sa.select(tag.version_id).where(tag.key == key, test(tag.value))))


def _score(metric: str) -> Place:
    m = t.version_metric.c
    of_metric = m.key_id == key_id(metric)
    return Place(NUMBER, lambda test: _v.id.in_(sa.select(m.version_id).where(of_metric, test(m.value))))


VERSIONS: Final = Subject(
    fields=_FIELDS,
    run=_v.run_id,
    documents={
        "config": Document(_v.config, lambda condition: condition),
        "settings": Document(_r.settings, lambda condition: _v.run_id.in_(sa.select(_r.id).where(condition))),
    },
    sections={"tags": _tag, "metrics": _score},
    known=(*_FIELDS, "tags.KEY", "config.FIELD", "settings.FIELD", "metrics.NAME", "eval/accuracy"),
)
"""Versions, for ``Registry.versions``."""
