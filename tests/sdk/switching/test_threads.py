"""A server's day: many threads, more adapters than fit, and not one answer from another's adapter."""

import faulthandler
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from pointsman.registry import Registry
from pointsman.sdk import Switcher
from pointsman.sdk.locks import SharedLock
from pointsman.sdk.tasks import GLUE

from helpers import TEXTS, WORDS, MakeVersion

THREADS = 32
CAPACITY = 6

METHODS = (*("seq_bn",) * 5, *("lora",) * 4, "ia3", "ia3", "double_seq_bn", "prefix_tuning", "compacter",
           "prompt_tuning", "dora")  # fmt: skip
TASKS = ("sst2", "mnli", "cola", "stsb", "sst2")
COMPOSITIONS = ("stack(m5, m0)", "average(m0: 0.25, m4: 0.75)", "stack(m8, average(m2, m2))")


def run_all(targets: Sequence[Callable[[], None]], *, limit: float) -> None:
    """Run each in a thread of its own; fails with every thread's traceback where one does not come to its end."""
    errors: list[BaseException] = []

    def guarded(target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(target,), daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + limit
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0))
    stuck = sum(thread.is_alive() for thread in threads)
    if stuck:
        faulthandler.dump_traceback()
        pytest.fail(f"{stuck} threads have not ended after {limit} seconds")
    if errors:
        raise errors[0]


@dataclass(frozen=True)
class Case:
    """Inputs with what a ref makes of them when nothing else is loaded."""

    ref: str
    inputs: list[Any]
    logits: torch.Tensor
    versions: tuple[str, ...]
    """That it takes."""


def make_cases(make_version: MakeVersion, registry: Registry, base: Path, *, rows: int) -> list[Case]:
    """For 16 adapters of 8 methods and 4 tasks, each cut to a length of its own, and some compositions of them."""
    names = [f"m{number}" for number in range(len(METHODS))]
    for number, (name, method) in enumerate(zip(names, METHODS, strict=True)):
        made = make_version(f"{name}-long", GLUE[TASKS[number % len(TASKS)]], method=method, seed=number)
        files = {file.name: registry.read_file(made, file.name) for file in made.files}
        registry.add_version(name, files=files, task=made.task, method=method, config=made.config, base=made.base,
                             max_length=8 + number % 7, parameters=1)  # fmt: skip
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(1, 12))) for _ in range(rows)]
    pairs = [(text, other) for text, other in zip(texts, reversed(texts), strict=True)]
    cases = []
    with Switcher(str(base), registry=registry) as switcher:
        for ref in (*names, *COMPOSITIONS):
            inputs = pairs if switcher.task(ref).is_pair else texts
            logits = switcher.logits(ref, inputs)
            cases.append(Case(ref, inputs, logits, tuple(switcher.loaded)))
            for version in switcher.loaded:
                switcher.unload(version)
    assert len({tuple(case.logits.flatten().tolist()) for case in cases}) == len(cases) == 19
    return cases


def check_mixed(switcher: Switcher, cases: Sequence[Case], draw: random.Random) -> None:
    rows = [(case, number) for case in cases for number in range(len(case.inputs))]
    draw.shuffle(rows)
    answers = switcher.predict_mixed([(case.ref, case.inputs[number]) for case, number in rows])
    for (case, number), answer in zip(rows, answers, strict=True):
        logits = case.logits[number]
        expected = logits.item() if len(logits) == 1 else logits.softmax(0).max().item()
        assert answer.score == pytest.approx(expected, abs=1e-4), case.ref


def serve(switcher: Switcher, cases: Sequence[Case], *, thread: int, turns: int) -> int:
    """One thread's calls, each checked; the number of rows predicted."""
    draw = random.Random(thread)
    rows = 0
    for turn in range(turns):
        case = draw.choice(cases)
        match draw.random():
            case chance if chance < 0.1:
                mixed = draw.sample(cases, 2)
                assert len({version for one in mixed for version in one.versions}) <= CAPACITY
                check_mixed(switcher, mixed, draw)
                rows += sum(len(one.inputs) for one in mixed)
            case chance if chance < 0.15:
                switcher.unload(case.ref)
            case chance if chance < 0.2:
                switcher.prefetch(case.ref)
            case chance if chance < 0.23:
                switcher.refresh()
            case chance if chance < 0.25:
                assert len(switcher.status().versions) <= CAPACITY
            case chance if chance < 0.35:
                with switcher.active(case.ref):
                    answers = switcher.predict(case.inputs)
                assert len(answers) == len(case.inputs)
                rows += len(answers)
            case _:
                assert torch.equal(switcher.logits(case.ref, case.inputs), case.logits), (case.ref, turn)
                rows += len(case.inputs)
    return rows


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def in_model(switcher: Switcher) -> tuple[int, int]:
    """Modules and parameters."""
    return len(list(switcher._model.modules())), sum(tensor.numel() for tensor in switcher._model.parameters())


