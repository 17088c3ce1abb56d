import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pointsman.registry import PointsmanError, Ref
from pointsman.registry.errors import AdapterNotFoundError, InvalidNameError, NotFoundError, unknown
from pointsman.registry.refs import check_alias, check_metric, check_name

NAME = r"[a-z0-9][a-z0-9_-]{0,63}"
RESERVED = r"latest|best|v?[0-9]+"

names = st.from_regex(NAME, fullmatch=True)
aliases = names.filter(lambda text: not re.fullmatch(RESERVED, text))
selectors = st.one_of(st.integers(1, 999_999_999), st.sampled_from(["latest", "best"]), aliases)
anything = st.text(st.characters())

HOSTILE = {
    "empty": "",
    "parent directory": "..",
    "path": "a/b",
    "absolute path": "/etc/passwd",
    "backslash": "a\\b",
    "dot": ".",
    "dot inside": "a.b",
    "NUL": "a\0b",
    "per cent": "%2e%2e",
    "trailing newline": "sst2\n",
    "leading newline": "\nsst2",
    "carriage return": "sst2\r",
    "escape sequence": "\x1b[31msst2",
    "bell": "sst2\x07",
    "delete": "sst2\x7f",
    "C1 control": "sst2\x9b",
    "bidi override": "\u202esst2",
    "bidi isolate": "sst2\u2066",
    "zero width space": "ss\u200bt2",
    "byte order mark": "\ufeffsst2",
    "line separator": "sst2\u2028",
    "10,000 characters": "a" * 10_000,
    "65 characters": "a" * 65,
    "Cyrillic": "s\u0455t2",
    "full width": "\uff53\uff53\uff54\uff12",
    "Arabic digits": "\u0661\u0662",
    "superscript": "sst\u00b2",
    "accent": "\u00e9t\u00e9",
    "dotless i": "m\u0131nilm",
    "Kelvin sign": "\u212a",
    "upper case": "SST2",
    "leading hyphen": "-rf",
    "leading underscore": "_a",
    "space": "a b",
    "leading space": " sst2",
    "quote": "a'b",
    "SQL": "a'; drop table version; --",
    "glob": "a*",
    "shell": "$(reboot)",
    "home": "~",
    "lone surrogate": "\udcff",
    "emoji": "\U0001f600",
}


def assert_safe_message(error):
    """Whatever came in, the message is one short line that no terminal acts on."""
    message = str(error.value)
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 400


@given(names, selectors)
def test_refs_round_trip(name, selector):
    ref = Ref(name, selector)
    assert Ref.parse(str(ref)) == ref
    assert Ref.parse(ref) is ref


@given(names)
def test_a_name_alone_means_the_latest(name):
    assert Ref.parse(name) == Ref.parse(f"{name}@latest") == Ref(name, "latest")
    assert str(Ref.parse(f"{name}@latest")) == name


@given(anything)
@example("a@1@2")
@example("a@v1")
def test_whatever_parses_prints_as_it_was_and_all_else_is_refused(text):
    try:
        ref = Ref.parse(text)
    except InvalidNameError:
        return
    assert str(ref) == text.removesuffix("@latest")
    assert re.fullmatch(NAME, ref.name)


def test_there_are_many_hostile_names():
    assert len(set(HOSTILE.values())) == len(HOSTILE) == 42


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_names_are_refused(text):
    for check in (check_name, check_alias, Ref.parse):
        with pytest.raises(InvalidNameError) as error:
            check(text)
        assert_safe_message(error)


@pytest.mark.parametrize("found", [None, 5, 2.5, b"a", ["a"], {"a": 1}])
def test_what_is_no_text_is_refused(found):
    for read in (check_name, Ref.parse):
        with pytest.raises(InvalidNameError, match=re.escape(ascii(repr(found)))):
            read(found)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_selectors_are_refused(text):
    with pytest.raises(InvalidNameError, match="latest") as error:
        Ref.parse(f"sst2@{text}")
    assert_safe_message(error)


@pytest.mark.parametrize(
    "text", ["sst2@0", "sst2@01", "sst2@-1", "sst2@1.0", "sst2@1000000000", "sst2@v3", "@3", "a@@3"]
)
def test_selectors_that_are_no_number_are_refused(text):
    with pytest.raises(InvalidNameError):
        Ref.parse(text)


@given(names)
@example("latest")
@example("best")
@example("3")
@example("v3")
def test_an_alias_is_a_name_that_means_nothing_yet(text):
    if re.fullmatch(RESERVED, text):
        with pytest.raises(InvalidNameError, match="reserved"):
            check_alias(text)
    else:
        assert check_alias(text) == text


@pytest.mark.parametrize("text", ["loss", "eval/accuracy", "eval/mnli-mm/F1.macro", "_private", "a" * 200])
def test_metric_names(text):
    assert check_metric(text) == text


@pytest.mark.parametrize(
    "text", ["", "/loss", "loss/", "a//b", "a b", ".a", "a\n", "a\0", "..", "a" * 201, "a'", 'a"', "\u202ea", "\udcff"]
)
def test_hostile_metric_names_are_refused(text):
    with pytest.raises(InvalidNameError) as error:
        check_metric(text)
    assert_safe_message(error)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_an_unknown_name_is_shown_safely(text):
    with pytest.raises(NotFoundError) as error:
        _unknown(text, ["sst2", "cola"])
    assert_safe_message(error)


def test_an_unknown_name_lists_the_near_ones_first():
    with pytest.raises(AdapterNotFoundError) as error:
        _unknown("ssst2", ["cola", "mrpc", "sst2"])
    assert str(error.value) == "unknown adapter 'ssst2'; did you mean sst2?; known: cola, mrpc, sst2"


def test_an_unknown_name_among_many_lists_twenty():
    error = unknown(AdapterNotFoundError, "adapter", "x", [f"name{number}" for number in range(25)], "ask someone")
    assert str(error).endswith("name19, and 5 more; ask someone")
    assert isinstance(error, PointsmanError)
    assert "none exists yet" in str(unknown(AdapterNotFoundError, "adapter", "x", []))


def _unknown(name, known):
    raise unknown(AdapterNotFoundError, "adapter", name, known)
