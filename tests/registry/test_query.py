import re
import sys
import time
from datetime import timedelta

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pointsman.registry.errors import PointsmanError, QueryError
from pointsman.registry.search.query import And, Comparison, Field, Not, Or, Value, error_at, parse


def bare(node):
    """A tree without positions, in which 1, 1.0 and True are different and so are 0.0 and -0.0."""
    match node:
        case Comparison():
            values = tuple((type(value.value), repr(value.value)) for value in node.values)
            return (node.field.function, node.field.name, node.operator, values)
        case Not():
            return ("not", bare(node.item))
        case And() | Or():
            return (type(node).__name__.lower(), *(bare(item) for item in node.items))


def the_value(text):
    """What ``text`` means to the right of an operator."""
    tree = parse(f"x = {text}")
    assert (tree.field, tree.operator, len(tree.values)) == (Field("x", None, 0), "=", 1)
    assert tree.values[0].position == 4
    return tree.values[0].value


def refused(text):
    """The message, the 1-based character it names, and the column under which it puts the caret."""
    with pytest.raises(QueryError) as error:
        parse(text)
    head, line, caret = str(error.value).split("\n")
    number, what = re.fullmatch(r"the query has an error at character ([\d,]+): (.+)", head).groups()
    assert error.value.position == int(number.replace(",", "")) - 1
    assert line.startswith("  ")
    assert line.isprintable()
    assert len(line) <= 72
    assert re.fullmatch(r"  +\^", caret)
    assert len(caret) <= len(line) + 1
    return what, int(number.replace(",", "")), line[2:], len(caret) - 3


# What a query means


def test_the_query_of_the_manual():
    text = "task in (sst2, cola) and best(eval/accuracy) >= 0.85 and config.reduction_factor = 16"
    assert parse(text) == And(
        (
            Comparison(Field("task", None, 0), "in", (Value("sst2", 9), Value("cola", 15)), 5),
            Comparison(Field("eval/accuracy", "best", 25), ">=", (Value(0.85, 48),), 45),
            Comparison(Field("config.reduction_factor", None, 57), "=", (Value(16, 83),), 81),
        ),
        21,
    )


@pytest.mark.parametrize(
    ("written", "operator"),
    [("=", "="), ("==", "="), ("!=", "!="), ("<>", "!="), ("<", "<"), ("<=", "<="), (">", ">"), (">=", ">=")],
)
@pytest.mark.parametrize("space", ["", " ", "\n\t"])
def test_an_operator_compares_a_field_with_a_value(written, operator, space):
    at = 4 + len(space)
    expected = Comparison(Field("loss", None, 0), operator, (Value(-5, at + len(written) + len(space)),), at)
    assert parse(f"loss{space}{written}{space}-5") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x in (1)", Comparison(Field("x", None, 0), "in", (Value(1, 6),), 2)),
        ("x in(1,two)", Comparison(Field("x", None, 0), "in", (Value(1, 5), Value("two", 7)), 2)),
        ("x NOT IN (1)", Not(Comparison(Field("x", None, 0), "in", (Value(1, 10),), 6), 2)),
        ("x Like a%", Comparison(Field("x", None, 0), "like", (Value("a%", 7),), 2)),
        ("x not like '5'", Not(Comparison(Field("x", None, 0), "like", (Value("5", 11),), 6), 2)),
        ("x is null", Comparison(Field("x", None, 0), "is null", (), 2)),
        ("x IS\nNOT  Null", Not(Comparison(Field("x", None, 0), "is null", (), 2), 5)),
        ("not x is null", Not(Comparison(Field("x", None, 4), "is null", (), 6), 0)),
        (" (  x=1 )", Comparison(Field("x", None, 4), "=", (Value(1, 6),), 5)),
        ("last ( train/loss ) < 1", Comparison(Field("train/loss", "last", 0), "<", (Value(1, 22),), 20)),
        ("Best(f1)=1", Comparison(Field("f1", "best", 0), "=", (Value(1, 9),), 8)),
        ("x=1 and y=2", And((parse("x=1"), Comparison(Field("y", None, 8), "=", (Value(2, 10),), 9)), 4)),
        ("x=1 or y=2", Or((parse("x=1"), Comparison(Field("y", None, 7), "=", (Value(2, 9),), 8)), 4)),
    ],
)
def test_nodes_know_where_they_are(text, expected):
    assert parse(text) == expected


