"""Compositions as values: what they may be made of, how they are written, read and compared."""

import copy
import itertools
import json
import pickle
import re
import subprocess
import sys
import time
from dataclasses import FrozenInstanceError
from fractions import Fraction
from typing import Any

import adapters.composition as theirs
import numpy as np
import pytest
from adapters.methods.adapter_layer_base import ComposableAdapterLayerBase
from hypothesis import example, given
from hypothesis import strategies as st

from pointsman import sdk
from pointsman.registry import Ref
from pointsman.registry.errors import CompositionError, InvalidNameError, SettingsError
from pointsman.sdk.core.composition import (
    NESTINGS,
    Average,
    BatchSplit,
    Composition,
    Fuse,
    Parallel,
    Stack,
    from_dict,
    parse,
    refs,
    replace,
)
from pointsman.sdk.core.refs import parse_members

KINDS: list[Any] = [Stack, Fuse, Parallel, Average, BatchSplit]

# Adapters may be called as blocks are.
names = st.one_of(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True), st.sampled_from(["stack", "fuse", "1e5"]))
leaves = st.builds(
    Ref, names, st.one_of(st.integers(1, 999_999_999), st.sampled_from(["latest", "best", "production"]))
)


@st.composite
def blocks(draw: st.DrawFn, kinds: tuple[Any, ...] = tuple(KINDS), depth: int = 0) -> Any:
    """Any block that adapters allows inside ``depth`` others."""
    kind = draw(st.sampled_from(kinds))
    inner = [] if depth == 2 or (depth and kind is Stack) else NESTINGS[kind]
    nested = [blocks((child,), depth + 1) for child in inner if depth == 0 or child is Stack]
    members = draw(st.lists(st.one_of(leaves, *nested), min_size=1 + (kind is Fuse), max_size=4))
    if kind is BatchSplit:
        return BatchSplit(*members, sizes=[draw(st.integers(1, 999_999_999)) for _ in members])
    if kind is Average and draw(st.booleans()):
        weights = [draw(st.floats(-10, 10)) for _ in members[1:]]
        return Average(*members, weights=[*weights, 1 - sum(weights)])
    return kind(*members)


compositions = st.one_of(leaves, blocks())


def of(kind: Any, *members: Any) -> Any:
    return BatchSplit(*members, sizes=[1] * len(members)) if kind is BatchSplit else kind(*members)


def refused(text: str) -> tuple[str, int]:
    """What is wrong, and the place at which the message points."""
    with pytest.raises(CompositionError) as error:
        parse(text)
    head, line, caret = str(error.value).split("\n")
    found = re.fullmatch(r"the composition has an error at character ([\d,]+): (.+)", head)
    assert found
    assert line.isprintable()
    assert len(line) <= 72
    position = int(found[1].replace(",", "")) - 1
    if len(text) <= 70:
        assert (line, caret) == (
            "  " + "".join(letter if letter.isprintable() else "?" for letter in text),
            " " * (position + 2) + "^",
        )
    return found[2], position


# How they are written


@pytest.mark.parametrize(
    ("composition", "text", "data"),
    [
        (Stack("lang"), "stack(lang)", {"stack": ["lang"]}),
        (
            Stack("lang@1", Fuse("a@2", "b@latest")),
            "stack(lang@1, fuse(a@2, b))",
            {"stack": ["lang@1", {"fuse": ["a@2", "b"]}]},
        ),
        (Parallel("a", Stack("b", "c")), "parallel(a, stack(b, c))", {"parallel": ["a", {"stack": ["b", "c"]}]}),
        (Average("a", "b"), "average(a, b)", {"average": ["a", "b"]}),
        (Average("a", "b", "c"), "average(a, b, c)", {"average": ["a", "b", "c"]}),
        (
            Average("a", Stack("b"), weights=[0.3, 0.7]),
            "average(a: 0.3, stack(b): 0.7)",
            {"average": ["a", {"stack": ["b"]}], "weights": [0.3, 0.7]},
        ),
        (
            Average("a", "b", weights=[1e-7, 1]),
            "average(a: 1e-07, b: 1.0)",
            {"average": ["a", "b"], "weights": [1e-7, 1.0]},
        ),
        (
            BatchSplit("a", "b", sizes=(2, 3)),
            "batchsplit(a: 2, b: 3)",
            {"batchsplit": ["a", "b"], "sizes": [2, 3]},
        ),
    ],
)
def test_the_written_forms(composition: Any, text: str, data: dict[str, Any]) -> None:
    assert str(composition) == text
    assert parse(text) == composition
    assert composition.to_dict() == data
    assert from_dict(data) == composition


