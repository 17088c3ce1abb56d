"""The query language: text to syntax tree. It knows no SQL and no fields; the compiler of the tree checks those.

    task in (sst2, cola) and best(eval/accuracy) >= 0.85 and not config.reduction_factor = 16

A comparison is a name, or a function of a name, with one of these after it:

    =  ==  !=  <>  <  <=  >  >=   a value
    [NOT] IN                      (value, value, …)
    [NOT] LIKE                    a text, in which % and _ are wildcards as in SQL
    IS [NOT] NULL

NOT binds tighter than AND, and AND tighter than OR. Keywords may be in any case. A value is a number, true or false,
'text' or "text" with its own quote doubled inside, a bare word of ASCII letters, digits and ``_-./:@%+``, or a time
before now such as ``7d ago`` (s, m, h, d, w).
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import cache
from itertools import chain
from math import isfinite
from typing import Any, Final, TypeAlias

from lark import Lark, Token, Transformer, UnexpectedInput

from ..errors import QueryError, pointed

MAX_LENGTH: Final = 10_000
MAX_DEPTH: Final = 50
MAX_COMPARISONS: Final = 200


@dataclass(frozen=True, slots=True)
class Value:
    """What a field is compared with; a ``timedelta`` is a time that long before now."""

    value: str | int | float | bool | timedelta
    position: int


@dataclass(frozen=True, slots=True)
class Field:
    """A field's name as written, and the function around it in lower case."""

    name: str
    function: str | None
    position: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field, one of ``= != < <= > >= in like``, ``is null``, and the values: many for ``in``, none for ``is null``.

    ``position`` is that of the operator.
    """

    field: Field
    operator: str
    values: tuple[Value, ...]
    position: int


@dataclass(frozen=True, slots=True)
class Not:
    """The negation of an item; ``NOT IN``, ``NOT LIKE`` and ``IS NOT NULL`` are this around a comparison."""

    item: "Node"
    position: int


@dataclass(frozen=True, slots=True)
class And:
    """The conjunction of two or more items, none of them an ``And``; ``position`` is that of their first AND."""

    items: tuple["Node", ...]
    position: int


@dataclass(frozen=True, slots=True)
class Or:
    """The disjunction of two or more items, none of them an ``Or``; ``position`` is that of their first OR."""

    items: tuple["Node", ...]
    position: int


Node: TypeAlias = Comparison | Not | And | Or

_EDGE = r"(?![\w.\/:@%+-])"
_KEYWORD = rf"(?:and|or|not|in|like|is|null){_EDGE}"
_DIGITS = r"(?:\d+(?:\.\d*)?|\.\d+)"
_QUOTED = r"""'(?:[^']|'')*'(?!')|"(?:[^"]|"")*"(?!")"""

# _GROUP, _LIST and _CALL are all "(", and NOT and EXCEPT are both "not". No state of the parser accepts two of them, so
# the contextual lexer tells them apart, and the type of a token says its role.
_GRAMMAR = rf"""
    ?start: either
    ?either: both (OR both)*
    ?both: item (AND item)*
    ?item: comparison | NOT item -> negation | _GROUP either _CLOSE
    comparison: field OPERATOR value
              | field EXCEPT? IN _LIST value (_COMMA value)* _CLOSE
              | field EXCEPT? LIKE value
              | field IS EXCEPT? _NULL
    field: NAME | NAME _CALL NAME _CLOSE
    ?value: AGO -> ago | NUMBER -> number | WORD -> word | QUOTED -> quoted

    AND: /and{_EDGE}/
    OR: /or{_EDGE}/
    NOT: /not{_EDGE}/
    EXCEPT: /not{_EDGE}/
    IN: /in{_EDGE}/
    LIKE: /like{_EDGE}/
    IS: /is{_EDGE}/
    _NULL: /null{_EDGE}/
    OPERATOR: /[<>=!]=|<>|[<>=]/
    _GROUP: "("
    _LIST: "("
    _CALL: "("
    _CLOSE: ")"
    _COMMA: ","
    NAME: /(?!{_KEYWORD})\w[\w.\/-]*/
    AGO.3: /{_DIGITS}[ \t\r\n]*[smhdw][ \t\r\n]+ago{_EDGE}/
    NUMBER.2: /[+-]?{_DIGITS}(?:e[+-]?\d+)?{_EDGE}/
    WORD.1: /(?!{_KEYWORD})[\w.\/:@%-][\w.\/:@%+-]*/
    QUOTED: /{_QUOTED}/
    %ignore /[ \t\r\n]+/
