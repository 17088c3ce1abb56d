"""An interrupt or the end of memory, anywhere: nothing answers wrongly after it, nothing hangs, nothing is broken."""

import gc
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from pointsman.registry import Registry, locks
from pointsman.sdk import Switcher, fuse
from pointsman.sdk.engines import fusion_layers, mixed, racks, slots
from pointsman.sdk.switching import switcher as face
from pointsman.sdk.switching.execute import executor
from pointsman.sdk.switching.memory import adapter_cache, placement

from helpers import TEXTS, MakeVersion

METHODS = {"a": "seq_bn", "b": "seq_bn", "c": "seq_bn", "low": "lora", "alone": "prefix_tuning"}

LIMIT = 60
"""Seconds after which a call counts as one that hangs."""


@pytest.fixture
def switcher(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> Iterator[Switcher]:
    for seed, (name, method) in enumerate(METHODS.items()):
        make_version(name, method=method, seed=seed)
    opened = Switcher(str(tiny_base), registry=registry)
    yield opened
    within(opened.close)


@pytest.fixture
def without_collections() -> Iterator[None]:
    """Python frees what nobody refers to, and collects no cycles."""
    gc.disable()
    yield
    gc.enable()


@contextmanager
def raised_at_line(number: int, file: str, kind: type[BaseException]) -> Iterator[list[int]]:
    """Raise in place of the line of that number, of those of a file that this thread runs; yields the lines seen."""
    seen: list[int] = []

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != file:
            return None
        if event == "line":
            seen.append(frame.f_lineno)
            if len(seen) == number:
                raise kind
        return trace

    sys.settrace(trace)
    try:
        yield seen
    finally:
        sys.settrace(None)


@contextmanager
def raised_at_call(number: int, files: set[str], kind: type[BaseException]) -> Iterator[list[str]]:
    """Raise where Python looks for signals, at the beginning of a function and after a call, in some files."""
    seen: list[str] = []

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event in ("call", "c_return") and frame.f_code.co_filename in files:
            seen.append(f"{event} {frame.f_code.co_name}:{frame.f_lineno}")
            if len(seen) == number:
                raise kind

    sys.setprofile(profile)
    try:
        yield seen
    finally:
        sys.setprofile(None)


def within(call: Callable[[], Any]) -> Any:
    """What a call gives, of a thread that is left alone where it hangs."""
    given: list[Any] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            given.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    thread.join(LIMIT)
    assert not thread.is_alive(), "the call hangs"
    if errors:
        raise errors[0]
    return given[0]


def chosen(lines: list[int]) -> list[int]:
    """The numbers at which a line runs for the first or second time, of a loop over many tensors."""
    return [number for number, line in enumerate(lines, 1) if lines[:number].count(line) <= 2]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError])
@pytest.mark.usefixtures("without_collections")
def test_a_rack_that_grows_or_shrinks_is_whole_after_an_interrupt_at_any_line(
    switcher: Switcher, kind: type[BaseException]
) -> None:
    """Also before Python collects cycles: no call leaves one that keeps an unloaded version's slot."""
    expected = {name: switcher.logits(name, TEXTS) for name in "abc"}
    (rack,) = switcher._adapters.placement.racks
    file, sizes = str(racks.__file__), []
    for change, before in ((switcher.load, switcher.unload), (switcher.unload, switcher.load)):
        before("c")
        with raised_at_line(0, file, kind) as lines:
            change("c")
        numbers = chosen(lines)
        assert len(numbers) > 15
        for number in numbers:
            before("c")
            with raised_at_line(number, file, kind) as seen, pytest.raises(kind):
                change("c")
            assert {len(tensor) for tensor in rack._storage.tensors.values()} == {rack.capacity}, seen[-1]
            sizes.append(rack.capacity)
            assert rack.used == len(switcher.loaded), seen[-1]
            for name in "bc":
                assert torch.equal(switcher.logits(name, TEXTS), expected[name]), seen[-1]
    assert {2, 4} <= set(sizes)
    assert torch.equal(switcher.logits("a", TEXTS), expected["a"])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in a generator's end, Python drops it
@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_anywhere_in_a_call_leaves_no_wrong_answer_and_nothing_that_hangs(
    switcher: Switcher, kind: type[BaseException]
) -> None:
    expected = {name: switcher.logits(name, TEXTS) for name in METHODS}
    modules = (locks, face, racks, slots, mixed, executor, adapter_cache, placement)
    files = {str(module.__file__) for module in modules}
    calls = {
        "load": lambda: [switcher.load(name) for name in ("c", "alone")],
        "predict": lambda: switcher.predict_mixed([(name, text) for text in TEXTS for name in ("a", "low")]),
        "unload": lambda: [switcher.unload(name) for name in ("c", "alone")],
    }
    interrupts = 0
    for name, call in calls.items():
        number = 0
        while True:
            number += 1
            if name != "predict":
                calls["unload" if name == "load" else "load"]()
            with raised_at_call(number, files, kind) as seen, suppress(kind):
                call()
            if len(seen) < number:
                break
            interrupts += 1
            for ref in ("c", "a"):
                assert torch.equal(within(lambda ref=ref: switcher.logits(ref, TEXTS)), expected[ref]), seen[-1]
        for ref, logits in expected.items():
            assert torch.equal(within(lambda ref=ref: switcher.logits(ref, TEXTS)), logits)
    assert not switcher._adapters._leases
    places = [loaded.place for loaded in switcher._adapters.loaded]
    assert sum(rack.used for rack in switcher._adapters.placement.racks) == len(places) - 1 == 4  # no slot is lost
    assert interrupts > 400


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # as above
@pytest.mark.parametrize("name", ["alone", "fused"])
def test_what_an_interrupt_left_in_the_model_goes_with_the_next_load(
    name: str, switcher: Switcher, registry: Registry, tiny_base: Path
) -> None:
    if name == "fused":
        fuse(
            name, ["a", "b"], "sst2", registry=registry, base=str(tiny_base), data="sample", epochs=1,
            max_train_rows=8, max_eval_rows=8, max_length=16, batch_size=8, precision="fp32",
        )  # fmt: skip
    files = {str(module.__file__) for module in (locks, adapter_cache, placement, slots, fusion_layers)}
    model = switcher._model

    def sizes() -> tuple[int, ...]:
        known = model.adapters_config
        return sum(1 for _ in model.named_modules()), len(known.adapters), len(known.fusions), len(known.config_map)

    expected = switcher.logits(name, TEXTS)
    full, interrupts = sizes(), 0
    for change, before in ((switcher.load, switcher.unload), (switcher.unload, switcher.load)):
        for number in itertools.count(1):
            before(name)
            with raised_at_call(number, files, KeyboardInterrupt) as seen, suppress(KeyboardInterrupt):
                change(name)
            if len(seen) < number:
                break
            interrupts += 1
            within(lambda: [call(name) for call in (switcher.unload, switcher.load)])
            assert sizes() == full, seen[-1]
        assert torch.equal(switcher.logits(name, TEXTS), expected)
    assert interrupts > 100