@given(compositions)
@example(Ref("stack"))
@example(Average("a", "b", "c", weights=[5e-324, -1.7976931348623157e3, 1798.6931348623157]))
def test_a_text_gives_the_composition_back(composition: Composition) -> None:
    again = parse(str(composition))
    assert again == composition
    assert hash(again) == hash(composition)
    assert str(again) == str(composition)


@given(blocks())
def test_json_a_repr_and_a_pickle_give_the_block_back(block: Any) -> None:
    assert from_dict(json.loads(json.dumps(block.to_dict(), allow_nan=False))) == block
    assert eval(repr(block)) == block
    assert pickle.loads(pickle.dumps(block)) == block
    assert copy.deepcopy(block) == block


def test_a_repr_reads_like_the_call() -> None:
    assert repr(Stack("lang@latest", Fuse("a@2", "b"))) == "Stack('lang', Fuse('a@2', 'b'))"
    assert repr(Average("a", "b", weights=[0.3, 0.7])) == "Average('a', 'b', weights=(0.3, 0.7))"
    assert repr(BatchSplit("a", "b", sizes=[2, 3])) == "BatchSplit('a', 'b', sizes=(2, 3))"
    assert repr(Average("a", "b", weights=[0.5, 0.5])) == "Average('a', 'b')"


@given(compositions, st.randoms(use_true_random=False))
def test_spaces_and_the_case_of_blocks_are_free(composition: Composition, random: Any) -> None:
    def space() -> str:
        return "".join(random.choices(" \t\r\n", k=random.randint(0, 2)))

    text = re.sub(r"[a-z]+(?=\()", lambda found: random.choice([found[0].upper(), found[0].title()]), str(composition))
    spaced = re.sub(r"[(),:]", lambda found: space() + found[0] + space(), text.replace(" ", ""))
    assert parse(space() + spaced + space()) == composition


def test_an_adapter_may_be_called_stack() -> None:
    assert parse("stack") == Ref("stack")
    assert parse("stack@2") == Ref("stack", 2)
    assert parse("stack (stack, stack@2)") == Stack(Ref("stack"), Ref("stack", 2))


@pytest.mark.parametrize("number", ["1", "+1", "1.", "1.0", "1e0", "10E-1", "0.1e+1"])
def test_a_weight_may_be_written_as_any_number(number: str) -> None:
    assert parse(f"average(a: {number}, b: .0)") == Average("a", "b", weights=[1.0, 0.0])


# What they are made of


def test_members_may_be_texts_refs_and_blocks() -> None:
    expected = Stack(Ref("lang"), Fuse(Ref("a", 2), Ref("b")))
    assert expected.members == (Ref("lang"), Fuse("a@2", "b"))
    assert Stack("lang", "fuse(a@2, b)") == expected
    assert parse(expected) is expected
    assert parse(Ref("lang")) == Ref("lang")


def test_a_member_may_stand_more_than_once_and_alone() -> None:
    assert Average("a", "a").members == (Ref("a"), Ref("a"))
    for kind in (Stack, Parallel, Average, BatchSplit):
        assert len(of(kind, "a").members) == 1
    assert Average("a").weights == (1.0,)


@pytest.mark.parametrize("kind", KINDS)
def test_there_have_to_be_members(kind: Any) -> None:
    fewest = 2 if kind is Fuse else 1
    with pytest.raises(CompositionError, match=f"{kind.name} takes at least {fewest} members, found 0"):
        of(kind)
    with pytest.raises(CompositionError, match="fuse takes at least 2 members, found 1"):
        Fuse("a")


@pytest.mark.parametrize("member", ["a@0", "../a", "A", Ref("A"), Ref("a", 0), Ref("a", "v2")])
def test_a_ref_that_cannot_be_is_refused(member: Any) -> None:
    with pytest.raises(InvalidNameError):
        Stack("a", member)


@pytest.mark.parametrize("member", [None, 3, ["a"], b"a", theirs.Stack("a"), "", " "])
def test_a_member_of_another_kind_is_refused(member: Any) -> None:
    with pytest.raises(CompositionError, match=r"expected a ref, a block or a text, found|an empty text"):
        Stack("a", member)