"""

_SPACE = " \t\r\n"
_SPELLINGS = {"==": "=", "<>": "!="}
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_LONGEST_AGO = timedelta(days=365_250)  # a thousand years: now minus this is still a valid date

# The first of these terminals that the parser accepts decides which words a message expects.
_EXPECTED = {
    "_GROUP": "a comparison",
    "NAME": "a name",
    "WORD": "a value",
    "OPERATOR": "=, <, >, IN, LIKE or IS after the name",
    "_COMMA": "',' or ')'",
    "$END": "AND, OR or the end",
    "AND": "AND, OR or ')'",
    "_CLOSE": "')'",
    "_LIST": "'(' after IN",
    "LIKE": "IN or LIKE after NOT",
    "EXCEPT": "NULL or NOT NULL after IS",
    "_NULL": "NULL after IS NOT",
}

_UNUSABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_TOKEN = re.compile(rf"{_QUOTED}|[\w.\/:@%+-]+|[<>=!]+|.", re.ASCII | re.DOTALL)


def parse(text: str) -> Node:
    """Read a query.

    Raises:
        QueryError: It does not follow the language, or is larger than the limits.

    Examples:
        >>> parse("task = sst2 and number > 1")
    """
    if not text.strip():
        raise QueryError("the query is empty: write for example task = sst2 and best(eval/accuracy) >= 0.85")
    if len(text) > MAX_LENGTH:
        raise error_at(text, MAX_LENGTH, f"a query has at most {MAX_LENGTH:,} characters, this one has {len(text):,}")
    if unusable := _UNUSABLE.search(text):
        raise error_at(text, unusable.start(), f"a query cannot have the character {_quoted(unusable[0])}")
    steps = _parser().parse_interactive(text)
    limits = _Limits()
    try:
        for token in steps.iter_parse():
            limits.check(token)
        tree: Node = steps.feed_token(Token("$END", "", start_pos=len(text.rstrip(_SPACE))))
    except UnexpectedInput as error:
        position = error.pos_in_stream or 0
        accepted: set[str] = steps.accepts()  # type: ignore[no-untyped-call]
        raise error_at(text, position, _explain(text, position, accepted)) from None
    except _RefusedError as refused:
        raise error_at(text, refused.position, refused.what) from None
    return tree


def error_at(text: str, position: int, what: str) -> QueryError:
    """Return an error about a query that says what is wrong, and points at the character at ``position``."""
    return pointed(QueryError, "query", text, position, what)


class _RefusedError(Exception):
    """A query that follows the grammar and is still invalid."""

    def __init__(self, position: int, what: str) -> None:
        super().__init__(what)
        self.position = position
        self.what = what


class _Limits:
    """Counts tokens before the parser takes them, so that a hostile query is refused early."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._comparisons = 0

    def check(self, token: Token) -> None:
        match token.type:
            case "NOT" | "_GROUP" if len(self._open) == MAX_DEPTH:
                raise _RefusedError(_start(token), f"more than {MAX_DEPTH} parentheses and NOTs inside each other")
            case "NOT" | "_GROUP" | "_LIST" | "_CALL":
                self._open.append(token.type)
            case "AND" | "OR" | "_CLOSE":
                while self._open and self._open[-1] == "NOT":
                    self._open.pop()
                if token.type == "_CLOSE" and self._open:
                    self._open.pop()
            case "OPERATOR" | "IN" | "LIKE" | "IS":
                self._comparisons += 1
                if self._comparisons > MAX_COMPARISONS:
                    raise _RefusedError(_start(token), f"more than {MAX_COMPARISONS} comparisons")