def test_values_are_plain_text():
    tree = parse("best(loss) in (word, 'quoted')")
    for text in (tree.field.name, tree.field.function, tree.operator, *(value.value for value in tree.values)):
        assert type(text) is str


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("16", 16),
        ("+16", 16),
        ("-16", -16),
        ("007", 7),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("0" * 5_000 + "1", 1),
        ("-0", 0),
        ("-0.0", -0.0),
        ("0.85", 0.85),
        (".5", 0.5),
        ("-.5", -0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("1E+3", 1000.0),
        ("-2.5e-3", -0.0025),
        ("1e-999", 0.0),
        ("1.7976931348623157e308", sys.float_info.max),
        ("99999999999999999999.0", 1e20),
        ("true", True),
        ("TRUE", True),
        ("False", False),
    ],
)
def test_numbers_and_booleans(text, value):
    assert repr(the_value(text)) == repr(value)


BARE_WORDS = """
    sst2 seq_bn bert-base-uncased 2026-11-01 2026-11-01T12:00 2026-11-01T12:00:00.5 google/electra-small 3fa9 1e 7d d
    nan NaN inf -inf Infinity 1_000 0x10 1.2.3 --5 - -- . / % s%t_ me@host sst2@3 50% order android nothing isnt
    nullable ago true-ish not-yet in/out like.this 1and2 null% is@home 7dago -7d 12e4567x
"""


@pytest.mark.parametrize("text", BARE_WORDS.split())
def test_bare_words_are_text(text):
    assert the_value(text) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("''", ""),
        ('""', ""),
        ("'a b'", "a b"),
        ("'it''s'", "it's"),
        ('"it\'s"', "it's"),
        ("'say \"so\"'", 'say "so"'),
        ('"say ""so"""', 'say "so"'),
        ("''''", "'"),
        ("''''''", "''"),
        (r"'a\'", "a\\"),
        (r"'\n'", r"\n"),
        ("'5'", "5"),
        ("'true'", "true"),
        ("'7d ago'", "7d ago"),
        ("'null'", "null"),
        ("'AND'", "AND"),
        ("')) or (('", ")) or (("),
        ("'a\tb\r\nc'", "a\tb\r\nc"),
        ("'café 🙂 \u202e'", "café 🙂 \u202e"),
    ],
)
def test_quoted_text_is_taken_as_it_is(text, value):
    assert the_value(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("30s ago", timedelta(seconds=30)),
        ("5m ago", timedelta(minutes=5)),
        ("12h ago", timedelta(hours=12)),
        ("7d ago", timedelta(days=7)),
        ("2w ago", timedelta(weeks=2)),
        ("1.5h ago", timedelta(minutes=90)),
        (".5h ago", timedelta(minutes=30)),
        ("0d ago", timedelta(0)),
        ("7 d ago", timedelta(days=7)),
        ("7D\n AGO", timedelta(days=7)),
        ("365250d ago", timedelta(days=365_250)),
    ],
)
def test_a_time_before_now(text, value):
    assert the_value(text) == value


NAMES = """
    task config.reduction_factor eval/accuracy train/loss tags.stage metrics.loss config.layers.0 order android notes
    inner/loss null_rate island likes in-domain or_else not.x and/or is2 ago true 2nd _private eval/f1-macro
"""