def test_a_ref_is_kept_as_it_would_be_read() -> None:
    assert Stack(Ref("a", "3")).members == (Ref("a", 3),)


def test_members_of_a_version_are_single_refs() -> None:
    assert parse_members(["a", Ref("b", 2), " c@best "]) == [Ref("a"), Ref("b", 2), Ref("c", "best")]
    assert parse_members(name for name in "ab") == [Ref("a"), Ref("b")]
    for members in (None, 5, "a", b"a", {"a": 0.5, "b": 0.5}, {"a", "b"}):
        with pytest.raises(SettingsError, match=r"members must be a list of refs, as .*; found "):
            parse_members(members)  # type: ignore[arg-type]
    for member in (None, 5, ["a"], b"a", "stack(a, b)", Average("a", "b"), ""):
        with pytest.raises(CompositionError):
            parse_members(["a", member])  # type: ignore[list-item]
    with pytest.raises(InvalidNameError):
        parse_members(["a", "not valid"])


def test_weights_may_be_negative_and_of_any_number_type() -> None:
    assert Average("a", "b", weights=[1.5, -0.5]).weights == (1.5, -0.5)
    assert Average("a", "b", weights=np.array([0.25, 0.75])).weights == (0.25, 0.75)  # type: ignore[arg-type]
    assert Average("a", "b", weights=(Fraction(1, 4), np.float32(0.75))).weights == (0.25, 0.75)  # type: ignore[arg-type]
    assert str(Average("a", "b", weights=[1, -0.0])) == "average(a: 1.0, b: 0.0)"


def test_weights_add_up_to_one_and_stay_as_they_are() -> None:
    assert Average("a", "b", "c", weights=[0.3333333] * 3).weights == (0.3333333,) * 3
    assert str(Average("a", "b", weights=[0.4999999, 0.4999999])) == "average(a: 0.4999999, b: 0.4999999)"
    with pytest.raises(CompositionError, match=r"0\.3 and 0\.6 add up to 0\.9: divide each by their sum, or leave"):
        Average("a", "b", weights=[0.3, 0.6])
    for weights in ([0.5, 0.50001], [1, 1], [0, 0], [1e308, 1e308], [1e308, -1e308]):
        with pytest.raises(CompositionError, match="add up to"):
            Average("a", "b", weights=weights)


@pytest.mark.parametrize(
    "weights", [[float("nan"), 1], [float("inf"), 1], [True, False], ["1", "0"], [None, 1], [10**400, 1], [1j, 0]]
)
def test_weights_that_are_no_finite_numbers_are_refused(weights: Any) -> None:
    with pytest.raises(CompositionError, match="a weight must be a finite number, found ") as error:
        Average("a", "b", weights=weights)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("weights", [[], [1], [0.5, 0.25, 0.25]])
def test_there_is_one_weight_a_member(weights: list[float]) -> None:
    with pytest.raises(CompositionError, match=f"one weight a member, or none at all: found {len(weights)} for 2"):
        Average("a", "b", weights=weights)


@pytest.mark.parametrize("numbers", [0.5, 2, True, "10", b"10", {1: 0.5, 2: 0.5}, {1, 2}, np.array(1), object()])
def test_numbers_are_a_list(numbers: Any) -> None:
    with pytest.raises(CompositionError, match="average takes one weight a member, or none at all: found "):
        Average("a", "b", weights=numbers)
    with pytest.raises(CompositionError, match=r"batchsplit takes one size a member, .*: found "):
        BatchSplit("a", "b", sizes=numbers)


def test_numbers_may_come_one_by_one() -> None:
    assert Average("a", "b", weights=iter([0.25, 0.75])).weights == (0.25, 0.75)  # type: ignore[arg-type]
    assert BatchSplit("a", "b", sizes=(size for size in (1, 2))).sizes == (1, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "sizes", [[0, 1], [-1, 1], [None, 1], [float("nan"), 1], [1.0, 1], [True, 1], ["1", 1], [10**9, 1], [10**5000, 1]]
)
def test_sizes_that_cannot_be_are_refused(sizes: Any) -> None:
    with pytest.raises(CompositionError, match="from 1 to 999,999,999, found ") as error:
        BatchSplit("a", "b", sizes=sizes)
    assert len(str(error.value)) < 200


