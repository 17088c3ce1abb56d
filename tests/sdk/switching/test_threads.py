"""A server's day: many threads, more adapters than fit, and not one answer from another's adapter."""

import ctypes
import faulthandler
import gc
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from pointsman.registry import Registry, VersionKind
from pointsman.registry.errors import AdapterNotFoundError
from pointsman.registry.locks import SharedLock
from pointsman.registry.upkeep.garbage import collect_garbage
from pointsman.sdk import Prediction, Switcher
from pointsman.sdk.bases.load import load_base
from pointsman.sdk.engines.fusion_layers import add_fusion, extract_fusion, fusion_tensors
from pointsman.sdk.engines.slots import slot_name
from pointsman.sdk.methods.fusion import FUSE, fuse_config
from pointsman.sdk.tasks import GLUE
from pointsman.sdk.training.fusion_subject import insert_members

from helpers import TEXTS, WORDS, MakeVersion

THREADS = 32
CAPACITY = 6

METHODS = (*("seq_bn",) * 5, *("lora",) * 4, "ia3", "ia3", "double_seq_bn", "prefix_tuning", "compacter",
           "prompt_tuning", "dora")  # fmt: skip
TASKS = ("sst2", "mnli", "cola", "stsb", "sst2")
COMPOSITIONS = ("stack(m5, m0)", "average(m0: 0.25, m4: 0.75)", "stack(m8, average(m2, m2))", "f")


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
    """For 16 adapters of 8 methods and 4 tasks, each cut to a length of its own, some compositions, and a fusion."""
    names = [f"m{number}" for number in range(len(METHODS))]
    for number, (name, method) in enumerate(zip(names, METHODS, strict=True)):
        made = make_version(f"{name}-long", GLUE[TASKS[number % len(TASKS)]], method=method, seed=number)
        files = registry.read_files(made)
        registry.add_version(name, files=files, task=made.task, method=method, config=made.config, base=made.base,
                             max_length=8 + number % 7, parameters=1)  # fmt: skip
    add_random_fusion(registry, base, "f", ["m0@1", "m1@1"])
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
    assert len({tuple(case.logits.flatten().tolist()) for case in cases}) == len(cases) == 20
    return cases


def add_random_fusion(registry: Registry, base: Path, name: str, members: Sequence[str]) -> None:
    """Register a fusion layer with random weights over versions, with the head of the first."""
    model, slot = load_base(str(base)).model, slot_name(0)
    first, *_ = versions = [registry.version(ref) for ref in members]
    slots = insert_members(model, registry, versions)
    config = fuse_config(members)
    add_fusion(model, slot, slots, config["fusion"])
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in fusion_tensors(model, slot).values():
            tensor.add_(torch.randn_like(tensor) * 0.1)
    files = extract_fusion(model, slot, name=name, base="tiny", members=members)
    head = {file.name: registry.read_file(first, file.name) for file in first.files if "head" in file.name}
    registry.add_version(name, files=files | head, task=first.task, method=FUSE, config=config, base=first.base,
                         kind=VersionKind.FUSION, max_length=12, parameters=1,
                         parents=[("member", ref) for ref in members])  # fmt: skip


def check_answer(answer: Prediction, logits: torch.Tensor, ref: str) -> None:
    """Every probability, and the class of the greatest; of a regression the value."""
    if answer.probabilities is None:
        assert [answer.score] == pytest.approx(logits.tolist(), abs=1e-4), ref
        return
    expected = logits.softmax(0)
    assert list(answer.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-4), ref
    assert answer.label == list(answer.probabilities)[int(expected.argmax())], ref
    assert answer.score == answer.probabilities[answer.label], ref


def check_mixed(switcher: Switcher, cases: Sequence[Case], draw: random.Random) -> None:
    rows = [(case, number) for case in cases for number in range(len(case.inputs))]
    draw.shuffle(rows)
    answers = switcher.predict_mixed([(case.ref, case.inputs[number]) for case, number in rows])
    for (case, number), answer in zip(rows, answers, strict=True):
        check_answer(answer, case.logits[number], case.ref)


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
                for answer, logits in zip(answers, case.logits, strict=True):
                    check_answer(answer, logits, case.ref)
                rows += len(answers)
            case _:
                assert torch.equal(switcher.logits(case.ref, case.inputs), case.logits), (case.ref, turn)
                rows += len(case.inputs)
    return rows


def remove_for_good(registry: Registry, ref: str) -> None:
    """Take a version out of the registry, and its files where no other version has them."""
    registry.remove(ref)
    for path in (registry.home / "objects").rglob("*"):
        os.utime(path, (0, 0))  # as if none were young
    collect_garbage(registry, apply=True)


