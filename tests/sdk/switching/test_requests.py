"""Requests: every form of inputs, streams that go on while refs move, and what refs resolve to meanwhile."""

import itertools
import threading
from collections import UserString
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from pointsman.registry import Base, Registry
from pointsman.registry.errors import AdapterNotFoundError, CompositionError, SettingsError
from pointsman.sdk import Average, BatchSplit, Stack, Switcher, compose, evaluate, fuse
from pointsman.sdk.switching.execute import executor
from pointsman.sdk.switching.execute.requests import STREAM_ROWS
from pointsman.sdk.switching.resolve import lookup as lookups
from pointsman.sdk.switching.resolve.resolved_ref import Lookup, ResolvedRef
from pointsman.sdk.tasks import GLUE

from helpers import PAIRS, TEXTS, MakeVersion

LIMIT = 30
"""Seconds that nothing here takes."""


@pytest.fixture
def switcher(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> Any:
    """With ``a``, ``b`` and ``c`` for single texts, and ``pair`` for pairs."""
    for seed, name in enumerate("abc"):
        make_version(name, seed=seed)
    make_version("pair", GLUE["mrpc"], seed=3)
    with Switcher(str(tiny_base), registry=registry) as opened:
        yield opened


def test_inputs_are_any_list_array_or_column(switcher: Switcher) -> None:
    expected = switcher.predict("a", TEXTS)
    for inputs in (tuple(TEXTS), np.array(TEXTS), np.array(TEXTS, dtype=object), pandas.Series(TEXTS)):
        assert switcher.predict("a", inputs) == expected  # type: ignore[call-overload]
    pairs = switcher.predict("pair", PAIRS)
    for both in ([list(pair) for pair in PAIRS], np.array(PAIRS), [np.array(pair) for pair in PAIRS]):
        assert switcher.predict("pair", both) == pairs  # type: ignore[call-overload]
    rows = [("a", text) for text in TEXTS]
    assert switcher.predict_mixed(np.array(rows)) == switcher.predict_mixed(rows)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("one text", "found one string"),
        (b"one text", "found one string"),
        ({"text": ["x", "y"]}, "found a dict"),
        ({"x", "y"}, "found a set"),
        (None, "found a NoneType"),
        (5, "found a int"),
        ((text for text in TEXTS), "found a generator: make it a list, or give .* to predict_stream"),
        ([UserString("x")], "single texts: input 0"),
    ],
)
def test_what_is_no_list_of_texts(switcher: Switcher, inputs: Any, message: str) -> None:
    for ask in (lambda: switcher.predict("a", inputs), lambda: switcher.logits("a", inputs)):
        with pytest.raises(SettingsError, match=message):
            ask()
    with switcher.active("a"), pytest.raises(SettingsError):
        switcher.predict(inputs)