def test_there_is_one_size_a_member() -> None:
    assert BatchSplit("a", "b", sizes=np.array([2, 3])).sizes == (2, 3)  # type: ignore[arg-type]
    for sizes in ([], [1], [1, 2, 3]):
        with pytest.raises(CompositionError, match=f"one size a member, .* found {len(sizes)} for 2"):
            BatchSplit("a", "b", sizes=sizes)
    with pytest.raises(CompositionError, match="one size a member"):
        BatchSplit("a", "b")


# How they compare


def test_equality_is_by_value() -> None:
    different = [
        Ref("a"),
        Stack("a"),
        Stack("a", "b"),
        Stack("b", "a"),
        Stack("a@1", "b"),
        Parallel("a", "b"),
        Fuse("a", "b"),
        Average("a", "b"),
        Average("a", "b", weights=[0.25, 0.75]),
        BatchSplit("a", "b", sizes=[1, 2]),
        BatchSplit("a", "b", sizes=[2, 1]),
        "stack(a)",
        ("a", "b"),
    ]
    for one, other in itertools.product(different, repeat=2):
        assert (one == other) is (one is other)
    assert len(set(different)) == len(different)
    assert Stack("a", "b") == Stack(Ref("a"), "b@latest")
    assert Average("a", "b") == Average("a", "b", weights=[0.5, 0.5])
    assert len({Average("a", "b"), Average("a", "b", weights=[0.5, 0.5]), parse("average(a, b)")}) == 1


@given(compositions, compositions)
def test_those_that_are_equal_are_written_alike(one: Composition, other: Composition) -> None:
    assert (one == other) is (str(one) == str(other))


def test_they_are_frozen() -> None:
    for block in [of(kind, "a", "b") for kind in KINDS]:
        for field in ("members", "weights", "sizes", "more"):
            with pytest.raises(FrozenInstanceError):
                setattr(block, field, ())
    sizes = [1, 2]
    block = BatchSplit("a", "b", sizes=sizes)
    sizes[0] = 7
    assert block.sizes == (1, 2)


# What may be nested


def their_name(kind: type) -> str:
    return kind.__name__


def test_the_table_of_nestings_is_that_of_adapters() -> None:
    ours = {their_name(kind): {their_name(child) for child in children} for kind, children in NESTINGS.items()}
    left_out = {"Split", "MultiTask"}
    library = {
        their_name(kind): {their_name(child) for child in children if child is not str} - left_out
        for kind, children in theirs.ALLOWED_NESTINGS.items()
        if their_name(kind) not in left_out
    }
    assert ours == library
    assert len(ours) == 5
    assert all(str in children for children in theirs.ALLOWED_NESTINGS.values())


def they_run(block: Any, level: int = 0) -> None:
    """Ask what the library's forward asks before each block inside another."""
    for child in block:
        if not isinstance(child, str):
            ComposableAdapterLayerBase.check_composition_valid(None, block, child, level)
            they_run(child, level + 1)


def they_take(chain: tuple[str, ...]) -> bool:
    block: Any = "a"
    for name in reversed(chain):
        block = getattr(theirs, name)(block, "b", **({"batch_sizes": 1} if name == "BatchSplit" else {}))
    try:
        theirs.parse_composition(block)
        they_run(block)
    except ValueError:
        return False
    return True


def we_take(chain: tuple[str, ...]) -> bool:
    block: Any = "a"
    kinds = {their_name(kind): kind for kind in KINDS}
    try:
        for name in reversed(chain):
            block = of(kinds[name], block, "b")
    except CompositionError:
        return False
    return True


def test_what_may_be_nested_is_what_adapters_would_run() -> None:
    chains = [
        chain
        for depth in range(1, 5)
        for chain in itertools.product([their_name(kind) for kind in KINDS], repeat=depth)
    ]
    taken = [chain for chain in chains if they_take(chain)]
    assert [chain for chain in chains if we_take(chain)] == taken
    assert len(chains) == 780
    assert [sum(len(chain) == depth for chain in taken) for depth in range(1, 5)] == [5, 13, 9, 0]