class _Allocated(ctypes.Structure):
    """glibc's ``struct mallinfo2``."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks",
                     "keepcost")
    ]  # fmt: skip


def in_use() -> int:
    """Bytes that this process has allocated and not freed, tensors among them, and Python's smaller objects.

    Not what is resident: of what was freed, the C library keeps more or less, in an arena for each few threads.
    """
    allocated = ctypes.CDLL(None).mallinfo2
    allocated.restype = _Allocated
    found = allocated()
    return int(found.uordblks + found.hblkhd) + 64 * sys.getallocatedblocks()


def in_model(switcher: Switcher) -> tuple[int, int]:
    """Modules and parameters."""
    return len(list(switcher._model.modules())), sum(tensor.numel() for tensor in switcher._model.parameters())


def serve_in_threads(
    make_version: MakeVersion, registry: Registry, base: Path, *, rows: int, turns: int, limit: float
) -> tuple[int, int]:
    """Rows predicted, and bytes by which what is allocated grew in the second half.

    Meanwhile, versions that no case is about are removed: their files are those of others.
    """
    cases = make_cases(make_version, registry, base, rows=rows)
    with Switcher(str(base), registry=registry, capacity=CAPACITY, warm_bytes=400_000) as switcher:
        done: list[int] = []

        def serving(thread: int) -> None:
            done.append(serve(switcher, cases, thread=thread, turns=turns // 2))

        sizes = []
        for half in range(2):

            def remove(numbers: range = range(half, len(METHODS), 2)) -> None:
                for number in numbers:
                    remove_for_good(registry, f"m{number}-long@1")

            threads = range(half * THREADS, (half + 1) * THREADS)
            run_all([remove, *(lambda thread=thread: serving(thread) for thread in threads)], limit=limit)
            switcher.prefetch().result(limit)  # the last of what was asked for in advance
            for ref in switcher.loaded:
                switcher.unload(ref)
            status = switcher.status()
            assert (status.slots, status.rack_size, status.versions) == (0, 0, ())
            assert not switcher._adapters._leases
            gc.collect()
            sizes.append((in_use(), in_model(switcher)))
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
    assert growth < 2e6


@pytest.mark.parametrize(("threads", "capacity"), [(24, 3), (32, 1)])
def test_no_answer_is_crossed_where_nearly_nothing_fits(
    threads: int, capacity: int, make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    methods = ("seq_bn", "seq_bn", "lora", "ia3", "prefix_tuning")
    refs = [make_version(f"m{seed}", method=method, seed=seed).ref for seed, method in enumerate(methods)]
    with Switcher(str(tiny_base), registry=registry, capacity=capacity) as switcher:
        alone = {ref: switcher.logits(ref, TEXTS) for ref in refs}
        done: list[int] = []

        def ask(thread: int) -> None:
            for turn in range(8):
                ref = refs[(thread + turn) % len(refs)]
                assert torch.equal(switcher.logits(ref, TEXTS), alone[ref])
                assert len(switcher.loaded) <= capacity
            done.append(thread)

        run_all([lambda thread=thread: ask(thread) for thread in range(threads)], limit=100)
        assert len(done) == threads
        assert not switcher._adapters._leases


@pytest.mark.slow
def test_no_answer_of_100_000_is_crossed(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> None:
    done, growth = serve_in_threads(make_version, registry, tiny_base, rows=64, turns=52, limit=600)
    assert done > 100_000
    assert growth < 2e6


def test_a_version_that_is_removed_answers_until_it_is_unloaded(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    refs = ["gone@1", "gone@2", "a"]
    for seed, ref in enumerate(refs):
        make_version(ref.partition("@")[0], seed=seed)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        alone = {ref: switcher.logits(ref, TEXTS) for ref in refs}
        removed = threading.Event()

        def ask(ref: str) -> None:
            while not removed.is_set():
                assert torch.equal(switcher.logits(ref, TEXTS), alone[ref])
            assert torch.equal(switcher.logits(ref, TEXTS), alone[ref])

        def remove() -> None:
            try:
                for ref in refs[:2]:
                    remove_for_good(registry, ref)
            finally:
                removed.set()

        run_all([remove, *(lambda ref=ref: ask(ref) for ref in refs * 2)], limit=60)
        assert [version.ref for version in registry.versions()] == ["a@1"]
        with pytest.raises(AdapterNotFoundError, match="gone"):
            switcher.refresh()
        for ref, logits in alone.items():
            assert torch.equal(switcher.logits(ref, TEXTS), logits)
        for ref in refs[:2]:
            switcher.unload(ref)
            for _ in range(2):
                with pytest.raises(AdapterNotFoundError, match="gone"):
                    switcher.predict(ref, TEXTS)
        assert switcher.loaded == ("a@1",)
        assert torch.equal(switcher.logits("a", TEXTS), alone["a"])


def test_tasks_of_other_lengths_are_cut_to_their_own_in_every_thread(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    """A tokenizer of the library keeps the length that the last call asked for, and fails where two ask at once."""
    made = make_version("a")
    files = registry.read_files(made)
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


def test_a_tokenizer_in_use_holds_up_the_calls_on_its_own_base_only(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    make_version("a")
    with (
        Switcher(str(tiny_base), registry=registry) as one,
        Switcher(str(tiny_base), registry=registry) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        expected = one.logits("a", TEXTS)
        with one._executor._tokenising:
            waiting = pool.submit(one.logits, "a", TEXTS)
            assert torch.equal(other.logits("a", TEXTS), expected)
            assert not waiting.done()
        assert torch.equal(waiting.result(60), expected)


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
