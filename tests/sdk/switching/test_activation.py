"""What is active belongs to a block's task, or to a thread; never to another request of a server."""

import asyncio
import copy
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pointsman.registry import Registry
from pointsman.registry.errors import SettingsError
from pointsman.sdk import Prediction, Switcher

from helpers import TEXTS, MakeVersion

NOTHING = "no adapter is active in this thread"


@pytest.fixture
def switcher(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> Iterator[Switcher]:
    for seed, name in enumerate("ab"):
        make_version(name, seed=seed)
    with Switcher(str(tiny_base), registry=registry) as opened:
        yield opened


@pytest.fixture
def expected(switcher: Switcher) -> dict[str, list[Prediction]]:
    return {name: switcher.predict(name, TEXTS) for name in "ab"}


def test_activate_lasts_until_the_next_and_blocks_go_before_it(
    switcher: Switcher, expected: dict[str, list[Prediction]]
) -> None:
    switcher.activate("a")
    assert switcher.predict(TEXTS) == expected["a"]
    with switcher.active("b"):
        assert switcher.predict(TEXTS) == expected["b"]
        for ref in ("a", None):
            with pytest.raises(
                SettingsError, match=r"active\('b'\) decides inside its block: leave it before activate"
            ):
                switcher.activate(ref)
        assert switcher.predict(TEXTS) == expected["b"]
    assert switcher.predict(TEXTS) == expected["a"]
    switcher.activate("b")
    assert switcher.predict(TEXTS) == expected["b"]
    with ThreadPoolExecutor(1) as pool, pytest.raises(SettingsError, match=NOTHING):
        pool.submit(switcher.predict, TEXTS).result(60)
    switcher.activate(None)
    with pytest.raises(SettingsError, match=NOTHING):
        switcher.predict(TEXTS)


def test_an_activate_that_fails_changes_nothing(switcher: Switcher, expected: dict[str, list[Prediction]]) -> None:
    switcher.activate("a")
    with pytest.raises(Exception, match="unknown adapter 'c'"):
        switcher.activate("c")
    assert switcher.predict(TEXTS) == expected["a"]


def test_tasks_of_one_thread_have_blocks_of_their_own_and_share_no_activate(
    switcher: Switcher, expected: dict[str, list[Prediction]]
) -> None:
    async def answer(ref: str) -> bool:
        with switcher.active(ref):
            here = []
            for _ in range(5):
                await asyncio.sleep(0)  # the other task's turn
                here.append(switcher.predict(TEXTS) == expected[ref])
            return all([*here, await asyncio.to_thread(switcher.predict, TEXTS) == expected[ref]])

    async def activate() -> None:
        switcher.activate("b")

    async def serve() -> None:
        assert await asyncio.gather(answer("a"), answer("b")) == [True, True]
        assert switcher.predict(TEXTS) == expected["a"]
        with pytest.raises(SettingsError, match=r"activate holds for the whole thread.*: use active\('sst2'\)"):
            await activate()

    switcher.activate("a")  # before the loop: all of its tasks have it
    asyncio.run(serve())
    assert switcher.predict(TEXTS) == expected["a"]


def test_a_block_that_ends_in_another_task_says_so(switcher: Switcher) -> None:
    async def enter() -> object:
        block = switcher.active("a")
        block.__enter__()
        return block

    async def leave() -> None:
        block = await asyncio.create_task(enter())
        block.__exit__(None, None, None)  # type: ignore[attr-defined]

    with pytest.raises(SettingsError, match=r"active\('a'\) was entered in another task or cell"):
        asyncio.run(leave())


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_neither_a_switcher_nor_a_registry_can_be_copied(
    switcher: Switcher, registry: Registry, duplicate: Callable[[object], object]
) -> None:
    for name, original in (("Switcher", switcher), ("Registry", registry)):
        with pytest.raises(
            SettingsError, match=f"a {name} cannot be copied or pickled, .* one in each process, {name}"
        ):
            duplicate(original)
    assert registry.version("a").ref == switcher.load("a")