@pytest.mark.parametrize(
    ("text", "at", "what"),
    [
        ("stack(a, stack(b))", 9, "stack cannot hold stack, only refs and these blocks: fuse, parallel, average, bat"),
        ("fuse(average(a, b), c)", 5, "fuse cannot hold average, only refs and these blocks: stack"),
        (
            "parallel(a, stack(b, fuse(c, d)))",
            12,
            "a stack inside another block, here parallel, can hold refs only, and no fuse",
        ),
        (
            "stack(parallel(a, average(b, c)))",
            6,
            "only a stack of refs can be inside two other blocks, and no average in parallel in stack",
        ),
        ("stack(fuse(a, stack(fuse(a, stack(b)))))", 20, "more than 3 blocks inside each other"),
    ],
)
def test_the_rule_that_is_broken_is_named(text: str, at: int, what: str) -> None:
    message, position = refused(text)
    assert message.startswith(what)
    assert position == at


def test_a_constructor_names_the_rule_too() -> None:
    with pytest.raises(CompositionError, match="average cannot hold average, only refs and these blocks: stack, batch"):
        Average("a", Average("b", "c"))


# What is refused, and where


@pytest.mark.parametrize(
    ("text", "at", "what"),
    [
        ("stack(", 6, "expected a ref or a block, found the end"),
        ("stack( ", 7, "expected a ref or a block, found the end"),
        ("stack()", 6, "expected a ref or a block, found ')'"),
        ("stack(a,)", 8, "expected a ref or a block, found ')'"),
        ("(a)", 0, "expected a ref or a block, found '('"),
        (":", 0, "expected a ref or a block, found ':'"),
        ("stack(a", 7, "expected ',' or ')', found the end"),
        ("stack(a b)", 8, "expected ',' or ')', found 'b'"),
        ("average(a: 1: 2)", 12, "expected ',' or ')', found ':'"),
        ("a, b", 1, "expected the end, found ','"),
        ("stack(a))", 8, "expected the end, found ')'"),
        ("stack(a) b", 9, "expected the end, found 'b'"),
        ("stack(a: 1)", 7, "members of stack take no numbers: only those of average and batchsplit do"),
        ("average(a: , b)", 11, "expected a weight such as 0.25, found ','"),
        ("average(a: nan, b: 1)", 11, "expected a weight such as 0.25, found 'nan'"),
        ("average(a: 1_0, b: 1)", 11, "expected a weight such as 0.25, found '1_0'"),
        ("average(a: \u0661, b: 0)", 11, "expected a weight such as 0.25, found '\\u0661'"),
        ("average(a: 1e999, b: 1)", 0, "a weight must be a finite number, found inf and 1.0"),
        ("average(a: 1, b)", 0, "average takes one weight a member, or none at all: found 1 for 2"),
        ("average(a, b: 1)", 0, "average takes one weight a member, or none at all: found 1 for 2"),
        ("stack(a, average(a: 0.5, b: 0.4))", 9, "weights must add up to 1, and 0.5 and 0.4 add up to 0.9: divide"),
        ("batchsplit(a, b)", 0, "batchsplit takes one size a member, as in batchsplit(a: 2, b: 3): found 0 for 2"),
        ("batchsplit(a: 0)", 14, "expected a number of rows from 1 to 999,999,999, found '0'"),
        ("batchsplit(a: 1.0)", 14, "expected a number of rows from 1 to 999,999,999, found '1.0'"),
        ("batchsplit(a: 1000000000)", 14, "expected a number of rows from 1 to 999,999,999, found '1000000000'"),
        ("fuse(a)", 0, "fuse takes at least 2 members, found 1"),
        ("stack(a, B)", 9, "adapter name 'B' is not valid"),
        ("stack(a@0)", 6, "ref 'a@0' is not valid"),
        ("stack(a @2)", 8, "expected ',' or ')', found '@2'"),
        ("stack(a\u202e)", 6, "adapter name 'a\\u202e' is not valid"),
        ("stack(\u00a0a)", 6, "adapter name '\\xa0a' is not valid"),
        ("stac\u212a(a)", 0, "unknown block 'stac\\u212a'"),
    ],
)
def test_an_error_says_what_was_expected_and_where(text: str, at: int, what: str) -> None:
    message, position = refused(text)
    assert message.startswith(what)
    assert position == at


def test_an_unknown_block_gets_near_names_and_the_list() -> None:
    everything = "known: stack, fuse, parallel, average, batchsplit"
    assert refused("stack(a, avrage(b, c))") == (f"unknown block 'avrage'; did you mean average?; {everything}", 9)
    assert refused("sst2(a)") == (f"unknown block 'sst2'; {everything}", 0)
    assert refused("stack@2(a)")[0].startswith("unknown block 'stack@2'; did you mean stack?")


