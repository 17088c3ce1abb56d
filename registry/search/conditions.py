"""A query as SQL: from its text to one bound condition over the table of its subject, ``version`` or ``run``.

The modules ``version_fields`` and ``run_fields`` list the fields.

A comparison with something that a row does not have never holds, and NOT turns exactly that around. Text is compared
exactly, LIKE ignores case. ``best`` is the greatest value, or the least of a metric whose name ends in loss, error or
perplexity.

Every value is bound, never part of the SQL text. A condition names no other table at its top, so that counting and
listing need no joins for it.
"""

import operator
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from ..database import tables as t
from ..database.events import now
from ..errors import MetricNotFoundError, QueryError, unknown
from ..metrics.points import key_id, metric_names
from .query import And, Comparison, Field, Node, Not, Value, error_at, parse
from .subject import NUMBER, TEXT, TIME, Document, Kind, Place, Subject, Test

FUNCTIONS: Final = ("best", "count", "first", "last", "max", "mean", "min")

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


class Query(NamedTuple):
    """A query, ready for a statement."""

    condition: sa.ColumnElement[bool]
    metrics: tuple[str, ...]
    """The metrics that it names."""

    def check_metrics(self, connection: sa.Connection) -> None:
        """Refuse a query that names a metric which nothing in the registry has: that is why nothing matches.

        Raises:
            MetricNotFoundError: It does; the message lists the known ones.
        """
        known = metric_names(connection) if self.metrics else ()
        for metric in self.metrics:
            if metric not in known:
                raise unknown(MetricNotFoundError, "metric", metric, known)


def compile_query(text: str, subject: Subject, dialect: str) -> Query:
    """Read a query over a subject.

    Args:
        text: The query.
        subject: What it is over.
        dialect: ``"sqlite"`` or ``"postgresql"``.

    Raises:
        QueryError: It does not follow the language, or has an unknown field, function or value, or ones that do not
            go together; the message points at the character.
    """
    tree = parse(text)
    return Query(condition(tree, text, subject, dialect), tuple(map(_metric_name, _metric_fields(tree, subject))))


def condition(node: Node, text: str, subject: Subject, dialect: str) -> sa.ColumnElement[bool]:
    """Return the SQL condition of a query's syntax tree.

    Args:
        node: The tree.
        text: The query itself, for messages.
        subject: What it is over.
        dialect: ``"sqlite"`` or ``"postgresql"``.

    Raises:
        QueryError: As ``compile_query``.
    """
    return _Compiler(text, subject, dialect).node(node)


def _metric_fields(node: Node, subject: Subject) -> list[Field]:
    """The fields of a query that name a metric."""
    if isinstance(node, Comparison):
        field = node.field
        section, _, key = field.name.partition(".")
        elsewhere = key and section != "metrics" and (section in subject.sections or section in subject.documents)
        named = field.name.startswith("metrics.") or ("/" in field.name and not elsewhere)
        return [field] if field.function or named else []
    if isinstance(node, Not):
        return _metric_fields(node.item, subject)
    return [field for item in node.items for field in _metric_fields(item, subject)]


def _metric_name(field: Field) -> str:
    return field.name if field.function else field.name.removeprefix("metrics.")


def summary_column(function: str, metric: str) -> sa.Column[Any]:
    """Return the column of ``metric_summary`` that a function of the query language reads."""
    if function == "best":
        function = "min" if _SMALLER_IS_BETTER.fullmatch(metric) else "max"
    return t.metric_summary.c[function]


def _depth(node: Node) -> int:
    if isinstance(node, Comparison):
        return 0
    return 1 + (_depth(node.item) if isinstance(node, Not) else max(map(_depth, node.items)))