@pytest.mark.parametrize("name", NAMES.split())
@pytest.mark.parametrize("function", [None, "best"])
def test_names_of_fields(name, function):
    written = f"{function}({name})" if function else name
    for text in (f"{written}<1", f"{written} in (1)", f"{written} like a", f"{written} is null"):
        assert parse(text).field == Field(name, function, 0)
    tree = parse(f"not {written} not in (1) or {written}=2")
    assert bare(tree) == (
        "or",
        ("not", ("not", (function, name, "in", ((int, "1"),)))),
        (function, name, "=", ((int, "2"),)),
    )


# How comparisons join


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("not a=1 and b=1", "(not a=1) and b=1"),
        ("a=1 and not b=1", "a=1 and (not b=1)"),
        ("a=1 or b=1 and c=1", "a=1 or (b=1 and c=1)"),
        ("a=1 and b=1 or c=1", "(a=1 and b=1) or c=1"),
        ("a=1 or not b=1 and c=1 or d=1", "a=1 or ((not b=1) and c=1) or d=1"),
        ("not not a=1", "not (not a=1)"),
        ("not a in (1) and b=1", "(not (a in (1))) and b=1"),
        ("NOT(a=1)AND(b=1)OR c=1", "((not a=1) and b=1) or c=1"),
        ("(((a=1)))", "a=1"),
        ("a='x'and b='y'or c in(1)and d=1", "(a=x and b=y) or (c in (1) and d=1)"),
    ],
)
def test_not_binds_before_and_and_and_before_or(text, meaning):
    assert bare(parse(text)) == bare(parse(meaning))


def test_parentheses_change_the_meaning():
    assert bare(parse("(a=1 or b=1) and c=1")) != bare(parse("a=1 or b=1 and c=1"))
    assert bare(parse("not (a=1 and b=1)")) != bare(parse("not a=1 and b=1"))


@pytest.mark.parametrize("word", ["and", "or"])
def test_a_chain_is_one_node(word):
    plain = parse(f"a=1 {word} b=1 {word} c=1 {word} d=1")
    assert len(plain.items) == 4
    assert plain.position == 4
    nested = parse(f"(a=1 {word} b=1) {word} (c=1 {word} (d=1))")
    assert bare(nested) == bare(plain)
    assert nested.position == 5
    assert parse(f"a=1 {word} (b=1 {word} c=1)").position == 4


def test_a_chain_of_one_kind_keeps_the_other_apart():
    tree = parse("(a=1 or b=1) and (c=1 or d=1) and e=1")
    assert [type(item) for item in tree.items] == [Or, Or, Comparison]


# What is refused, and where