@pytest.mark.parametrize("text", ["", " ", "\n\t \r\n"])
def test_an_empty_text_gets_an_example(text: str) -> None:
    with pytest.raises(CompositionError, match="an empty text is not valid: write a ref, or for example ") as error:
        parse(text)
    parse(str(error.value).partition("example ")[2])


def test_a_single_ref_that_breaks_the_rules_is_refused_as_everywhere() -> None:
    for text in ("SST2", "../sst2", "a b", "stack@0"):
        with pytest.raises(InvalidNameError):
            parse(text)


pieces = st.lists(
    st.sampled_from(["stack", "Fuse", "average", "batchsplit", "parallel", "(", ")", ",", ":", " ", "a@2", "1", "0.5"])
)


@given(st.one_of(st.text(st.characters()), pieces.map("".join), blocks().map(lambda block: str(block)[:-1])))
@example("stack(\ud800)")
@example("average(a: 1e308, b: 1e308)")
@example("average(a:" + "9" * 5_000 + ")")
@example("batchsplit(a:" + "9" * 5_000 + ")")
def test_whatever_the_text_either_it_is_read_or_the_error_is_ours(text: str) -> None:
    message = ""
    try:
        composition = parse(text)
        assert parse(str(composition)) == composition
    except (CompositionError, InvalidNameError) as error:
        message = str(error)
    assert all(line.isprintable() for line in message.split("\n"))
    assert len(message) < 600


# JSON


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ([], r'expected a block such as {"stack": ["a", "b"]}, found []'),
        ("stack(a)", r'expected a block such as {"stack": ["a", "b"]}, found \'stack(a)\''),
        ({}, "expected one of the keys stack, fuse, parallel, average, batchsplit, found none"),
        ({"Stack": ["a"]}, "expected one of the keys stack, fuse, parallel, average, batchsplit, found 'Stack'"),
        ({"é" * 1_000: 2}, r"batchsplit, found '\xe9\xe9"),
        ({1: 2}, "expected one of the keys stack, fuse, parallel, average, batchsplit, found 1"),
        ({"stack": ["a"], "fuse": ["a", "b"]}, "expected one of the keys stack, .*, found 'stack' and 'fuse'"),
        ({"stack": ["a"], "weights": [1]}, "unknown key of stack 'weights'; known: stack"),
        ({"average": ["a"], "weight": [1]}, "unknown key of average 'weight'; did you mean weights?"),
        ({"average": ["a"], "weights": 1}, "expected a list as weights, found 1"),
        ({"average": ["a"], "weights": None}, "expected a list as weights, found None"),
        ({"average": ["a", "b"], "weights": []}, "one weight a member, or none at all: found 0 for 2"),
        ({"average": ["a"], "weights": [True]}, "a weight must be a finite number, found True"),
        ({"batchsplit": ["a"]}, "batchsplit takes one size a member"),
        ({"batchsplit": ["a"], "sizes": [1.0]}, "from 1 to 999,999,999, found 1.0"),
        ({"stack": "a"}, "expected a list as stack, found 'a'"),
        ({"stack": []}, "stack takes at least 1 members, found 0"),
        ({"stack": ["a", 3]}, r'stack[1]: expected a block such as {"stack": ["a", "b"]}, found 3'),
        ({"stack": ["fuse(a, b)"]}, r"stack[0]: adapter name 'fuse(a, b)' is not valid"),
        ({"stack": ["a", {"fuse": ["b", "C"]}]}, r"stack[1]: fuse[1]: adapter name 'C' is not valid"),
        ({"stack": [{"stack": ["a"]}]}, "stack cannot hold stack"),
    ],
)
def test_json_of_another_form_is_refused(data: Any, what: str) -> None:
    pattern = re.escape(what).replace(r"\.\*", ".*").replace(r"\\'", "'")
    with pytest.raises(CompositionError, match=pattern) as error:
        from_dict(data)
    assert len(str(error.value)) < 300


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.just("a")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["stack", "fuse", "average", "batchsplit", "weights", "sizes"]), inner),
    ),
)


@given(json_values)
def test_whatever_the_json_either_it_is_read_or_the_error_is_ours(data: Any) -> None:
    try:
        block = from_dict(data)
    except CompositionError:
        return
    assert from_dict(block.to_dict()) == block


