"""What is kept in memory: how much, what goes first, what comes back, and what stays as it was when a load fails."""

import gc
import json
import re
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from pointsman.registry import Registry, Version
from pointsman.registry.errors import (
    AdapterNotFoundError,
    ObjectCorruptError,
    ObjectMissingError,
    SettingsError,
    VersionNotFoundError,
    WeightsError,
)
from pointsman.sdk import Switcher
from pointsman.sdk.methods import METHODS
from pointsman.sdk.tasks import GLUE

from helpers import PAIRS, TEXTS, MakeVersion

LIMIT = 60
"""Seconds that a test waits for another thread before it fails."""


@contextmanager
def held(switcher: Switcher, ref: str) -> Iterator[tuple["Future[torch.Tensor]", threading.Event]]:
    """A call of another thread, stopped in its forward pass until the event is set."""
    reached, go = threading.Event(), threading.Event()

    def stop(*_: Any) -> None:
        if threading.current_thread().name.startswith("held"):
            reached.set()
            assert go.wait(LIMIT)

    hook = switcher._model.base_model.embeddings.register_forward_hook(stop)
    with ThreadPoolExecutor(1, thread_name_prefix="held") as pool:
        call = pool.submit(switcher.logits, ref, TEXTS)
        try:
            assert reached.wait(LIMIT)
            yield call, go
        finally:
            go.set()
            hook.remove()


def object_path(registry: Registry, version: Version, file: str = "adapter.safetensors") -> Path:
    digest = next(stored.sha256 for stored in version.files if stored.name == file)
    return registry.home / "objects" / digest[:2] / digest[2:]


def altered(
    registry: Registry, version: Version, name: str, change: Callable[[dict[str, bytes]], None], **fields: Any
) -> Version:
    """A version with other files, whose digests are right."""
    files = registry.read_files(version)
    change(files)
    about = {"task": version.task, "method": version.method, "config": version.config, "base": version.base}
    return registry.add_version(name, files=files, max_length=32, parameters=1, **{**about, **fields})


def tensors_changed(
    change: Callable[[dict[str, torch.Tensor]], None], file: str = "adapter.safetensors"
) -> Callable[[dict[str, bytes]], None]:
    def apply(files: dict[str, bytes]) -> None:
        tensors = safetensors.torch.load(files[file])
        change(tensors)
        files[file] = safetensors.torch.save(tensors)

    return apply


def config_changed(file: str, **fields: Any) -> Callable[[dict[str, bytes]], None]:
    def apply(files: dict[str, bytes]) -> None:
        config = json.loads(files[file])
        config["config"].update(fields)
        files[file] = json.dumps(config).encode()

    return apply


def first(tensors: dict[str, torch.Tensor]) -> str:
    return max(tensors, key=lambda key: tensors[key].numel())


def resized(tensors: dict[str, torch.Tensor]) -> None:
    key = first(tensors)
    tensors[key] = tensors[key][..., :-1].contiguous()


def in_model(switcher: Switcher) -> tuple[set[str], list[str]]:
    """All that is in the model: modules by their names, and adapters that it knows of."""
    return {name for name, _ in switcher._model.named_modules()}, sorted(switcher._model.adapters_config.adapters)


@pytest.fixture
def abcd(make_version: MakeVersion) -> list[str]:
    """Four versions of one configuration."""
    for seed, name in enumerate("abcd"):
        make_version(name, seed=seed)
    return list("abcd")


@pytest.mark.parametrize("limit", ["capacity", "capacity_bytes", "warm_bytes"])
@pytest.mark.parametrize("value", [-1, 0, None, True, 1.5, "8", [3]])
def test_a_capacity_that_is_no_whole_number_is_refused(
    limit: str, value: Any, registry: Registry, tiny_base: Path
) -> None:
    if (limit, value) in (("capacity", None), ("capacity_bytes", None), ("warm_bytes", 0)):
        with Switcher(str(tiny_base), registry=registry, **{limit: value}) as switcher:
            assert switcher.status().versions == ()
        return
    allowed = "at least 0" if limit == "warm_bytes" else "at least 1, or None for no limit"
    message = f"{limit} must be a whole number, {allowed}; found {value!r}"
    with pytest.raises(SettingsError, match=f"^{re.escape(message)}$"):
        Switcher(str(tiny_base), registry=registry, **{limit: value})