@pytest.mark.parametrize(
    ("text", "character", "what"),
    [
        ("foo", 4, "expected =, <, >, IN, LIKE or IS after the name, found the end"),
        ("task sst2", 6, "expected =, <, >, IN, LIKE or IS after the name, found 'sst2'"),
        ("best(loss) 5", 12, "expected =, <, >, IN, LIKE or IS after the name, found '5'"),
        ("x ≥ 5", 3, "expected =, <, >, IN, LIKE or IS after the name, found '≥'"),
        ("x ! 5", 3, "expected =, <, >, IN, LIKE or IS after the name, found '!'"),
        ("x and y=1", 3, "expected =, <, >, IN, LIKE or IS after the name, found 'and'"),
        ("x\u202e = 1", 2, "expected =, <, >, IN, LIKE or IS after the name, found U+202E"),
        ("x between 1 and 2", 3, "expected =, <, >, IN, LIKE or IS after the name, found 'between'"),
        ("x = ", 4, "expected a value, found the end"),
        ("x =\n\n", 4, "expected a value, found the end"),
        ("x =< 5", 4, "expected a value, found '<'"),
        ("x = (5)", 5, "expected a value, found '('"),
        ("x = null", 5, "expected a value, found 'null': put it in quotes if it is a text"),
        ("x = And", 5, "expected a value, found 'And': put it in quotes if it is a text"),
        ("x = é", 5, "expected a value, found 'é': put it in quotes if it is a text"),
        ("x = +a", 5, "expected a value, found '+a': put it in quotes if it is a text"),
        ("x in ()", 7, "expected a value, found ')'"),
        ("x in (1,)", 9, "expected a value, found ')'"),
        ("x in (1 2)", 9, "expected ',' or ')', found '2'"),
        ("x in (1", 8, "expected ',' or ')', found the end"),
        ("x in 5", 6, "expected '(' after IN, found '5'"),
        ("x not", 6, "expected IN or LIKE after NOT, found the end"),
        ("x not = 5", 7, "expected IN or LIKE after NOT, found '='"),
        ("x not null", 7, "expected IN or LIKE after NOT, found 'null'"),
        ("x is 5", 6, "expected NULL or NOT NULL after IS, found '5'"),
        ("x is not 5", 10, "expected NULL after IS NOT, found '5'"),
        ("x like 5", 8, "expected a text after LIKE: put the value in quotes"),
        ("x not like true", 12, "expected a text after LIKE: put the value in quotes"),
        ("x like 7d ago", 8, "expected a text after LIKE: put the value in quotes"),
        ("task in (sst2) foo", 16, "expected AND, OR or the end, found 'foo'"),
        ("task in (sst2) 'it''s'", 16, "expected AND, OR or the end, found 'it''s'"),
        ("x = 1)", 6, "expected AND, OR or the end, found ')'"),
        ("x = 5, y", 6, "expected AND, OR or the end, found ','"),
        ("x = a b", 7, "expected AND, OR or the end, found 'b'"),
        ("x = 7 days ago", 7, "expected AND, OR or the end, found 'days'"),
        ("x = -7d ago", 9, "expected AND, OR or the end, found 'ago'"),
        ("x = 1 not y = 2", 7, "expected AND, OR or the end, found 'not'"),
        ("x = 1; drop table version", 6, "expected AND, OR or the end, found ';': put it in quotes if it is a text"),
        ("x = café", 8, "expected AND, OR or the end, found 'é': put it in quotes if it is a text"),
        ("x = 'caf'é", 10, "expected AND, OR or the end, found 'é'"),
        ("x = " + "a" * 5 + " " + "b" * 50, 11, f"expected AND, OR or the end, found '{'b' * 39}…'"),
        ("(x = 1 y", 8, "expected AND, OR or ')', found 'y'"),
        ("(x = 1", 7, "expected ')', found the end"),
        ("best(loss < 1", 11, "expected ')', found '<'"),
        ("best(", 6, "expected a name, found the end"),
        ("best('loss') = 1", 6, "expected a name, found 'loss'"),
        ("best(in) = 1", 6, "expected a name, found 'in'"),
        ("eval/best(loss) = 1", 1, "expected a function before '(', found 'eval/best'"),
        ("x=1 and 2nd(loss) = 1", 9, "expected a function before '(', found '2nd'"),
        ("'task' = 1", 1, "expected a comparison, found 'task'"),
        ("in = 1", 1, "expected a comparison, found 'in'"),
        ("x = 1 and", 10, "expected a comparison, found the end"),
        ("x = 1 or and y = 2", 10, "expected a comparison, found 'and'"),
        ("not", 4, "expected a comparison, found the end"),
        ("()", 2, "expected a comparison, found ')'"),
        ("-x = 1", 1, "expected a comparison, found '-x'"),
        ("\ufeffx = 1", 1, "expected a comparison, found U+FEFF"),
        ("x = 'abc", 5, "a quoted text that does not end"),
        ('x = "abc', 5, "a quoted text that does not end"),
        ("x = 'it''s", 5, "a quoted text that does not end"),
        ("x = '''", 5, "a quoted text that does not end"),
        ("x = 1 and y = 'a\" or z = 2", 15, "a quoted text that does not end"),
        ("x = 1e999", 5, "a number too large: put it in quotes if it is a text"),
        ("x in (1, -1e999)", 10, "a number too large: put it in quotes if it is a text"),
        ("x = " + "9" * 400 + ".5", 5, "a number too large: put it in quotes if it is a text"),
        ("x = 9223372036854775808", 5, "an integer beyond 64 bits: put it in quotes if it is a text"),
        ("x = -9223372036854775809", 5, "an integer beyond 64 bits: put it in quotes if it is a text"),
        ("x = " + "9" * 9_000, 5, "an integer beyond 64 bits: put it in quotes if it is a text"),
        ("x > 365251d ago", 5, "more than a thousand years ago"),
        ("x > " + "9" * 9_000 + "w ago", 5, "more than a thousand years ago"),
        ("x = 1\0", 6, "a query cannot have the character U+0000"),
        ("x = '\x1b[31m'", 6, "a query cannot have the character U+001B"),
        ("x\x0b= 1", 2, "a query cannot have the character U+000B"),
        ("x = '\x7f'", 6, "a query cannot have the character U+007F"),
        ("x = '\x9b'", 6, "a query cannot have the character U+009B"),
        ("x = '\udcff'", 6, "a query cannot have the character U+DCFF"),
        ("ta\u017fk = 1", 3, "expected =, <, >, IN, LIKE or IS after the name, found 'ſ'"),
        ("x i\u017f null", 3, "expected =, <, >, IN, LIKE or IS after the name, found 'i'"),
        ("x li\u212ae a", 3, "expected =, <, >, IN, LIKE or IS after the name, found 'li'"),
        ("x > 7\u017f ago", 6, "expected AND, OR or the end, found 'ſ': put it in quotes if it is a text"),
        ("x = \u0661", 5, "expected a value, found '\u0661': put it in quotes if it is a text"),
    ],
)
def test_an_error_says_what_was_expected_and_where(text, character, what):
    message, number, line, caret = refused(text)
    assert (message, number) == (what, character)
    if len(text) <= 70 and "\n" not in text:
        assert line == "".join(letter if letter.isprintable() else "?" for letter in text)
        assert caret == character - 1