# Leaves


def test_refs_are_the_leaves_in_order_once_each() -> None:
    text = "stack(lang, average(b@2, stack(a, b), lang))"
    assert refs(parse(text)) == (Ref("lang"), Ref("b", 2), Ref("a"), Ref("b"))
    assert refs(Ref("a")) == (Ref("a"),)


@given(compositions)
def test_refs_are_what_is_written(composition: Composition) -> None:
    words = re.findall(r"[a-z0-9][a-z0-9_@-]*(?![a-z0-9_@-]|\()", re.sub(r": [^,)]+", "", str(composition)))
    assert [str(ref) for ref in refs(composition)] == list(dict.fromkeys(words))


@given(compositions)
def test_leaves_are_pinned_and_the_rest_stays(composition: Composition) -> None:
    seen: list[Ref] = []

    def pin(ref: Ref) -> Ref:
        seen.append(ref)
        return Ref(ref.name, 7)

    pinned = replace(composition, pin)
    assert tuple(dict.fromkeys(seen)) == refs(composition)
    assert refs(pinned) == tuple(dict.fromkeys(Ref(ref.name, 7) for ref in refs(composition)))
    assert replace(composition, lambda ref: ref) == composition
    numbers = r": ([^,)]+)"
    assert re.findall(numbers, str(pinned)) == re.findall(numbers, str(composition))


def test_a_leaf_can_be_replaced_by_what_it_is_made_of() -> None:
    named = {Ref("both"): Average("a", "b", weights=[0.25, 0.75])}

    def expand(ref: Ref) -> Composition:
        return named.get(ref, ref)

    assert replace(Ref("both"), expand) == named[Ref("both")]
    assert str(replace(Stack("lang", "both"), expand)) == "stack(lang, average(a: 0.25, b: 0.75))"
    with pytest.raises(CompositionError, match="fuse cannot hold average"):
        replace(Fuse("both", "c"), expand)
    with pytest.raises(CompositionError, match="no average in parallel in stack"):
        replace(Stack(Parallel("both", "c")), expand)


# Limits


def test_a_composition_may_be_long() -> None:
    count = 50_000 // 3 - 2
    block = Stack(*["a"] * count)
    text = str(block)
    assert len(text) <= 50_000
    assert parse(text) == block
    assert parse(text + " " * (50_000 - len(text))) == block
    assert refused(text + " " * (50_001 - len(text))) == (
        "a composition has at most 50,000 characters, this one 50,001",
        50_000,
    )
    with pytest.raises(CompositionError, match="a composition has at most 50,000 characters, this one 50,00"):
        Stack(*["a"] * (count + 1), "a", "a")


@pytest.mark.parametrize(
    "text",
    [
        "stack(" * 8_000,
        "batchsplit(" * 4_000 + "a" + ": 1)" * 1_000,
        "(" * 50_000,
        "a(" * 25_000,
        "," * 50_000,
        "stack(" + "a" * 49_000 + ")",
        "stack(a" + " " * 49_000 + "b",
        "average(" + "a:1," * 12_000 + "a:1)",
        "average(a:" + "1" * 49_000 + "x)",
        "average(a:" + "1" * 49_000 + ")",
    ],
)
def test_a_hostile_text_is_refused_at_once(text: str) -> None:
    start = time.perf_counter()
    message, _ = refused(text)
    assert time.perf_counter() - start < 5
    assert len(message) < 300


def test_hostile_json_is_refused() -> None:
    nested: list[Any] = []
    for _ in range(10_000):
        nested = [nested]
    with pytest.raises(CompositionError, match="expected a block"):
        from_dict({"stack": nested})
    deep: dict[str, Any] = {"batchsplit": [], "sizes": [1]}
    deep["batchsplit"].append(deep)
    with pytest.raises(CompositionError, match=r"^(batchsplit\[0\]: ){3}more than 3 blocks inside each other$"):
        from_dict(deep)


# Where they are found


def test_the_sdk_has_the_blocks() -> None:
    for kind in KINDS:
        assert getattr(sdk, kind.__name__) is kind
        assert kind.__name__ in sdk.__all__


def test_compositions_import_no_models() -> None:
    code = "import sys; from pointsman.sdk import Stack; Stack('a'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "pointsman.sdk.core.composition" in loaded
    assert not {"torch", "transformers", "adapters", "datasets", "numpy"} & set(loaded)