class _Compiler:
    def __init__(self, text: str, subject: Subject, dialect: str) -> None:
        self.text = text
        self.subject = subject
        self.dialect = dialect

    def node(self, node: Node, holds: bool = True) -> sa.ColumnElement[bool]:
        """The condition that a node holds, or does not hold."""
        if isinstance(node, Not):
            return self.node(node.item, not holds)
        if isinstance(node, Comparison):
            # SQL's third truth value ends here: what is unknown does not hold, so that NOT is the other half.
            comparison = self.comparison(node)
            return comparison if holds else sa.not_(sa.func.coalesce(comparison, sa.false()))
        # SQLite's parser keeps what stands before a parenthesis on a stack of a hundred: so the deepest goes first.
        items = [self.node(item, holds) for item in sorted(node.items, key=_depth, reverse=True)]
        return sa.and_(*items) if isinstance(node, And) is holds else sa.or_(*items)

    def comparison(self, node: Comparison) -> sa.ColumnElement[bool]:
        field = node.field
        section, _, path = field.name.partition(".")
        if field.function is None and path and field.name not in self.subject.fields:
            document = self.subject.documents.get(section)
            if document is not None:
                return self.json(node, document, path)
        place = self.place(field)
        if node.operator == "is null":
            return sa.not_(sa.func.coalesce(place.where(lambda column: column.is_not(None)), sa.false()))
        if node.operator == "!=" and place.several:
            same = Comparison(field, "=", node.values, node.position)
            return sa.not_(place.where(self.test(same, place.kind)))
        return place.where(self.test(node, place.kind))

    def place(self, field: Field) -> Place:
        """Where the value of a field is."""
        if field.function is not None:
            if field.function not in FUNCTIONS:
                known = ", ".join(FUNCTIONS)
                raise error_at(self.text, field.position, f"unknown function '{field.function}'; known: {known}")
            s, column = t.metric_summary.c, summary_column(field.function, field.name)
            of_metric = s.key_id == key_id(field.name)
            run = self.subject.run
            return Place(NUMBER, lambda test: run.in_(sa.select(s.run_id).where(of_metric, test(column))))
        if field.name in self.subject.fields:
            return self.subject.fields[field.name]
        section, _, key = field.name.partition(".")
        if "/" in field.name and not (key and section in self.subject.sections):
            section, key = "metrics", field.name
        if key and section in self.subject.sections:
            return self.subject.sections[section](key)
        raise self.unknown_field(field)

    def json(
        self,
        node: Comparison,
        document: Document,
        path: str,
    ) -> sa.ColumnElement[bool]:
        """A comparison with a field of a JSON column: only with values of the same JSON type."""
        column, wrap = document
        keys = path.split(".")
        if self.dialect == "postgresql":
            where: sa.ColumnElement[Any] = sa.cast(sa.literal(keys, sa.ARRAY(sa.Text)), sa.ARRAY(sa.Text))
            kind = sa.func.json_typeof(column.op("#>")(where))
            # As SQLite and the text columns do: byte by byte, in whatever locale the database is.
            value: sa.ColumnElement[Any] = sa.collate(column.op("#>>", return_type=sa.Text())(where), "C")
        else:
            where = sa.literal("$" + "".join(f'."{key}"' for key in keys))
            # SQLite ends the whole statement at a document that does not parse: a damaged one has no fields instead.
            sound = sa.case((sa.func.json_valid(column) == 1, column))
            kind = sa.func.json_type(sound, where)
            value = sa.func.json_extract(sound, where)
        if node.operator == "is null":
            present = wrap(sa.func.coalesce(kind, "null") != "null")
            return sa.not_(sa.func.coalesce(present, sa.false()))
        first = node.values[0]
        for other in node.values:
            if isinstance(other.value, timedelta):
                raise error_at(self.text, other.position, f"'{node.field.name}' is not a time")
            if self.json_kind(other) != self.json_kind(first):
                raise error_at(self.text, other.position, "all values of IN must be of one kind")
        if isinstance(first.value, bool):
            if node.operator not in ("=", "!=", "in"):
                raise error_at(self.text, node.position, "true and false go with =, != and IN only")
            # SQLite has the two as types of their own, PostgreSQL as one type with two values.
            wanted = (value if self.dialect == "postgresql" else kind).in_([str(v.value).lower() for v in node.values])
            given = kind.in_(["boolean", "true", "false"])
            return wrap(sa.and_(given, sa.not_(wanted) if node.operator == "!=" else wanted))
        if isinstance(first.value, str):
            names, typed, expected = ["text", "string"], value, TEXT
        else:
            names, expected = ["integer", "real", "number"], NUMBER
            typed = sa.cast(value, sa.Double)
        # CASE, and not AND: PostgreSQL may look at both sides of an AND, and a text is no number.
        return wrap(self.test(node, expected)(sa.case((kind.in_(names), typed))))

    @staticmethod
    def json_kind(value: Value) -> type:
        return float if type(value.value) is int else type(value.value)

    def test(self, node: Comparison, kind: Kind) -> Test:
        """The test of a comparison, for the column that has its field's value."""
        if node.operator == "like" and not kind.is_text:
            raise error_at(self.text, node.position, f"LIKE is for text, and '{node.field.name}' is {kind.name}")
        values = [self.value(node, value, kind) for value in node.values]
        if node.operator == "in":
            # The driver takes all of a list for what its first item is.
            same = [float(value) for value in values] if any(type(value) is float for value in values) else values
            return lambda column: column.in_(same)
        if node.operator == "like":
            return lambda column: column.ilike(values[0], escape="\\")
        if kind is TIME and node.operator in ("=", "!="):
            raise error_at(self.text, node.position, f"'{node.field.name}' goes with <, <=, > and >=")
        compare = _OPERATORS[node.operator]
        return lambda column: compare(column, values[0])

    def value(self, node: Comparison, value: Value, kind: Kind) -> Any:
        operand = value.value
        if kind.is_text and type(operand) in (int, float):
            # A bare number may well be a text, a run's uid or a tag's value: then its digits count.
            written = _WRITTEN.match(self.text, value.position)
            assert written is not None
            operand = written.group()
        if type(operand) not in kind.types:
            given = "a time span" if isinstance(operand, timedelta) else ascii(operand)
            raise error_at(
                self.text,
                value.position,
                f"'{node.field.name}' is {kind.name}, as in {kind.example}; found {given}",
            )
        if kind is TIME:
            return self.time(value)
        if kind.choices and node.operator != "like" and operand not in kind.choices:
            what = f"unknown {node.field.name} {operand!a}; known: {', '.join(kind.choices)}"
            raise error_at(self.text, value.position, what)
        if node.operator == "like" and re.search(r"(?<!\\)(\\\\)*\\\Z", str(operand)):
            raise error_at(self.text, value.position, "a pattern cannot end with a single backslash")
        return operand

    def time(self, value: Value) -> datetime:
        if isinstance(value.value, timedelta):
            try:
                return now() - value.value
            except OverflowError:
                return datetime.min.replace(tzinfo=UTC)
        try:
            time = datetime.fromisoformat(str(value.value))
        except ValueError:
            raise error_at(
                self.text,
                value.position,
                f"{value.value!a} is not a time: write 2026-11-01, 2026-11-01T12:00 or 7d ago",
            ) from None
        try:
            # Without a zone it is local time, as the times that the program prints.
            return time.astimezone(UTC)
        except (OverflowError, ValueError):
            raise error_at(self.text, value.position, f"{value.value!a} is out of range") from None

    def unknown_field(self, field: Field) -> QueryError:
        known = self.subject.known
        near = get_close_matches(field.name.lower(), known, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        return error_at(self.text, field.position, f"unknown field '{field.name}'; {hint}known: {', '.join(known)}")