@pytest.mark.parametrize("text", ["", " ", "\n\t \r\n", "\u00a0"])
def test_an_empty_query_gets_an_example(text):
    with pytest.raises(QueryError, match="the query is empty: write for example ") as error:
        parse(text)
    parse(str(error.value).partition("example ")[2])


def test_errors_are_pointsmans():
    assert issubclass(QueryError, PointsmanError)


def test_a_whole_message():
    assert str(error_at("task in (sst2) foo", 15, "expected AND, OR or the end, found 'foo'")) == (
        "the query has an error at character 16: expected AND, OR or the end, found 'foo'\n"
        "  task in (sst2) foo\n"
        "                 ^"
    )


def test_the_excerpt_is_one_line_of_many():
    message = str(error_at("task = a\r\nand  loss\t< b\nand x = 1", 17, "wrong\nhere\x1b"))
    assert message == "the query has an error at character 18: wrong?here?\n  and  loss?< b\n         ^"
    assert str(error_at("a\nb", 1, "x")) == "the query has an error at character 2: x\n  a\n   ^"
    assert str(error_at("a\nb\n", 4, "x")) == "the query has an error at character 5: x\n  \n  ^"


def test_the_excerpt_shows_hostile_characters_as_question_marks():
    _, line, caret = str(error_at("a\u202e\u2028\t\x1b\0\ud800b", 7, "x")).split("\n")
    assert line == "  a??????b"
    assert caret.index("^") == line.index("b")


