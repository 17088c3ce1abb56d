"""What a query means: from its syntax tree to one bound SQL condition over the table ``version``.

Fields:

    name task method base fingerprint primary_metric digest run note    text
    number parameters size max_length score seed                        numbers
    created                      a time: 2026-11-01, 2026-11-01T12:00, 7d ago
    alias, parent                any of the version's aliases; of the refs it was made from
    tags.KEY                     text
    config.FIELD                 the method's configuration
    settings.FIELD               the settings of the run that made it
    eval/accuracy, metrics.NAME  the version's own score
    last(M) best(M) first(M) min(M) max(M) mean(M) count(M)
                                 of metric M in the run that made it

A comparison with what a version does not have never holds, and NOT turns exactly that around. Text is compared as it
is, LIKE without regard to case. ``best`` is the greatest value, or the least of a metric whose name ends in loss, error
or perplexity.

Every value is bound, never part of the SQL text. A condition names no other table at its top, so that counting and
listing need no joins for it.
"""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Any, Final

import sqlalchemy as sa

from ..database import tables as t
from ..database.events import now
from ..errors import QueryError
from ..metrics.points import key_id
from .query import And, Comparison, Field, Node, Not, Value, error_at

FUNCTIONS: Final = ("best", "count", "first", "last", "max", "mean", "min")

_Test = Callable[[sa.ColumnElement[Any]], sa.ColumnElement[bool]]
_Where = Callable[[_Test], sa.ColumnElement[bool]]
_SMALLER_IS_BETTER: Final = re.compile(r"(.*[/_.-])?(loss|error|perplexity)")
_WRITTEN: Final = re.compile(r"[\w.+-]+")
_OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_v, _a, _b, _r = t.version.c, t.adapter.c, t.base.c, t.run.c


@dataclass(frozen=True)
class _Kind:
    """What the values of a field are."""

    name: str
    types: tuple[type, ...]
    example: str


_TEXT = _Kind("text", (str,), "'text'")
_NUMBER = _Kind("a number", (int, float), "0.9")
_TIME = _Kind("a time", (str, timedelta), "2026-11-01 or '7d ago'")


def _own(column: sa.ColumnElement[Any]) -> _Where:
    return lambda test: test(column)


def _through(link: sa.Column[Any], target: sa.Column[Any]) -> _Where:
    """A column of the one row that a version points to."""
    return lambda test: link.in_(sa.select(target.table.c.id).where(test(target)))


_FIELDS: Final[dict[str, tuple[_Kind, Callable[[_Test], sa.ColumnElement[bool]]]]] = {
    "name": (_TEXT, _through(_v.adapter_id, _a.name)),
    "number": (_NUMBER, _own(_v.number)),
    "task": (_TEXT, _own(_v.task_name)),
    "method": (_TEXT, _own(_v.method)),
    "base": (_TEXT, _through(_v.base_id, _b.name)),
    "fingerprint": (_TEXT, _through(_v.base_id, _b.fingerprint)),
    "primary_metric": (_TEXT, _own(_v.primary_metric)),
    "digest": (_TEXT, _own(_v.digest)),
    "note": (_TEXT, _own(_v.note)),
    "run": (_TEXT, _through(_v.run_id, _r.uid)),
    "seed": (_NUMBER, _through(_v.run_id, _r.seed)),
    "parameters": (_NUMBER, _own(_v.parameters)),
    "size": (_NUMBER, _own(_v.size)),
    "max_length": (_NUMBER, _own(_v.max_length)),
    "score": (_NUMBER, _own(_v.score)),
    "created": (_TIME, _own(_v.created_at)),
    "alias": (_TEXT, lambda test: _v.id.in_(sa.select(t.alias.c.version_id).where(test(t.alias.c.name)))),
    "parent": (_TEXT, lambda test: _v.id.in_(sa.select(t.lineage.c.child_id).where(test(t.lineage.c.parent_ref)))),
}

_MANY: Final = ("alias", "parent")
"""Fields of which a version may have several values: != means that it has none such."""

KNOWN: Final = (*_FIELDS, "tags.KEY", "config.FIELD", "settings.FIELD", "metrics.NAME", "eval/accuracy")


def condition(node: Node, text: str, dialect: str) -> sa.ColumnElement[bool]:
    """The SQL condition of a query.

    Args:
        node: The query's syntax tree.
        text: The query itself, for messages.
        dialect: ``"sqlite"`` or ``"postgresql"``.

    Raises:
        QueryError: A field, function or value that there is not, or that do not go together; it points at it.
    """
    return _Compiler(text, dialect).node(node)


