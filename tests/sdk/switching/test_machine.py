"""Any sequence of calls against a model of what has to be in memory, and of what each ref means."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from pointsman.registry import Registry, Version
from pointsman.registry.errors import SettingsError, WeightsError
from pointsman.sdk import Switcher

from helpers import TEXTS, MakeVersion

CAPACITY = 3
METHODS = {"a": "seq_bn", "b": "lora", "c": "prefix_tuning", "d": "seq_bn"}
NUMBERS = (1, 2, 3)

names = st.sampled_from(sorted(METHODS))
numbers = st.sampled_from(NUMBERS)


class Memory(RuleBasedStateMachine):
    """A Switcher whose refs are all ``NAME@live``, and beside it what it should have in memory, longest ago first."""

    registry: Registry
    base: Path
    alone: dict[str, torch.Tensor]

    @initialize(warm=st.sampled_from([0, 200_000]))
    def open(self, warm: int) -> None:
        for name in METHODS:
            self.registry.set_alias(f"{name}@1", "live")
        self.live = dict.fromkeys(METHODS, 1)
        self.meant: dict[str, str] = {}
        self.memory: list[str] = []
        self.pinned: set[str] = set()
        self.switcher = Switcher(str(self.base), registry=self.registry, capacity=CAPACITY, warm_bytes=warm)

    def teardown(self) -> None:
        if hasattr(self, "switcher"):
            self.switcher.close()

    def means(self, name: str) -> str:
        return self.meant.setdefault(name, f"{name}@{self.live[name]}")

    def use(self, refs: list[str]) -> bool:
        """What a call that needs these versions does to the memory; whether they fit."""
        there = [ref for ref in refs if ref in self.memory]
        for ref in there:
            self.memory.remove(ref)
            self.memory.append(ref)
        for ref in refs:
            if ref in self.memory:
                continue
            if len(self.memory) == CAPACITY:
                victim = next((old for old in self.memory if old not in self.pinned and old not in there), None)
                if victim is None:
                    return False
                self.memory.remove(victim)
            self.memory.append(ref)
            there.append(ref)
        return True

    @rule(name=names)
    def load(self, name: str) -> None:
        ref = self.means(name)
        if self.use([ref]):
            assert self.switcher.load(f"{name}@live") == ref
        else:
            with pytest.raises(SettingsError, match="capacity is 3 adapters, 3 of 3 loaded being pinned"):
                self.switcher.load(f"{name}@live")

    @rule(name=names)
    def load_what_is_damaged(self, name: str) -> None:
        with pytest.raises(WeightsError):
            self.switcher.load(f"{name}-damaged")

    @rule(name=names)
    def predict(self, name: str) -> None:
        ref = self.means(name)
        if self.use([ref]):
            assert torch.equal(self.switcher.logits(f"{name}@live", TEXTS), self.alone[ref])

    @rule(chosen=st.lists(names, min_size=2, max_size=4, unique=True))
    def predict_mixed(self, chosen: list[str]) -> None:
        rows = [(f"{name}@live", text) for text in TEXTS for name in chosen]
        refs = [self.means(name) for name in chosen]
        if not self.use(refs):
            with pytest.raises(SettingsError, match="needed at once"):
                self.switcher.predict_mixed(rows)
            return
        for number, answer in enumerate(self.switcher.predict_mixed(rows)):
            logits = self.alone[refs[number % len(refs)]][number // len(refs)]
            assert answer.score == pytest.approx(logits.softmax(0).max().item(), abs=1e-4)

    @rule(name=names)
    def pin(self, name: str) -> None:
        ref = self.means(name)
        if self.use([ref]):
            self.switcher.pin(f"{name}@live")
            self.pinned.add(ref)
        else:
            with pytest.raises(SettingsError, match="being pinned"):
                self.switcher.pin(f"{name}@live")

    @rule(name=names)
    def unpin(self, name: str) -> None:
        self.switcher.unpin(f"{name}@live")
        self.pinned.discard(self.means(name))

    @rule(name=names)
    def unload(self, name: str) -> None:
        self.switcher.unload(f"{name}@live")
        ref = self.meant.pop(name, None)
        if ref in self.memory:
            self.memory.remove(ref)
        self.pinned.discard(str(ref))

    @rule(name=names, number=numbers)
    def move(self, name: str, number: int) -> None:
        self.registry.set_alias(f"{name}@{number}", "live")
        self.live[name] = number

    @rule(name=names)
    def refresh(self, name: str) -> None:
        before, now = self.meant.get(name), f"{name}@{self.live[name]}"
        loads = before != now and (before is None or before in self.memory)
        if loads and not self.use([now]):
            with pytest.raises(SettingsError, match="being pinned"):
                self.switcher.refresh(f"{name}@live")
            return
        changed = self.switcher.refresh(f"{name}@live")
        assert changed == ({} if before == now else {f"{name}@live": now})
        self.meant[name] = now

    @invariant()
    def is_as_it_should_be(self) -> None:
        if not hasattr(self, "switcher"):
            return
        status = self.switcher.status()
        assert {version.ref for version in status.versions} == set(self.memory)
        assert {version.ref for version in status.versions if version.pinned} == self.pinned
        # By their turns: what one call uses may well have the same time, to the microsecond.
        in_turn = sorted(self.switcher._adapters.loaded, key=lambda loaded: loaded.last_used)
        assert [loaded.version.ref for loaded in in_turn] == self.memory
        in_racks = [version for version in status.versions if version.place != "alone"]
        assert sum(rack.used for rack in self.switcher._adapters.placement.racks) == len(in_racks)
        assert len({version.place for version in in_racks}) == len(in_racks)
        assert all(rack.capacity <= CAPACITY for rack in self.switcher._adapters.placement.racks)
        assert not self.switcher._adapters._leases


def damaged(registry: Registry, version: Version, name: str) -> None:
    """Register a version whose tensors are of another shape."""
    files = registry.read_files(version)
    tensors = safetensors.torch.load(files["adapter.safetensors"])
    files["adapter.safetensors"] = safetensors.torch.save({key: tensor[:-1] for key, tensor in tensors.items()})
    about = {"task": version.task, "method": version.method, "config": version.config, "base": version.base}
    registry.add_version(name, files=files, max_length=32, parameters=1, **about)


def test_any_sequence_of_calls_keeps_what_it_should(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    alone = {}
    for seed, (name, method) in enumerate(METHODS.items()):
        for number in NUMBERS:
            make_version(name, method=method, seed=10 * seed + number)
    for name in METHODS:
        damaged(registry, registry.version(f"{name}@1"), f"{name}-damaged")
        for number in NUMBERS:
            with Switcher(str(tiny_base), registry=registry) as switcher:
                alone[f"{name}@{number}"] = switcher.logits(f"{name}@{number}", TEXTS)
    machine = type("Machine", (Memory,), {"registry": registry, "base": tiny_base, "alone": alone})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