@pytest.mark.parametrize(
    ("position", "line"),
    [
        (0, "X" + "a" * 67 + "…"),
        (34, "a" * 34 + "X" + "a" * 33 + "…"),
        (35, "…" + "a" * 34 + "X" + "a" * 33 + "…"),
        (500, "…" + "a" * 34 + "X" + "a" * 33 + "…"),
        (966, "…" + "a" * 34 + "X" + "a" * 33),
        (999, "…" + "a" * 67 + "X"),
    ],
)
def test_the_excerpt_of_a_long_line_is_cut_around_the_caret(position, line):
    text = "a" * position + "X" + "a" * (999 - position)
    head, shown, caret = str(error_at(text, position, "x")).split("\n")
    assert head == f"the query has an error at character {position + 1:,}: x"
    assert shown == f"  {line}"
    assert caret.index("^") == shown.index("X")


def test_the_end_of_a_long_line_can_be_pointed_at():
    _, shown, caret = str(error_at("a" * 1_000, 1_000, "x")).split("\n")
    assert shown == "  …" + "a" * 68
    assert caret.index("^") == len(shown)


# Limits


def test_a_query_may_be_long():
    text = f"x = '{'a' * 9_994}'"
    assert len(text) == 10_000
    assert len(parse(text).values[0].value) == 9_994
    what, character, line, caret = refused(text + " ")
    assert what == "a query has at most 10,000 characters, this one has 10,001"
    assert character == 10_001
    assert caret == len(line) - 1


@pytest.mark.parametrize(
    ("opening", "closing"), [("(", ")"), ("not ", ""), ("NOT(", ")"), ("x=1 and (", ")"), ("(x=1 or not ", ")")]
)
def test_nesting_ends_at_fifty(opening, closing):
    layers = 2 if "not" in opening.lower() and "(" in opening else 1
    count = 50 // layers
    inner = "best(x) not in (1, 2)"
    parse(opening * count + inner + closing * count)
    what, character, _, _ = refused(opening * (count + 1) + inner + closing * (count + 1))
    assert what == "more than 50 parentheses and NOTs inside each other"
    assert character == len(opening) * count + re.search(r"\(|not", opening, re.IGNORECASE).start() + 1


def test_nesting_counts_only_what_is_still_open():
    item = "(not not (not (x = 1))) and not best(y) in (1, 2) and not (z not in (3))"
    assert len(parse(" or ".join([item] * 60)).items) == 60


@pytest.mark.parametrize(
    "text",
    [
        *(opening * count + "x=1" for opening in ("(", "not ", "not(") for count in (1_000, 2_400)),
        *(opening * count + "x=1" + ")" * count for opening in ("(", "not(") for count in (1_000, 1_900)),
        "(" * 4_000,
        ")" * 4_000,
        "x in (" * 1_600,
        "best(" * 1_900,
        "x = 1 and " * 990 + "x = 1",
        f"x in ({'1,' * 4_900}",
        f"x in ({'1,' * 4_900}1) y",
        f"x = {chr(39) * 9_995}",
        f"x = {'1' * 9_000} y",
        f"x = {'1' * 9_000}é",
        f"x = {'1.' * 4_500} y",
        f"x > {'1' * 9_000}d ag",
        f"x > 1{' ' * 9_000}d ag",
        f"x > 1d{' ' * 9_000}ag",
        f"{'a' * 9_000}",
        f"{'a.' * 4_500} = é",
        f"x = 1{' ' * 9_000}é",
    ],
    ids=lambda text: f"{text[:12]}-{len(text)}",
)
def test_a_hostile_query_is_refused_at_once(text):
    started = time.perf_counter()
    refused(text)
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("comparison", ["x = 1", "x in (1, 2)", "x not like a", "x is not null"])
def test_comparisons_end_at_two_hundred(comparison):
    assert len(parse(" or ".join([comparison] * 200)).items) == 200
    what, character, _, _ = refused(" or ".join([comparison] * 201))
    assert what == "more than 200 comparisons"
    first = re.search("=|in|like|is", comparison).start()
    assert character == 200 * len(f"{comparison} or ") + first + 1