def metrics_of(node: Node) -> list[Field]:
    """The fields of a query that name a metric."""
    if isinstance(node, Comparison):
        name = node.field.name
        return [node.field] if node.field.function or "/" in name or name.startswith("metrics.") else []
    if isinstance(node, Not):
        return metrics_of(node.item)
    return [field for item in node.items for field in metrics_of(item)]


def metric_name(field: Field) -> str:
    """The metric that such a field names."""
    return field.name if field.function else field.name.removeprefix("metrics.")


def summary_column(function: str, metric: str) -> sa.Column[Any]:
    """The column of ``metric_summary`` that a function of the query language reads."""
    if function == "best":
        function = "min" if _SMALLER_IS_BETTER.fullmatch(metric) else "max"
    return t.metric_summary.c[function]


def _depth(node: Node) -> int:
    if isinstance(node, Comparison):
        return 0
    return 1 + (_depth(node.item) if isinstance(node, Not) else max(map(_depth, node.items)))


class _Compiler:
    def __init__(self, text: str, dialect: str) -> None:
        self.text = text
        self.dialect = dialect

    def node(self, node: Node, holds: bool = True) -> sa.ColumnElement[bool]:
        """The condition that a node holds, or does not hold."""
        if isinstance(node, Not):
            return self.node(node.item, not holds)
        if isinstance(node, Comparison):
            # SQL's third truth value ends here: what is unknown does not hold, so that NOT is the other half.
            found = self.comparison(node)
            return found if holds else sa.not_(sa.func.coalesce(found, sa.false()))
        # SQLite's parser keeps what stands before a parenthesis on a stack of a hundred: so the deepest goes first.
        items = [self.node(item, holds) for item in sorted(node.items, key=_depth, reverse=True)]
        return sa.and_(*items) if isinstance(node, And) is holds else sa.or_(*items)

    def comparison(self, node: Comparison) -> sa.ColumnElement[bool]:
        section, _, path = node.field.name.partition(".")
        if node.field.function is None and path and section == "config":
            return self.json(node, _v.config, path, lambda test: test)
        if node.field.function is None and path and section == "settings":
            return self.json(node, _r.settings, path, lambda test: _v.run_id.in_(sa.select(_r.id).where(test)))
        kind, where = self.place(node.field)
        if node.operator == "is null":
            return sa.not_(sa.func.coalesce(where(lambda column: column.is_not(None)), sa.false()))
        if node.operator == "!=" and node.field.name in _MANY:
            return sa.not_(where(self.test(Comparison(node.field, "=", node.values, node.position), kind)))
        return where(self.test(node, kind))

    def place(self, field: Field) -> tuple[_Kind, _Where]:
        """What the values of a field are, and how a test of one becomes a condition on a version."""
        section, _, key = field.name.partition(".")
        if field.function is not None:
            if field.function not in FUNCTIONS:
                known = ", ".join(FUNCTIONS)
                raise error_at(self.text, field.position, f"no function '{field.function}'; there is: {known}")
            s, column = t.metric_summary.c, summary_column(field.function, field.name)
            of_metric = s.key_id == key_id(field.name)
            return _NUMBER, lambda test: _v.run_id.in_(sa.select(s.run_id).where(of_metric, test(column)))
        if field.name in _FIELDS:
            return _FIELDS[field.name]
        if section == "tags" and key:
            tag = t.tag.c
            return _TEXT, lambda test: _v.id.in_(sa.select(tag.version_id).where(tag.key == key, test(tag.value)))
        if "/" in field.name or (section == "metrics" and key):
            m = t.version_metric.c
            of_metric = m.key_id == key_id(metric_name(field))
            return _NUMBER, lambda test: _v.id.in_(sa.select(m.version_id).where(of_metric, test(m.value)))
        raise self.unknown_field(field)

    def json(
        self,
        node: Comparison,
        column: sa.Column[Any],
        path: str,
        wrap: Callable[[sa.ColumnElement[bool]], sa.ColumnElement[bool]],
    ) -> sa.ColumnElement[bool]:
        """A comparison with a field of a JSON column: only with values of the same JSON type."""
        keys = path.split(".")
        if self.dialect == "postgresql":
            where: sa.ColumnElement[Any] = sa.cast(sa.literal(keys, sa.ARRAY(sa.Text)), sa.ARRAY(sa.Text))
            kind = sa.func.json_typeof(column.op("#>")(where))
            value: sa.ColumnElement[Any] = column.op("#>>", return_type=sa.Text())(where)
        else:
            where = sa.literal("$" + "".join(f'."{key}"' for key in keys))
            kind = sa.func.json_type(column, where)
            value = sa.func.json_extract(column, where)
        if node.operator == "is null":
            present = wrap(sa.func.coalesce(kind, "null") != "null")
            return sa.not_(sa.func.coalesce(present, sa.false()))
        first = node.values[0]
        for other in node.values:
            if isinstance(other.value, timedelta):
                raise error_at(self.text, other.position, f"'{node.field.name}' is no time")
            if self.json_kind(other) != self.json_kind(first):
                raise error_at(self.text, other.position, "all values of IN have to be of one kind")
        if isinstance(first.value, bool):
            if node.operator not in ("=", "!=", "in"):
                raise error_at(self.text, node.position, "true and false go with =, != and IN only")
            # SQLite has the two as types of their own, PostgreSQL as one type with two values.
            wanted = (value if self.dialect == "postgresql" else kind).in_([str(v.value).lower() for v in node.values])
            given = kind.in_(["boolean", "true", "false"])
            return wrap(sa.and_(given, sa.not_(wanted) if node.operator == "!=" else wanted))
        if isinstance(first.value, str):
            names, typed, expected = ["text", "string"], value, _TEXT
        else:
            names, expected = ["integer", "real", "number"], _NUMBER
            typed = sa.cast(value, sa.Double)
        # CASE, and not AND: PostgreSQL may look at both sides of an AND, and a text is no number.
        return wrap(self.test(node, expected)(sa.case((kind.in_(names), typed))))

    @staticmethod
    def json_kind(value: Value) -> type:
        return float if type(value.value) is int else type(value.value)

    def test(self, node: Comparison, kind: _Kind) -> _Test:
        """What a comparison asks of the column that its field comes to."""
        if node.operator == "like" and kind is not _TEXT:
            raise error_at(self.text, node.position, f"LIKE is for text, and '{node.field.name}' is {kind.name}")
        values = [self.value(node, value, kind) for value in node.values]
        if node.operator == "in":
            # The driver takes all of a list for what its first item is.
            same = [float(value) for value in values] if any(type(value) is float for value in values) else values
            return lambda column: column.in_(same)
        if node.operator == "like":
            return lambda column: column.ilike(values[0], escape="\\")
        if kind is _TIME and node.operator in ("=", "!="):
            raise error_at(self.text, node.position, f"'{node.field.name}' goes with <, <=, > and >=")
        compare = _OPERATORS[node.operator]
        return lambda column: compare(column, values[0])

    def value(self, node: Comparison, value: Value, kind: _Kind) -> Any:
        found = value.value
        if kind is _TEXT and type(found) in (int, float):
            # A bare number may well be a text, a run's uid or a tag's value: then it is what was written.
            written = _WRITTEN.match(self.text, value.position)
            assert written is not None
            found = written.group()
        if type(found) not in kind.types:
            shown = "a time span" if isinstance(found, timedelta) else ascii(found)
            raise error_at(
                self.text,
                value.position,
                f"'{node.field.name}' is {kind.name}, as in {kind.example}; found {shown}",
            )
        if kind is _TIME:
            return self.time(value)
        if node.operator == "like" and re.search(r"(?<!\\)(\\\\)*\\\Z", str(found)):
            raise error_at(self.text, value.position, "a pattern cannot end with a single backslash")
        return found

    def time(self, value: Value) -> datetime:
        if isinstance(value.value, timedelta):
            try:
                return now() - value.value
            except OverflowError:
                return datetime.min.replace(tzinfo=UTC)
        try:
            found = datetime.fromisoformat(str(value.value))
        except ValueError:
            raise error_at(
                self.text,
                value.position,
                f"{value.value!a} is no time: write 2026-11-01, 2026-11-01T12:00 or 7d ago",
            ) from None
        try:
            # Without a zone it is on the clock of whoever asks, as the times are that the program prints.
            return found.astimezone(UTC)
        except (OverflowError, ValueError):
            raise error_at(self.text, value.position, f"{value.value!a} is out of range") from None

    def unknown_field(self, field: Field) -> QueryError:
        near = get_close_matches(field.name.lower(), KNOWN, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        return error_at(self.text, field.position, f"no field '{field.name}'; {hint}there is: {', '.join(KNOWN)}")
