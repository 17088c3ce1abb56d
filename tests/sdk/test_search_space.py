"""A space is what people type: it reads what it prints, and refuses what cannot be searched."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pointsman.registry.errors import SettingsError
from pointsman.sdk.tuning.space import Choices, Dimension, Range, Space, format_params, format_value, parse

finite = st.floats(allow_nan=False, allow_infinity=False)
whole = st.integers(-(2**53), 2**53)
names = st.from_regex(r"[a-z][a-z_]*(\.[a-z_]+)?", fullmatch=True)


def made(low: float, high: float, log: bool) -> Range | None:
    try:
        return Range(low=low, high=high, log=log)
    except SettingsError:
        return None


ranges = st.builds(
    made, st.one_of(finite, whole, st.just(0)), st.one_of(finite, whole, st.just(1)), st.booleans()
).filter(bool)
values = st.one_of(st.none(), st.booleans(), st.integers(), finite, st.text(), st.sampled_from(["relu", "a-b", "null"]))
choices = st.lists(values, min_size=1, unique=True).map(lambda found: Choices(tuple(found)))
dimensions: st.SearchStrategy[Dimension] = st.one_of(ranges, choices)


@given(names, dimensions)
@example("a", Choices(("..",)))
@example("a", Choices(("1..2",)))
@example("a", Choices(("a,b", "c")))
@example("a", Choices(("null", None)))
@example("a", Choices(("4", 4)))
@example("a", Choices(("",)))
@example("a", Range(low=1, high=2))
@example("a", Range(low=1.0, high=2.0))
@example("a", Range(low=5e-324, high=1e300, log=True))
def test_a_dimension_reads_as_it_prints(name: str, dimension: Dimension) -> None:
    found = parse(name, str(dimension))
    assert found == dimension
    assert repr(found) == repr(dimension)  # 1 is not 1.0, and not true


@given(st.dictionaries(names, dimensions, min_size=1))
def test_a_space_reads_as_it_prints(found: dict[str, Dimension]) -> None:
    try:
        space = Space(found)
    except SettingsError:
        assert all(dimension.size == 1 for dimension in found.values())
        return
    assert Space.parse(space.texts) == space
    assert Space.of({name: str(dimension) for name, dimension in found.items()}) == space
    assert Space(dict(reversed(found.items()))).texts == space.texts


@given(names, st.one_of(st.text(), st.from_regex(r'[-+0-9.eE:log,"\[\]{}a ]*', fullmatch=True)))
@example("r", "[" * 100_000)
@example("r", '"' + "[" * 100_000)
@example("r", "9" * 5000 + ".." + "9" * 5001)
@example("r", "9" * 5000)
@example("r", "NaN,Infinity")
def test_whatever_is_typed_is_read_or_refused(name: str, text: str) -> None:
    try:
        dimension = parse(name, text)
    except SettingsError:
        return
    assert parse(name, str(dimension)) == dimension
    for value in dimension.samples:
        assert not isinstance(value, float) or math.isfinite(value)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(2, 4))
def test_every_combination_is_there_once(one: int, two: int, three: int) -> None:
    space = Space(
        {"a": Choices(tuple(range(one))), "b": Choices(tuple("vwxyz"[:two])), "c": Range(low=7, high=6 + three)}
    )
    assert space.size == one * two * three
    found = [tuple(space.combination(index).items()) for index in range(space.size)]
    assert len(set(found)) == space.size
    assert set(found) == {
        (("a", a), ("b", b), ("c", c)) for a in range(one) for b in "vwxyz"[:two] for c in range(7, 7 + three)
    }


def test_what_people_type() -> None:
    texts = [
        "learning_rate=1e-4..1e-2:log",
        "weight_decay=0..0.1",
        "r=4,8,16",
        "n = 1..9",
        "f=relu, gelu",
        "c=null,true",
    ]
    assert Space.parse(texts).dimensions == {
        "learning_rate": Range(low=1e-4, high=1e-2, log=True),
        "weight_decay": Range(low=0.0, high=0.1),
        "r": Choices((4, 8, 16)),
        "n": Range(low=1, high=9),
        "f": Choices(("relu", "gelu")),
        "c": Choices((None, True)),
    }
    assert parse("r", "1..9") == Range(low=1, high=9)
    assert parse("r", "1..9").size == 9
    assert parse("r", "1.0..9").size is None
    assert parse("r", '"1..9","a,b"') == Choices(("1..9", "a,b"))
    assert format_params({"f": "relu", "c": None, "lr": 1e-5}) == "f=relu c=null lr=1e-05"
    assert format_value("null") == "null"


REFUSED = {
    "learning_rate": "written NAME=",
    "=1..2": "written NAME=",
    "r=": "list of choices is empty",
    "r=4,,8": "an empty choice",
    "r=8..4": "is empty",
    "r=4..4": "is empty",
    "r=4..x": "is not a range",
    "r=4..": "is not a range",
    "r=..": "is not a range",
    "r=1..2..3": "is not a range",
    "r=1..2:linear": "is not a range",
    "r=1..2:": "is not a range",
    "r=1..2,5": "is not a range",
    "r=nan..2": "is not a range",
    "r=0..1:log": "above 0",
    "r=-1.5..1:log": "above 0",
    "r=1..1e999": "finite",
    "r=-1e308..1e308": "too wide",
    "r=4,4": "a duplicate value",
    "r=1,true": "a duplicate value",
    "r=[1],[2]": "a finite number, true, false, null or a word",
    "r={}": "a finite number, true, false, null or a word",
    'r="a': "is not a choice",
    "r=a]": "is not a choice",
    "r=4": "nothing to search",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_searched_is_refused(text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Space.parse([text])
    assert REFUSED[text] in str(refused.value)
    assert text.partition("=")[0] in str(refused.value)


def test_a_space_needs_something_to_search() -> None:
    with pytest.raises(SettingsError, match="empty"):
        Space({})
    with pytest.raises(SettingsError, match="each of a=4, b=relu has one value"):
        Space.parse(["b=relu", "a=4"])
    with pytest.raises(SettingsError, match=r"names r twice: 4,8 and 16"):
        Space.parse(["r=4,8", "r=16"])
    with pytest.raises(SettingsError, match=r"2\*\*53"):
        Range(low=0, high=2**53 + 1)
    with pytest.raises(SettingsError, match="two finite ends"):
        Range(low=False, high=2)
    with pytest.raises(SettingsError, match="a dimension must be a text"):
        Space.of({"r": [4, 8]})  # type: ignore[dict-item]