def serve_in_threads(
    make_version: MakeVersion, registry: Registry, base: Path, *, rows: int, turns: int, limit: float
) -> tuple[int, int]:
    """Rows predicted, and bytes by which memory grew in the second half."""
    cases = make_cases(make_version, registry, base, rows=rows)
    with Switcher(str(base), registry=registry, capacity=CAPACITY, warm_bytes=400_000) as switcher:
        done: list[int] = []

        def serving(thread: int) -> None:
            done.append(serve(switcher, cases, thread=thread, turns=turns // 2))

        sizes = []
        for half in range(2):
            run_all([lambda thread=thread: serving(thread) for thread in range(half * THREADS, (half + 1) * THREADS)],
                    limit=limit)  # fmt: skip
            switcher.prefetch().result(limit)  # the last of what was asked for in advance
            for ref in switcher.loaded:
                switcher.unload(ref)
            status = switcher.status()
            assert (status.slots, status.rack_size, status.versions) == (0, 0, ())
            assert switcher._library._leases == 0
            sizes.append((resident(), in_model(switcher)))
        # Racks that hold nothing stay until another is opened: of five configurations, with up to three lanes each.
        assert abs(sizes[1][1][0] - sizes[0][1][0]) < 500
        assert sizes[1][1][1] == sizes[0][1][1]
        for case in cases:
            assert torch.equal(switcher.logits(case.ref, case.inputs), case.logits)
    return sum(done), sizes[1][0] - sizes[0][0]


def test_no_answer_is_crossed_in_32_threads_over_16_adapters_of_which_6_fit(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    done, growth = serve_in_threads(make_version, registry, tiny_base, rows=6, turns=20, limit=100)
    assert done > 2000
    assert growth < 40e6


@pytest.mark.slow
def test_no_answer_of_100_000_is_crossed(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> None:
    done, growth = serve_in_threads(make_version, registry, tiny_base, rows=64, turns=56, limit=600)
    assert done > 100_000
    assert growth < 40e6


def test_tasks_of_other_lengths_are_cut_to_their_own_in_every_thread(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    """A tokenizer of the library keeps the length that the last call asked for, and fails where two ask at once."""
    made = make_version("a")
    files = {file.name: registry.read_file(made, file.name) for file in made.files}
    for length in range(8, 16):
        registry.add_version(f"cut{length}", files=files, task=made.task, method=made.method, config=made.config,
                             base=made.base, max_length=length, parameters=1)  # fmt: skip
    texts = [" ".join(TEXTS)]
    with Switcher(str(tiny_base), registry=registry) as switcher:
        alone = {f"cut{length}": switcher.logits(f"cut{length}", texts) for length in range(8, 16)}
        assert len({tuple(logits.flatten().tolist()) for logits in alone.values()}) == 8

        def ask() -> None:
            for _ in range(5):
                for ref, logits in alone.items():
                    assert torch.equal(switcher.logits(ref, texts), logits)

        run_all([ask] * 8, limit=60)


def test_a_moving_alias_is_one_version_or_the_other_and_never_the_old_one_after_a_refresh(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    for seed in range(2):
        make_version("a", seed=seed)
    make_version("big", method="prefix_tuning", seed=4)
    registry.set_alias("a@1", "live")
    with Switcher(str(tiny_base), registry=registry, capacity=2) as switcher:
        logits = [switcher.logits(f"a@{number}", TEXTS) for number in (1, 2)]
        switcher.load("a@live")
        live = [1]
        ended = threading.Event()

        def move() -> None:
            try:
                for turn in range(20):
                    number = 2 - turn % 2
                    registry.set_alias(f"a@{number}", "live")
                    live.append(number)  # from here on either is right
                    switcher.refresh("a@live")
                    del live[0]  # and from here on only this one
            finally:
                ended.set()

        def ask() -> None:
            while not ended.is_set():
                before = list(live)
                found = switcher.logits("a@live", TEXTS)
                right = {*before, *live}
                assert any(torch.equal(found, logits[number - 1]) for number in right)

        def disturb() -> None:
            while not ended.is_set():
                switcher.predict("big", TEXTS)

        run_all([move, disturb, *[ask] * 4], limit=100)


def test_answers_and_changes_of_the_model_take_turns() -> None:
    """Neither many who share nor many who want it alone keep the others out."""
    lock = SharedLock()
    inside = {"shared": 0, "alone": 0}
    counts = [0] * 12
    ended = threading.Event()
    guard = threading.Lock()

    def hold(number: int, kind: str) -> None:
        while not ended.is_set():
            with lock.shared() if kind == "shared" else lock.alone():
                with guard:
                    inside[kind] += 1
                    assert inside["alone"] <= 1
                    assert not (inside["alone"] and inside["shared"])
                sum(range(2000))
                with guard:
                    inside[kind] -= 1
            counts[number] += 1
            if min(counts) >= 20:
                ended.set()

    kinds = ["shared"] * 6 + ["alone"] * 6
    run_all([lambda number=number, kind=kind: hold(number, kind) for number, kind in enumerate(kinds)], limit=60)
    assert min(counts) >= 20