@pytest.mark.parametrize("inputs", ["one text", b"one text", {"text": "x"}, {"x"}, None, 5])
def test_a_stream_of_what_is_no_texts_is_refused_at_once(switcher: Switcher, inputs: Any) -> None:
    with pytest.raises(SettingsError, match="one after the other"):
        switcher.predict_stream("a", inputs)
    with pytest.raises(AdapterNotFoundError):
        switcher.predict_stream("nosuch", TEXTS)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "x"), ("pair", "x", "y")], r"row 1 is \('pair', 'x', 'y'\): write .* \(ref, \(text, text\)\)"),
        ([("a",)], "row 0"),
        (["ab"], "row 0 is 'ab'"),
        ([(["a"], "x")], "row 0"),
        ([None], "row 0 is None"),
        ({"a": "x"}, "found a dict"),
        (None, "found a NoneType"),
        (iter([("a", "x")]), "list of .ref, text."),
        ([], "nothing to predict"),
    ],
)
def test_what_is_no_mixed_batch(switcher: Switcher, rows: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        switcher.predict_mixed(rows)


def test_a_composition_alone_is_no_input(switcher: Switcher) -> None:
    with switcher.active("a"), pytest.raises(SettingsError, match="takes a ref and a list"):
        switcher.predict(Stack("a", "b"))  # type: ignore[call-overload]


def test_a_stream_is_split_as_a_whole(switcher: Switcher) -> None:
    texts = [TEXTS[index % len(TEXTS)] for index in range(2 * STREAM_ROWS)]
    for first in (STREAM_ROWS - 24, STREAM_ROWS, STREAM_ROWS + 1):
        split = BatchSplit("a", "b", sizes=[first, len(texts) - first])
        labels = [answer.score for answer in switcher.predict_stream(split, iter(texts))]
        assert labels == pytest.approx([answer.score for answer in switcher.predict(split, texts)], abs=1e-6)
    inside = f"stack(c, batchsplit(a: {STREAM_ROWS + 1}, b: {STREAM_ROWS - 1}))"
    one = [answer.score for answer in switcher.predict_stream(inside, iter(texts))]
    assert one == pytest.approx([answer.score for answer in switcher.predict(inside, texts)], abs=1e-6)


@pytest.mark.parametrize("rows", [0, 3, STREAM_ROWS, STREAM_ROWS + 3, 2 * STREAM_ROWS, 2 * STREAM_ROWS + 1])
def test_a_stream_that_is_no_split(switcher: Switcher, rows: int) -> None:
    due = STREAM_ROWS + 1
    with pytest.raises(CompositionError, match=f"add up to {due}, and there are {'more' if rows > due else rows} rows"):
        list(switcher.predict_stream(BatchSplit("a", "b", sizes=[1000, due - 1000]), ["x"] * rows))


def test_a_wrong_input_is_counted_from_the_beginning_of_its_stream(switcher: Switcher) -> None:
    texts: list[Any] = ["x"] * (STREAM_ROWS + 2) + [3]
    with pytest.raises(SettingsError, match=f"input {STREAM_ROWS + 2} is 3"):
        list(switcher.predict_stream("a", texts))


def test_a_stream_ends_with_what_it_began(switcher: Switcher, make_version: MakeVersion, registry: Registry) -> None:
    make_version("a", seed=7)
    registry.set_alias("a@1", "live")
    stream = switcher.predict_stream("a@live", [TEXTS[0]] * (2 * STREAM_ROWS))
    first = next(stream)
    registry.set_alias("a@2", "live")
    assert switcher.refresh() == {"a@live": "a@2"}
    assert list(itertools.islice(stream, STREAM_ROWS, None))[-1].score == pytest.approx(first.score, abs=1e-6)
    assert switcher.predict("a@live", [TEXTS[0]]) != [first]


@pytest.mark.parametrize("forget", [lambda switcher: switcher.refresh(), lambda switcher: switcher.unload("a@1")])
def test_what_was_looked_up_before_a_refresh_does_not_count_after_it(
    switcher: Switcher,
    make_version: MakeVersion,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    forget: Callable[[Switcher], object],
) -> None:
    make_version("a", seed=7)
    registry.set_alias("a@1", "live")
    found, go = threading.Event(), threading.Event()
    look_up = lookups.look_up

    def slowly(lookup: Lookup, registry: Registry, base: Base) -> ResolvedRef:
        resolved = look_up(lookup, registry, base)
        if str(lookup) == "a@live" and not found.is_set():
            found.set()
            assert go.wait(LIMIT)
        return resolved

    monkeypatch.setattr(lookups, "look_up", slowly)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(switcher.load, "a@live")
        assert found.wait(LIMIT)
        registry.set_alias("a@2", "live")
        forget(switcher)
        go.set()
        assert call.result(LIMIT) == "a@2"
    assert switcher.load("a@live") == "a@2"


def test_a_call_that_a_close_overtakes_says_so(switcher: Switcher, monkeypatch: pytest.MonkeyPatch) -> None:
    switcher.load("a")
    check_input = executor.check_input

    def closing(*arguments: Any) -> Any:
        switcher.close()
        return check_input(*arguments)

    monkeypatch.setattr(executor, "check_input", closing)
    with pytest.raises(SettingsError, match="closed"):
        switcher.predict("a", TEXTS)
    with pytest.raises(SettingsError, match="closed"):
        switcher.predict_stream("a", TEXTS)


def test_unloading_knows_what_is_there(switcher: Switcher, registry: Registry) -> None:
    with pytest.raises(AdapterNotFoundError, match="did you mean"):
        switcher.unload("pairs")
    switcher.load("a@1")
    switcher.unload("a")
    assert switcher.loaded == ()
    switcher.load("average(a, b)")
    switcher.unload("stack(a, b)")
    assert switcher.loaded == ()
    switcher.load("c")
    registry.remove("c@1")
    switcher.unload("c@1")  # also where the registry no longer knows it
    assert switcher.loaded == ()


def test_what_can_never_run_is_refused_before_anything_is_loaded(
    switcher: Switcher, make_version: MakeVersion, registry: Registry
) -> None:
    make_version("p", method="prefix_tuning")
    wrong = {
        "stack(parallel(a, b), parallel(a, b, c))": "same number of members",
        "average(p, p)": "cannot be in",
        "average(a, pair)": "cannot average the answers",
        "parallel(batchsplit(a: 2, b: 3), batchsplit(a: 2, b: 4))": "add up to 6, and there are 5 rows",
        "batchsplit(a: 2, batchsplit(b: 1, c: 1): 3)": "add up to 2, and there are 3 rows",
    }
    for composition, message in wrong.items():
        for ask in (switcher.load, switcher.activate, switcher.pin, lambda ref: switcher.prefetch(ref).result(LIMIT)):
            with pytest.raises(CompositionError, match=message):
                ask(composition)
        with pytest.raises(CompositionError, match=message):
            compose("x", composition, registry=registry)
    assert switcher.loaded == ()
    assert not list(registry.versions("name = x").items)


def test_compositions_of_any_number_leave_nothing_behind(switcher: Switcher) -> None:
    for number in range(1, 50):
        switcher.load(Average("a", "b", weights=[number / 50, 1 - number / 50]))
    assert len(switcher._refs._resolved) == 2
    assert switcher.refresh() == {}


def test_the_task_of_rows_that_are_split(switcher: Switcher, make_version: MakeVersion) -> None:
    split = BatchSplit("a", "b", sizes=[2, 6])
    assert switcher.task(split).name == "sst2"
    scores = evaluate(switcher, str(split), data="sample", max_rows=8)
    assert set(scores) == {"accuracy", "loss"}
    make_version("d", GLUE["cola"])
    with pytest.raises(CompositionError, match="several tasks: sst2, cola"):
        switcher.task(BatchSplit("a", "d", sizes=[2, 6]))
    with pytest.raises(CompositionError, match="more than one answer"):
        switcher.task("parallel(a, b)")  # type: ignore[arg-type]


def test_a_fusion_over_some_is_one_version_or_has_to_be_named(
    switcher: Switcher, registry: Registry, tiny_base: Path
) -> None:
    made = fuse(
        "f", ["a", "b"], "sst2", registry=registry, base=str(tiny_base), data="sample", max_steps=1, max_train_rows=8,
        max_eval_rows=40, max_length=16, batch_size=8, precision="fp32",
    )  # fmt: skip
    assert switcher.load("fuse(a, b)") == "f@1"
    with pytest.raises(CompositionError, match=r"fuse\(a, b\) is f@1 already: set an alias"):
        compose("x", "fuse(a, b)", registry=registry)
    assert compose("x", "stack(c, fuse(a, b))", registry=registry).config == {"composition": {"stack": ["c@1", "f@1"]}}
    files = registry.read_files(made)
    registry.add_version("g", files=files, task=GLUE["cola"].to_dict(), method=made.method, config=made.config,
                         base=made.base, max_length=16, parameters=1, kind=made.kind,
                         parents=[("member", parent) for parent in made.parents])  # fmt: skip
    switcher.refresh("a")
    assert switcher.load("fuse(a, b)") == "f@1"
    with pytest.raises(CompositionError, match=r"for several tasks: g@1 .cola., f@1 .sst2.; name one of them$"):
        switcher.refresh("fuse(a, b)")
    assert switcher.load("fuse(a, b)") == "f@1"
