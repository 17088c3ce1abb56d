"""A process that is forked from a Switcher's has its memory without its threads: it is told so, and never hangs."""

import multiprocessing
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from pointsman.registry import Registry
from pointsman.registry.errors import SettingsError
from pointsman.sdk import Switcher

from helpers import TEXTS, MakeVersion, in_child

FORKS = 6
REFUSAL = "this Switcher belongs to the process .*, from which this one was forked without its threads: make a Switcher"


def calls(switcher: Switcher) -> list[Callable[[], Any]]:
    """Every public call of a Switcher."""
    return [
        lambda: switcher.loaded,
        lambda: switcher.load("a"),
        lambda: switcher.prefetch("a"),
        lambda: switcher.pin("a"),
        lambda: switcher.unpin("a"),
        lambda: switcher.unload("a"),
        lambda: switcher.refresh("a"),
        lambda: switcher.active("a").__enter__(),
        lambda: switcher.activate("a"),
        lambda: switcher.predict("a", TEXTS),
        lambda: switcher.predict(TEXTS),
        lambda: switcher.predict_mixed([("a", TEXTS[0])]),
        lambda: switcher.resolve("a"),
        lambda: switcher.prepare("a", TEXTS),
        lambda: switcher.answer([]),
        lambda: switcher.predict_stream("a", iter(TEXTS)),
        lambda: switcher.logits("a", TEXTS),
        lambda: switcher.task("a"),
        lambda: str(switcher.status()),
    ]


def test_every_call_in_a_child_of_busy_threads_is_refused(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    for seed, name in enumerate("ab"):
        make_version(name, seed=seed)
    with Switcher(str(tiny_base), registry=registry, capacity=1) as switcher:
        expected = {name: switcher.logits(name, TEXTS) for name in "ab"}
        switcher.activate("a")
        stream = switcher.predict_stream("a", iter(TEXTS))
        turns, ended, errors = [0] * 4, threading.Event(), []

        def serve(number: int) -> None:
            try:
                while not ended.is_set():
                    name = "ab"[(number + turns[number]) % 2]  # one goes and the other comes: loads, too
                    assert torch.equal(switcher.logits(name, TEXTS), expected[name])
                    turns[number] += 1
            except BaseException as error:
                errors.append(error)

        def child() -> None:
            for call in [*calls(switcher), lambda: next(stream)]:
                with pytest.raises(SettingsError, match=REFUSAL):
                    call()
            switcher.close()  # as the end of a with block does
            assert registry.version("a").ref == "a@1"

        threads = [threading.Thread(target=serve, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(FORKS):
                in_child(child)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        assert errors == []
        assert min(turns) > 0
        assert torch.equal(switcher.logits("b", TEXTS), expected["b"])


def test_all_calls_are_there() -> None:
    public = {name for name in vars(Switcher) if not name.startswith("_")} - {"base", "close"}
    asked = {name for call in calls(None) for name in call.__code__.co_names}  # type: ignore[arg-type]
    assert public <= asked
    assert len(public) == 18


def test_a_child_may_have_a_switcher_of_its_own(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> None:
    make_version("a")

    def child() -> None:
        torch.set_num_threads(2)
        with pytest.raises(
            SettingsError, match=r"with 2 threads it would hang here: start .* torch.set_num_threads\(1\)"
        ):
            Switcher(str(tiny_base), registry=registry)
        torch.set_num_threads(1)
        with Switcher(str(tiny_base), registry=registry) as own:
            assert torch.equal(own.logits("a", TEXTS), expected)

    with Switcher(str(tiny_base), registry=registry) as switcher:
        expected = switcher.logits("a", TEXTS)
        in_child(child)
        assert torch.equal(switcher.logits("a", TEXTS), expected)


class Rows(Dataset[str]):
    """What a training of one's own may well do: look something up for each row."""

    def __init__(self, registry: Registry, switcher: Switcher | None = None) -> None:
        self.registry, self.switcher = registry, switcher

    def __len__(self) -> int:
        return 4

    def __getitem__(self, row: int) -> str:
        if self.switcher is not None:
            return str(self.switcher.predict("a", TEXTS[:1])[0].label)
        return self.registry.version("a").ref


def test_workers_of_a_data_loader(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> None:
    make_version("a")
    with Switcher(str(tiny_base), registry=registry) as switcher:
        switcher.load("a")
        forked = {"num_workers": 2, "multiprocessing_context": "fork", "batch_size": None}
        assert list(DataLoader(Rows(registry), **forked)) == ["a@1"] * 4  # type: ignore[arg-type]
        with pytest.raises(SettingsError, match=REFUSAL):
            list(DataLoader(Rows(registry, switcher), **forked))  # type: ignore[arg-type]
        spawned = multiprocessing.get_context("spawn").Process(target=print, args=(switcher,))
        with pytest.raises(SettingsError, match=r"a Switcher cannot be copied or pickled, .* one in each process"):
            spawned.start()