def test_what_was_used_longest_ago_goes_first(abcd: list[str], registry: Registry, tiny_base: Path) -> None:
    with Switcher(str(tiny_base), registry=registry, capacity=3) as switcher:
        for name in "abc":
            switcher.load(name)
        switcher.predict("a", TEXTS)
        switcher.load("d")
        assert switcher.loaded == ("a@1", "c@1", "d@1")
        switcher.predict_mixed([("c", TEXTS[0]), ("b", TEXTS[1])])
        assert switcher.loaded == ("c@1", "d@1", "b@1")


def test_what_a_call_needs_makes_no_room_for_the_rest_of_it(
    abcd: list[str], registry: Registry, tiny_base: Path
) -> None:
    with Switcher(str(tiny_base), registry=registry, capacity=2) as switcher:
        switcher.load("a")
        switcher.load("b")
        switcher.predict_mixed([("c", TEXTS[0]), ("a", TEXTS[1])])
        assert switcher.loaded == ("a@1", "c@1")
        assert {version.ref: version.hits for version in switcher.status().versions} == {"a@1": 2, "c@1": 1}


def test_a_call_that_needs_more_than_fits_says_so(abcd: list[str], registry: Registry, tiny_base: Path) -> None:
    rows = [(name, TEXTS[0]) for name in "abc"]
    with Switcher(str(tiny_base), registry=registry, capacity=2) as switcher:
        with pytest.raises(
            SettingsError, match="3 adapters are needed at once, and the capacity is 2 adapters, 0 of 2"
        ):
            switcher.predict_mixed(rows)
        assert len(switcher.predict_mixed(rows[:2])) == 2
        switcher.pin("d")
        with pytest.raises(SettingsError, match=r"2 adapters are needed at once, .* 1 of 2 loaded being pinned"):
            switcher.predict_mixed(rows[:2])
        assert "d@1" in switcher.loaded
        assert len(switcher.predict("a", TEXTS)) == len(TEXTS)
        switcher.unpin("d")
        assert len(switcher.predict_mixed(rows[:2])) == 2
        assert set(switcher.loaded) == {"a@1", "b@1"}


def test_bytes_limit_as_well(abcd: list[str], registry: Registry, tiny_base: Path) -> None:
    with Switcher(str(tiny_base), registry=registry) as switcher:
        switcher.load("a")
        size = switcher.status().size
    files = [object_path(registry, registry.version("a"), f"{part}.safetensors") for part in ("adapter", "model_head")]
    tensors = [tensor for file in files for tensor in safetensors.torch.load(file.read_bytes()).values()]
    assert size == sum(4 * tensor.numel() for tensor in tensors)
    with Switcher(str(tiny_base), registry=registry, capacity_bytes=2 * size) as switcher:
        for name in "abc":
            switcher.load(name)
        assert switcher.loaded == ("b@1", "c@1")
        assert switcher.status().size == 2 * size
        with pytest.raises(SettingsError, match=f"3 adapters .* the capacity is {2 * size:,} bytes"):
            switcher.predict_mixed([(name, TEXTS[0]) for name in "abc"])
    with Switcher(str(tiny_base), registry=registry, capacity_bytes=size - 1) as switcher:
        with pytest.raises(SettingsError, match="1 adapters are needed at once"):
            switcher.load("a")
        assert switcher.loaded == ()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", ["seq_bn", "lora", "ia3", "prefix_tuning"])