def test_a_list_may_be_long():
    assert len(parse(f"x in ({', '.join(['1'] * 3_000)})").values) == 3_000


# Whatever is written


KEYWORDS = ["and", "or", "not", "in", "like", "is", "null"]
WORDS = st.from_regex(r"[A-Za-z0-9_.\/:@%-]{1,12}", fullmatch=True)
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)

names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.\/-]{0,12}", fullmatch=True).filter(lambda t: t.lower() not in KEYWORDS)
functions = st.none() | st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True).filter(lambda t: t not in KEYWORDS)
texts = WORDS | st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\t\n'\"\\"), max_size=12)
amounts = st.tuples(st.integers(0, 5_000) | st.floats(0, 5_000).map(lambda x: round(x, 3)), st.sampled_from("smhdw"))
values = st.one_of(
    texts, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), amounts
)


@st.composite
def comparisons(draw):
    operator = draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "in", "like", "is null"]))
    if operator == "is null":
        given_values = []
    elif operator == "in":
        given_values = draw(st.lists(values, min_size=1, max_size=4))
    else:
        given_values = [draw(texts if operator == "like" else values)]
    return ("compare", draw(functions), draw(names), operator, given_values)


def joined(kind):
    return lambda items: (kind, [item for part in items for item in (part[1] if part[0] == kind else [part])])


plans = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        inner.map(lambda item: ("not", item)),
        st.lists(inner, min_size=2, max_size=4).map(joined("and")),
        st.lists(inner, min_size=2, max_size=4).map(joined("or")),
    ),
    max_leaves=12,
)


def meant(plan):
    """The tree of a plan as ``bare`` shows it."""
    match plan:
        case ("compare", function, name, operator, items):
            seconds = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
            real = [timedelta(seconds=i[0] * seconds[i[1]]) if isinstance(i, tuple) else i for i in items]
            return (function, name, operator, tuple((type(item), repr(item)) for item in real))
        case ("not", item):
            return ("not", meant(item))
        case (kind, items):
            return (kind, *(meant(item) for item in items))


class Printer:
    """Writes a plan as text, in one of the many ways that mean the same."""

    def __init__(self, draw):
        self.draw = draw

    def space(self, least=1):
        return self.draw(st.text(" \t\r\n", min_size=least, max_size=least + 2))

    def cased(self, word):
        return "".join(self.draw(st.sampled_from([letter.lower(), letter.upper()])) for letter in word)

    def value(self, value):
        match value:
            case (amount, unit):
                gap = self.draw(st.sampled_from(["", " "]))
                return f"{amount if amount >= 0.001 else 0}{gap}{self.cased(unit)}{self.space()}{self.cased('ago')}"
            case bool():
                return self.cased(str(value))
            case str():
                special = value.lower() in [*KEYWORDS, "true", "false"] or NUMBER.fullmatch(value)
                if not special and re.fullmatch(r"[A-Za-z0-9_.\/:@%-]+", value) and self.draw(st.booleans()):
                    return value
                quote = self.draw(st.sampled_from("'\""))
                return quote + value.replace(quote, quote * 2) + quote
        return self.cased(repr(value)) if isinstance(value, float) else repr(value)

    def comparison(self, function, name, operator, values, denied=False):
        field = name
        if function:
            field = self.space(0).join([self.cased(function), "(", name, ")"])
        shown = [self.value(value) for value in values]
        denial = self.cased("not") + self.space() if denied else ""
        if operator == "is null":
            return self.space().join([field, self.cased("is"), denial + self.cased("null")])
        if operator == "in":
            commas = self.space(0).join(["", ",", ""])
            return f"{field}{self.space()}{denial}{self.cased('in')}{self.space(0)}({commas.join(shown)})"
        if operator == "like":
            return f"{field}{self.space()}{denial}{self.cased('like')}{self.space()}{shown[0]}"
        spelling = self.draw(st.sampled_from({"=": ["=", "=="], "!=": ["!=", "<>"]}.get(operator, [operator])))
        return self.space(0).join([field, spelling, shown[0]])

    def tree(self, plan, around=None):
        match plan:
            case ("compare", *parts):
                text = self.comparison(*parts)
                needed = False
            case ("not", ("compare", *parts)) if parts[2] in ("in", "like", "is null") and self.draw(st.booleans()):
                text = self.comparison(*parts, denied=True)
                needed = False
            case ("not", item):
                text = f"{self.cased('not')}{self.space()}{self.tree(item, 'not')}"
                needed = False
            case (kind, items):
                text = self.tree(items[0], kind)
                for item in items[1:]:
                    text += f"{self.space()}{self.cased(kind)}{self.space()}{self.tree(item, kind)}"
                needed = around == "not" or (around == "and" and kind == "or")
        for _ in range(needed + self.draw(st.integers(0, 1))):
            text = f"({self.space(0)}{text}{self.space(0)})"
        return text