class _Builder(Transformer[Token, Node]):
    """Builds nodes while the parser reduces, from the innermost outwards."""

    def either(self, parts: list[Any]) -> Or:
        return Or(*_flat(parts, Or))

    def both(self, parts: list[Any]) -> And:
        return And(*_flat(parts, And))

    def negation(self, parts: list[Any]) -> Not:
        return Not(parts[1], _start(parts[0]))

    def comparison(self, parts: list[Any]) -> Comparison | Not:
        tokens = {part.type: part for part in parts if isinstance(part, Token)}
        values = tuple(part for part in parts if isinstance(part, Value))
        negation = tokens.pop("EXCEPT", None)
        (operator,) = tokens.values()
        if operator.type == "LIKE" and not isinstance(values[0].value, str):
            raise _RefusedError(values[0].position, "expected a text after LIKE: put the value in quotes")
        name = "is null" if operator.type == "IS" else operator.lower()
        item = Comparison(parts[0], _SPELLINGS.get(name, name), values, _start(operator))
        return Not(item, _start(negation)) if negation else item

    def field(self, parts: list[Token]) -> Field:
        position = _start(parts[0])
        if len(parts) == 1:
            return Field(str(parts[0]), None, position)
        function, name = parts
        if not re.fullmatch(r"[A-Za-z_]\w*", function):
            raise _RefusedError(position, f"expected a function before '(', found {_quoted(function)}")
        return Field(str(name), function.lower(), position)

    def ago(self, parts: list[Token]) -> Value:
        amount, unit = re.split(r"\s*([smhdw])", parts[0].lower(), maxsplit=1)[:2]
        seconds = float(amount) * _SECONDS[unit]
        if seconds > _LONGEST_AGO.total_seconds():
            raise _RefusedError(_start(parts[0]), "more than a thousand years ago")
        return Value(timedelta(seconds=seconds), _start(parts[0]))

    def number(self, parts: list[Token]) -> Value:
        token, position = parts[0], _start(parts[0])
        if not token.lstrip("+-").isdigit():
            if not isfinite(number := float(token)):
                raise _RefusedError(position, "a number too large: put it in quotes if it is a text")
            return Value(number, position)
        integer = Decimal(token)  # int() raises on more than 4,300 digits, and counts zeros in front
        if not -(2**63) <= integer < 2**63:
            raise _RefusedError(position, "an integer beyond 64 bits: put it in quotes if it is a text")
        return Value(int(integer), position)

    def word(self, parts: list[Token]) -> Value:
        booleans = {"true": True, "false": False}
        return Value(booleans.get(parts[0].lower(), str(parts[0])), _start(parts[0]))

    def quoted(self, parts: list[Token]) -> Value:
        quote = parts[0][0]
        return Value(parts[0][1:-1].replace(quote * 2, quote), _start(parts[0]))


@cache
def _parser() -> Lark:
    flags = re.ASCII | re.IGNORECASE  # without ASCII, the long s and the Kelvin sign match letters of keywords
    return Lark(_GRAMMAR, parser="lalr", lexer="contextual", g_regex_flags=flags, transformer=_Builder())


def _flat(parts: list[Any], kind: type[And | Or]) -> tuple[tuple[Node, ...], int]:
    """Return the items of nested nodes of one kind in one list, and the first position of its keyword."""
    own = [(part.items if isinstance(part, kind) else (part,)) for part in parts if not isinstance(part, Token)]
    positions = [_start(part) for part in parts if isinstance(part, Token)]
    positions += [part.position for part in parts if isinstance(part, kind)]
    return tuple(chain.from_iterable(own)), min(positions)


def _explain(text: str, position: int, accepted: set[str]) -> str:
    expected = next(words for terminal, words in _EXPECTED.items() if terminal in accepted)
    match = _TOKEN.match(text.rstrip(_SPACE), position)
    if match is None:
        return f"expected {expected}, found the end"
    token = match[0]
    if token in ("'", '"'):
        return "a quoted text that does not end"
    what = f"expected {expected}, found {_quoted(token)}"
    after_word = expected.startswith("AND") and re.match(r"[\w.\/:@%+-]", text[position - 1], re.ASCII)
    if (expected == "a value" or after_word) and token[0] not in "'\"(),<>=!":
        what += ": put it in quotes if it is a text"
    return what


def _start(token: Token) -> int:
    return token.start_pos or 0


def _quoted(token: str) -> str:
    """A token in quotes for a message, shortened; a character that cannot be printed as ``U+0007``."""
    if len(token) == 1 and not token.isprintable():
        return f"U+{ord(token):04X}"
    short = token if len(token) <= 40 else f"{token[:39]}…"
    return short if short[0] in "'\"" else f"'{short}'"