def test_a_version_counts_as_many_bytes_before_it_is_loaded_as_after(
    method: str, precision: str, make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    """Also the first of its configuration."""
    for seed, name in enumerate(("one", "two", "other")):
        make_version(name, method="double_seq_bn" if name == "other" else method, seed=seed)
    with Switcher(str(tiny_base), registry=registry, precision=precision) as switcher:
        for name in ("one", "other"):
            switcher.load(name)
        size, other = (version.size for version in switcher.status().versions)
    for room, loaded in (
        (size, {"two@1"}),
        (size + other - 1, {"two@1"}),
        (size + other, {"other@1", "two@1"}),
        (2 * size + other, {"one@1", "other@1", "two@1"}),
    ):
        with Switcher(str(tiny_base), registry=registry, precision=precision, capacity_bytes=room) as switcher:
            switcher.load("one")
            if room >= other:
                switcher.load("other")
            switcher.load("two")
            assert set(switcher.loaded) == loaded
            assert switcher.status().size <= room


def test_what_will_never_fit_takes_nobodys_place(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    make_version("small")
    make_version("pinned", seed=1)
    make_version("large", fields={"reduction_factor": 1}, seed=2)
    make_version("alone", method="prefix_tuning", seed=3)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        switcher.load("small")
        size = switcher.status().size
    with Switcher(str(tiny_base), registry=registry, capacity_bytes=2 * size) as switcher:
        logits = switcher.logits("small", TEXTS)
        switcher.pin("pinned")
        adapters = in_model(switcher)[1]
        for name in ("large", "alone"):
            with pytest.raises(SettingsError, match=r"1 adapters are needed .* 1 of 2 loaded being pinned"):
                switcher.load(name)
            assert switcher.loaded == ("small@1", "pinned@1")
            assert torch.equal(switcher.logits("small", TEXTS), logits)
        assert len(in_model(switcher)[1]) == len(adapters) + 1  # the rack that large would be in


def test_pinned_versions_stay(abcd: list[str], registry: Registry, tiny_base: Path) -> None:
    with Switcher(str(tiny_base), registry=registry, capacity=2) as switcher:
        switcher.pin("a")
        for name in "bcd":
            switcher.load(name)
        assert switcher.loaded == ("a@1", "d@1")
        assert [version.pinned for version in switcher.status().versions] == [True, False]
        switcher.unload("a")
        assert switcher.loaded == ("d@1",)
        switcher.load("a")
        assert not any(version.pinned for version in switcher.status().versions)


def test_what_a_call_uses_stays_and_who_needs_its_place_waits(
    abcd: list[str], registry: Registry, tiny_base: Path
) -> None:
    with Switcher(str(tiny_base), registry=registry, capacity=1) as switcher:
        alone = {name: switcher.logits(name, TEXTS) for name in "ab"}
        with ThreadPoolExecutor(1) as pool, held(switcher, "a") as (call, go):
            other = pool.submit(switcher.logits, "b", TEXTS)
            with pytest.raises(TimeoutError):
                other.result(0.3)
            assert switcher.loaded == ("a@1",)
            go.set()
            assert torch.equal(call.result(LIMIT), alone["a"])
            assert torch.equal(other.result(LIMIT), alone["b"])
        assert switcher.loaded == ("b@1",)


@pytest.mark.parametrize("release", ["unload", "unpin"])
def test_who_waits_for_room_gets_what_is_given_up_meanwhile(
    release: str, abcd: list[str], registry: Registry, tiny_base: Path
) -> None:
    with Switcher(str(tiny_base), registry=registry, capacity=2) as switcher:
        switcher.pin("b")
        with ThreadPoolExecutor(1) as pool, held(switcher, "a") as (_, go):
            other = pool.submit(switcher.load, "c")
            with pytest.raises(TimeoutError):
                other.result(0.3)
            getattr(switcher, release)("b")
            assert other.result(LIMIT) == "c@1"
            assert set(switcher.loaded) == {"a@1", "c@1"}
            go.set()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_warm_versions_of_every_method_come_back_without_the_disk(
    precision: str, make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    names = [f"m{number}" for number in range(len(METHODS))]
    versions = [make_version(name, method=method, seed=8) for name, method in zip(names, METHODS, strict=True)]
    with Switcher(str(tiny_base), registry=registry, capacity=1, warm_bytes=10**8, precision=precision) as switcher:
        expected = {}
        for name in names:
            expected[name] = switcher.logits(name, TEXTS), switcher.status().size
        assert switcher.status().warm == len(METHODS) - 1 == 20
        for path in {object_path(registry, version) for version in versions}:
            path.unlink()
        for name in names:
            logits, size = expected[name]
            assert torch.equal(switcher.logits(name, TEXTS), logits)
            assert switcher.loaded == (f"{name}@1",)
            assert switcher.status().size == size
        assert switcher.status().warm == len(METHODS) - 1


def test_warm_copies_are_limited_by_bytes(abcd: list[str], registry: Registry, tiny_base: Path) -> None:
    with Switcher(str(tiny_base), registry=registry) as switcher:
        switcher.load("a")
        size = switcher.status().size
    with Switcher(str(tiny_base), registry=registry, capacity=1, warm_bytes=2 * size + 1) as switcher:
        for name in "abcd":
            switcher.load(name)
            object_path(registry, registry.version(name)).unlink()
        assert switcher.status().warm == 2
        assert switcher.load("b") == "b@1"
        with pytest.raises(ObjectMissingError):
            switcher.load("a")
        switcher.unload("c")
        with pytest.raises(ObjectMissingError):
            switcher.load("c")
    with Switcher(str(tiny_base), registry=registry, capacity=1, warm_bytes=size - 1) as switcher:
        assert switcher.status().warm == 0


def test_prefetch_loads_in_the_background(abcd: list[str], registry: Registry, tiny_base: Path) -> None:
    with Switcher(str(tiny_base), registry=registry) as switcher:
        with held(switcher, "a") as (_, go):
            assert switcher.prefetch("b", "parallel(c, d)").result(LIMIT) == ("b@1", "parallel(c@1, d@1)")
            assert set(switcher.loaded) == {"a@1", "b@1", "c@1", "d@1"}
            go.set()
        switcher.unload("a")
        wrong = switcher.prefetch("a", "nowhere", "b")
        assert isinstance(wrong.exception(LIMIT), AdapterNotFoundError)
        assert "a@1" in switcher.loaded
    with pytest.raises(SettingsError, match="closed"):
        switcher.prefetch("a")


@pytest.mark.parametrize("method", ["seq_bn", "prefix_tuning"])
def test_what_is_unloaded_while_in_use_ends_right_and_then_goes(
    method: str, make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    make_version("a", method=method)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        empty = in_model(switcher)
        alone = switcher.logits("a", TEXTS)
        with held(switcher, "a") as (call, go):
            switcher.unload("a")
            assert switcher.loaded == ()
            if method == "seq_bn":  # a place of its own is found beside the one that is going
                assert torch.equal(switcher.logits("a", TEXTS), alone)
                switcher.unload("a")
                assert switcher.status().rack_size > 0
            go.set()
            assert torch.equal(call.result(LIMIT), alone)
        assert switcher.status().rack_size == 0
        if method == "prefix_tuning":
            assert in_model(switcher) == empty
        assert torch.equal(switcher.logits("a", TEXTS), alone)


def test_a_moved_alias_is_picked_up_and_the_old_version_ends_what_it_began(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    for seed in range(2):
        make_version("a", seed=seed)
    make_version("b", seed=5)
    registry.set_alias("a@1", "production")
    with Switcher(str(tiny_base), registry=registry) as switcher:
        old, new = switcher.logits("a@1", TEXTS), switcher.logits("a@2", TEXTS)
        switcher.unload("a@2")
        with held(switcher, "a@production") as (call, go):
            registry.set_alias("a@2", "production")
            assert torch.equal(switcher.logits("b", TEXTS), switcher.logits("b@1", TEXTS))
            assert switcher.refresh("a@production") == {"a@production": "a@2"}
            assert "a@2" in switcher.loaded
            go.set()
            assert torch.equal(call.result(LIMIT), old)
        assert torch.equal(switcher.logits("a@production", TEXTS), new)
        assert switcher.refresh() == {}
        registry.set_alias("a@1", "production")
        make_version("b", seed=6)
        assert switcher.refresh() == {"a@production": "a@1", "b": "b@2"}
        assert torch.equal(switcher.logits("a@production", TEXTS), old)


def test_a_ref_whose_version_was_removed_means_what_it_meant(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    for seed in range(2):
        make_version("a", seed=seed)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        logits = switcher.logits("a@2", TEXTS)
        registry.remove("a@2", force=True)
        with pytest.raises(VersionNotFoundError):
            switcher.refresh()
        assert torch.equal(switcher.logits("a@2", TEXTS), logits)
        switcher.unload("a@2")
        with pytest.raises(VersionNotFoundError):
            switcher.predict("a@2", TEXTS)
        assert switcher.refresh() == {}


def test_racks_grow_and_shrink_around_what_they_hold(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    names = [f"n{number}" for number in range(40)]
    for seed, name in enumerate(names):
        make_version(name, method=("seq_bn", "lora", "ia3", "seq_bn")[seed % 4], seed=seed)
    make_version("other", method="double_seq_bn")
    with Switcher(str(tiny_base), registry=registry) as switcher:
        empty = in_model(switcher)
        first = switcher.logits("n0", TEXTS)
        for name in ("n1", "n2"):  # racks themselves are opened between forward passes
            switcher.load(name)
        with held(switcher, "n0") as (call, go):
            expected = {name: switcher.logits(name, TEXTS) for name in names}
            go.set()
            assert torch.equal(call.result(LIMIT), first)
        full = switcher.status()
        assert full.racks == 3
        assert full.slots >= 40
        for name in names[8:]:
            switcher.unload(name)
        assert switcher.status().rack_size < full.rack_size / 2
        for name in names[:8]:
            assert torch.equal(switcher.logits(name, TEXTS), expected[name])
        with held(switcher, "n4") as (call, go):
            for name in names[:8]:
                switcher.unload(name)
            go.set()
            assert torch.equal(call.result(LIMIT), expected["n4"])
        assert switcher.status().rack_size == switcher.status().slots == 0
        for name in reversed(names):
            assert torch.equal(switcher.logits(name, TEXTS), expected[name])
            switcher.unload(name)
        switcher.load("other")
        assert switcher.status().racks == 1  # racks that hold nothing went when another was opened
        switcher.unload("other")
        (name,) = switcher._adapters.placement.racks[0].names
        switcher._adapters.placement._remove(name)
        assert in_model(switcher) == empty


def test_racks_have_no_more_slots_than_they_need(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    names = [f"n{number}" for number in range(24)]
    for seed, name in enumerate(names):
        make_version(name, seed=seed)
    for number in range(3):
        make_version(f"lora{number}", method="lora", seed=number)

    def slots(**limits: int) -> list[int]:
        """After each load."""
        found = []
        with Switcher(str(tiny_base), registry=registry, **limits) as switcher:
            for name in names:
                switcher.load(name)
                status = switcher.status()
                found.append(status.slots)
                assert status.rack_size <= limits.get("capacity_bytes", status.rack_size)
        return found

    unlimited = slots()
    assert unlimited == [1, 2, 4, 4, *[8] * 4, *[16] * 8, 18, 18, 20, 20, 22, 22, 24, 24]
    with Switcher(str(tiny_base), registry=registry) as switcher:
        switcher.load("n0")
        status = switcher.status()
        assert status.rack_size < status.size  # which the head is part of
    for most in (1, 2, 3, 5, 17):
        expected = [min(count, most) for count in unlimited]
        assert slots(capacity=most) == expected
        assert slots(capacity_bytes=most * status.size + 7) == expected
        assert slots(capacity=most, capacity_bytes=30 * status.size) == expected
    with Switcher(str(tiny_base), registry=registry, capacity=5) as switcher:
        for number in range(3):
            switcher.load(f"n{number}")
            switcher.load(f"lora{number}")
        assert switcher.loaded == ("lora0@1", "n1@1", "lora1@1", "n2@1", "lora2@1")
        assert [rack.capacity for rack in switcher._adapters.placement.racks] == [3, 3]


def test_a_thousand_versions_take_hardly_more_than_their_tensors(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    make_version("a")
    with Switcher(str(tiny_base), registry=registry) as switcher:
        switcher.load("a")
        (rack,) = switcher._adapters.placement.racks
        tensors = rack.read(switcher._adapters.loaded[0].place.slot)
        sizes, slots = set(), []
        for number in range(1, 1000):
            slots.append(rack.fill(tensors, room=10**6))
            assert slots[-1].index == number
            assert number < 16 or rack.size <= 1.125 * rack.used * rack.slot_size
            sizes.add(rack.capacity)
        assert len(sizes) < 50  # each is a copy of all


def test_status_says_what_is_in_memory(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> None:
    make_version("a")
    make_version("b", seed=1)
    make_version("p", method="prefix_tuning", seed=2)
    with Switcher(str(tiny_base), registry=registry, capacity=5) as switcher:
        assert switcher.status().versions == ()
        assert "0 of 5 versions" in str(switcher.status())
        for _ in range(3):
            switcher.predict("b", TEXTS)
        switcher.pin("p")
        switcher.load("a")
        status = switcher.status()
        assert [version.ref for version in status.versions] == ["b@1", "p@1", "a@1"]
        assert [version.place for version in status.versions] == ["rack 0 slot 0", "alone", "rack 0 slot 1"]
        assert [version.method for version in status.versions] == ["seq_bn", "prefix_tuning", "seq_bn"]
        assert [version.hits for version in status.versions] == [3, 1, 1]
        assert [version.pinned for version in status.versions] == [False, True, False]
        assert sorted(status.versions, key=lambda version: version.used_at)[-1].ref == "a@1"
        assert all(version.load_seconds > 0 for version in status.versions)
        assert status.size == sum(version.size for version in status.versions)
        assert status.rack_size > 0
        lines = str(status).splitlines()
        assert "3 of 5 versions" in lines[0]
        assert "1 rack of " in lines[0]
        assert [line.split()[0] for line in lines[1:]] == ["ref", "b@1", "p@1", "a@1"]
        assert lines[3].endswith("pinned")


@pytest.mark.parametrize("method", ["seq_bn", "prefix_tuning"])
def test_closing_waits_for_calls_and_then_refuses(
    method: str, make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    make_version("a", method=method)
    make_version("b", seed=1)
    switcher = Switcher(str(tiny_base), registry=registry, capacity=1)
    switcher.load("b")  # its rack stays, so that room is all it waits for
    alone = switcher.logits("a", TEXTS)
    model = weakref.ref(switcher._model)
    with ThreadPoolExecutor(3) as pool, held(switcher, "a") as (call, go):
        waiting = pool.submit(switcher.load, "b")  # for room
        fetched = switcher.prefetch("b")
        closing = pool.submit(switcher.close)
        with pytest.raises(SettingsError, match="closed"):
            waiting.result(LIMIT)
        switcher._adapters.unload("a")  # it goes with its last call, when nothing else is there any more
        assert not closing.done()
        go.set()
        assert torch.equal(call.result(LIMIT), alone)
        closing.result(LIMIT)
        assert fetched.cancelled() or isinstance(fetched.exception(LIMIT), SettingsError)
    del call, waiting, fetched  # their errors know what was loaded
    gc.collect()
    assert model() is None
    switcher.close()
    for refused in (
        lambda: switcher.load("a"),
        lambda: switcher.predict("a", []),
        lambda: switcher.predict_mixed([]),
        lambda: switcher.logits("a", TEXTS),
        lambda: switcher.pin("a"),
        lambda: switcher.unpin("a"),
        lambda: switcher.unload("a"),
        switcher.refresh,
        switcher.status,
        lambda: switcher.task("a"),
        lambda: switcher.activate("a"),
        lambda: switcher.prefetch("a"),
    ):
        with pytest.raises(SettingsError, match="closed"):
            refused()


def test_closing_ends_a_load_that_waits_for_the_model(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    make_version("a")
    make_version("b", method="lora", seed=1)
    switcher = Switcher(str(tiny_base), registry=registry, capacity=1)
    alone = switcher.logits("a", TEXTS)
    with ThreadPoolExecutor(2) as pool, held(switcher, "a") as (call, go):
        waiting = pool.submit(switcher.load, "b")
        closing = pool.submit(switcher.close)
        with pytest.raises(TimeoutError):
            closing.result(0.3)
        go.set()
        assert torch.equal(call.result(LIMIT), alone)
        with pytest.raises(SettingsError, match="closed"):
            waiting.result(LIMIT)
        closing.result(LIMIT)


def test_loads_inside_a_callers_inference_mode_are_like_others(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    methods = ("seq_bn", "seq_bn_inv", "lora", "ia3", "prefix_tuning", "compacter")
    for number, method in enumerate(methods):
        for seed in range(2):
            make_version(f"m{number}-{seed}", method=method, seed=seed)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        for number in range(len(methods)):
            alone = switcher.logits(f"m{number}-0", TEXTS)
            switcher.unload(f"m{number}-0")
            with torch.inference_mode():
                switcher.load(f"m{number}-0")
            other = switcher.logits(f"m{number}-1", TEXTS)
            assert torch.equal(switcher.logits(f"m{number}-0", TEXTS), alone)
            assert not torch.equal(other, alone)


def test_a_callers_autocast_changes_nothing(abcd: list[str], registry: Registry, tiny_base: Path) -> None:
    with Switcher(str(tiny_base), registry=registry) as switcher:
        alone = switcher.logits("a", TEXTS)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(switcher.logits("a", TEXTS), alone)
            loaded = switcher.logits("b", TEXTS)
        assert torch.equal(switcher.logits("b", TEXTS), loaded)


DAMAGES: dict[str, Callable[[dict[str, bytes]], Any]] = {
    "truncated": lambda files: files.update({"adapter.safetensors": files["adapter.safetensors"][:-7]}),
    "empty": lambda files: files.update({"adapter.safetensors": b""}),
    "absent": lambda files: files.pop("adapter.safetensors"),
    "a tensor missing": tensors_changed(lambda tensors: tensors.pop(first(tensors))),
    "a tensor too many": tensors_changed(lambda tensors: tensors.update(more=torch.zeros(2))),
    "another shape": tensors_changed(resized),
    "another type": tensors_changed(
        lambda tensors: tensors.update({key: tensor.half() for key, tensor in tensors.items()})
    ),
    "no JSON": lambda files: files.update({"adapter_config.json": b"{"}),
    "another JSON": lambda files: files.update({"adapter_config.json": b"[1, 2]"}),
    "unknown method": config_changed("adapter_config.json", architecture="nothing"),
    "the head's truncated": lambda files: files.update(
        {"model_head.safetensors": files["model_head.safetensors"][:99]}
    ),
    "the head's shape": tensors_changed(resized, "model_head.safetensors"),
    "the head's JSON": lambda files: files.update({"head_config.json": b"null"}),
    "the head's kind": config_changed("head_config.json", head_type="tagging"),
    "the head's activation": config_changed("head_config.json", activation_function="nothing"),
    "the head's outputs": config_changed("head_config.json", num_labels=-1),
}


@pytest.mark.parametrize("method", ["seq_bn", "prefix_tuning"])
@pytest.mark.parametrize("known", [False, True], ids=["the first of its configuration", "a later one"])
def test_a_load_that_fails_takes_nobodys_place(
    known: bool, method: str, make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    good = make_version("good", method=method)
    make_version("beside", method="lora", seed=1)
    bad = [name for name in DAMAGES if name in ("a tensor missing", "a tensor too many", "another shape")]
    assert len(bad) == 3
    for number, name in enumerate(bad):
        altered(registry, good, f"bad{number}", DAMAGES[name])
    there = "good" if known else "beside"
    with Switcher(str(tiny_base), registry=registry, capacity=1) as switcher:
        logits = switcher.logits(there, TEXTS)
        before = in_model(switcher)
        for number in range(len(bad)):
            with pytest.raises(WeightsError):
                switcher.load(f"bad{number}")
            assert switcher.loaded == (f"{there}@1",)
        assert in_model(switcher) == before
        assert torch.equal(switcher.logits(there, TEXTS), logits)
        assert [version.hits for version in switcher.status().versions] == [2]


@pytest.mark.parametrize("method", ["seq_bn", "lora", "ia3", "prefix_tuning", "compacter"])
def test_a_load_that_fails_leaves_everything_as_it_was(
    method: str, make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    """As the first version of its configuration and as the second, with another one loaded beside it."""
    good, second = make_version("good", method=method), make_version("second", method=method, seed=1)
    make_version("beside", method="double_seq_bn", seed=2)
    other = make_version("other", GLUE["mnli"], method=method, seed=3)
    for number, change in enumerate(DAMAGES.values()):
        altered(registry, good, f"bad{number}", change)
    bad = [f"bad{number}" for number in range(len(DAMAGES))]
    wrong_head = altered(registry, good, "wrong-head", lambda _: None, task=other.task)
    if method in ("seq_bn", "lora"):  # with the files of another rank, but the configuration of this one
        rank = make_version("rank", method=method, fields={"seq_bn": {"reduction_factor": 8}, "lora": {"r": 4}}[method])
        mixed = {"adapter.safetensors": registry.read_file(rank, "adapter.safetensors")}
        bad.append(altered(registry, good, "bad-rank", lambda files: files.update(mixed)).name)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        beside = switcher.logits("beside", TEXTS)
        for already in ("none", "good"):
            if already == "good":
                logits = switcher.logits("good", TEXTS)
            before, loaded = in_model(switcher), switcher.loaded
            used = [rack.used for rack in switcher._adapters.placement.racks]
            for ref in bad:
                with pytest.raises(WeightsError):
                    switcher.load(ref)
                assert in_model(switcher) == before, ref
            with pytest.raises(WeightsError, match=f"{wrong_head.ref} has 2 outputs, and its task 'mnli' asks for 3"):
                switcher.load("wrong-head")
            assert switcher.loaded == loaded
            assert [rack.used for rack in switcher._adapters.placement.racks] == used
            assert in_model(switcher) == before
            assert torch.equal(switcher.logits("beside", TEXTS), beside)
        assert torch.equal(switcher.logits("good", TEXTS), logits)
        assert not torch.equal(switcher.logits("second", TEXTS), logits)
        assert len(switcher.predict("other", PAIRS)) == len(PAIRS)
    path = object_path(registry, second)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    with Switcher(str(tiny_base), registry=registry) as switcher:
        assert torch.equal(switcher.logits("good", TEXTS), logits)
        with pytest.raises(ObjectCorruptError):
            switcher.load("second")
        assert torch.equal(switcher.logits("good", TEXTS), logits)