@given(plans, st.data())
@settings(max_examples=200)
def test_every_tree_can_be_written_and_read(plan, data):
    printer = Printer(data.draw)
    text = printer.space(0) + printer.tree(plan) + printer.space(0)
    assume(len(text) <= 10_000)
    assert bare(parse(text)) == meant(plan)


def positioned(node):
    """Each node's position, and what must stand there in the query in lower case."""
    match node:
        case Comparison():
            first = node.operator.split()[0]
            yield node.position, {"=": ("=", "=="), "!=": ("!=", "<>")}.get(first, (first,))
            yield node.field.position, (node.field.function or node.field.name.lower(),)
        case Not():
            yield node.position, ("not",)
            yield from positioned(node.item)
        case And() | Or():
            yield node.position, (type(node).__name__.lower(),)
            for item in node.items:
                yield from positioned(item)


@given(plans, st.data())
def test_every_position_is_that_of_the_thing(plan, data):
    text = Printer(data.draw).tree(plan)
    assume(len(text) <= 10_000)
    for position, words in positioned(parse(text)):
        assert text[position:].lower().startswith(words)


def parses_or_is_refused(text):
    try:
        tree = parse(text)
    except QueryError as error:
        message = str(error)
        assert message.replace("\n", "").isprintable()
        assert len(message) < 400
        if not message.startswith("the query is empty"):
            head, line, caret = message.split("\n")
            assert head.startswith("the query has an error at character ")
            assert len(line) <= 72
            assert 2 <= caret.index("^") <= len(line)
        return
    for position, words in positioned(tree):
        assert text[position:].lower().startswith(words)


@given(st.text())
@example("x = 1 and \ud800")
@example("x = '\u2028'\u2028")
def test_any_text_parses_or_is_refused(text):
    parses_or_is_refused(text)


TOKENS = r"""
    and or not in like is null AND Not ( ) ( ) , = == != <> < <= > >= ! ' " '' "" x loss eval/accuracy best( in( 1 -5
    2.5 1e9 1e999 9223372036854775808 true 7d 7 d ago 'a' "b" 'it''s' % - . : @ ; \ é a=1 b>2
"""
PIECES = [*TOKENS.split(), " ", "\n", "\t", "\0", "\u202e", "x = 1", "x in (1, 2)"]


@given(st.lists(st.sampled_from(PIECES), max_size=30), st.sampled_from(["", " "]))
@settings(max_examples=500)
def test_any_tokens_parse_or_are_refused(pieces, space):
    parses_or_is_refused(space.join(pieces))


@given(plans, st.data())
def test_a_damaged_query_parses_or_is_refused(plan, data):
    text = Printer(data.draw).tree(plan)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 3)))
    parses_or_is_refused(text[:start] + data.draw(st.sampled_from([*PIECES, ""])) + text[end:])
