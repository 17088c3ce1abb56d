"""Versions are merged into new ones that compute what the formulas say, and what does not go together is refused."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from adapters import AdapterSetup

from pointsman.registry import Registry, Version
from pointsman.registry.errors import (
    Action,
    Advice,
    BaseMismatchError,
    CompositionError,
    InvalidNameError,
    NotFoundError,
    PointsmanError,
    SettingsError,
    WeightsError,
)
from pointsman.sdk import Switcher, evaluate
from pointsman.sdk.bases.load import LoadedBase, load_base
from pointsman.sdk.combining.merging.merge import merge
from pointsman.sdk.combining.merging.search import grid
from pointsman.sdk.data import load_task_data
from pointsman.sdk.engines.scoring import evaluation_of
from pointsman.sdk.engines.slots import (
    adapter_tensors,
    add_head,
    add_slot,
    extract_adapter,
    insert_adapter,
    remove_slot,
    slot_name,
)
from pointsman.sdk.formats.native import ADAPTER_WEIGHTS, HEAD_WEIGHTS, same_weights
from pointsman.sdk.methods import METHODS, configure
from pointsman.sdk.tasks import GLUE, Task

from architectures import make_base
from helpers import TEXTS, scramble

SLOT = slot_name(7)
LABELS = ("negative", "positive")
Make = Callable[..., Version]


@pytest.fixture
def make(registry: Registry, loaded: LoadedBase) -> Make:
    """Registers an adapter with random weights; fields of its configuration as keywords."""

    def made(
        name: str, method: str = "lora", *, seed: int, task: Task = GLUE["sst2"], base: LoadedBase = loaded,
        max_length: int = 32, **fields: Any,
    ) -> Version:  # fmt: skip
        torch.manual_seed(seed)
        config = configure(method, fields)
        add_slot(base.model, SLOT, config)
        add_head(base.model, SLOT, labels=task.labels)
        scramble(base.model, SLOT)
        version = registry.add_version(
            name,
            files=extract_adapter(base.model, SLOT, name=name, base="tiny"),
            task=task.to_dict(),
            method=method,
            config=config,
            base=base.record,
            max_length=max_length,
            parameters=sum(tensor.numel() for tensor in adapter_tensors(base.model, SLOT).values()) + 16_770,
        )
        remove_slot(base.model, SLOT)
        return version

    return made


def files_of(registry: Registry, version: Version) -> dict[str, bytes]:
    return registry.read_files(version)


def tensors_of(registry: Registry, version: Version, file: str = ADAPTER_WEIGHTS) -> dict[str, torch.Tensor]:
    """In float64, by names without the adapter's."""
    tensors = safetensors.torch.load(registry.read_file(version, file))
    named = {key.replace(f".{version.name}.", ".*."): tensor.double() for key, tensor in tensors.items()}
    assert all(".*." in key for key in named)
    return named


def logits(loaded: LoadedBase, files: Mapping[str, bytes], updates: Mapping[str, torch.Tensor] | None = None) -> Any:
    """What a version computes; with updates, what its head does on a base with these put into its weights."""
    model = loaded.model
    insert_adapter(model, SLOT, files)
    inputs = loaded.tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        if updates is not None:
            for key, tensor in adapter_tensors(model, SLOT).items():
                if key.endswith("lora_B"):
                    tensor.zero_()
        before = {place: model.get_submodule(place).weight.clone() for place in updates or {}}
        for place, update in (updates or {}).items():
            model.get_submodule(place).weight += update.float()
        with AdapterSetup(SLOT):
            found = model.eval()(**inputs, head=SLOT).logits
        for place, weight in before.items():
            model.get_submodule(place).weight.copy_(weight)
    remove_slot(model, SLOT)
    return found


def updates_of(registry: Registry, version: Version) -> dict[str, torch.Tensor]:
    """What a LoRA adds to which weight: ``B A · alpha / r``."""
    tensors = tensors_of(registry, version)
    scaling = version.config["alpha"] / version.config["r"]
    return {
        key.removesuffix(".loras.*.lora_A"): tensors[f"{key[:-1]}B"] @ tensors[key] * scaling
        for key in tensors
        if key.endswith("lora_A")
    }


def test_the_mean_of_two_is_the_mean_of_every_tensor(registry: Registry, make: Make, tiny_base: Path) -> None:
    one, other = make("a", "seq_bn", seed=1), make("b", "seq_bn", seed=2, max_length=48)
    merged = merge("both", ["a", "b@1"], registry=registry, weights=[0.3, 0.7])
    for file in (ADAPTER_WEIGHTS, HEAD_WEIGHTS):
        found, mine, its = (tensors_of(registry, version, file) for version in (merged, one, other))
        assert found.keys() == mine.keys()
        for key, tensor in found.items():
            torch.testing.assert_close(tensor, 0.3 * mine[key] + 0.7 * its[key], rtol=1e-7, atol=1e-8)
    assert (merged.ref, merged.method, merged.config, merged.base) == ("both@1", "seq_bn", one.config, one.base)
    assert (merged.task, merged.max_length, merged.parameters) == (one.task, 48, one.parameters)
    assert (merged.parents, merged.run, merged.metrics, merged.primary_metric) == (("a@1", "b@1"), None, {}, None)
    assert [parent.role for parent in registry.lineage("both").parents["both@1"]] == ["member", "member"]
    assert merged.tags == {"merge": "linear", "merge.weights": "0.3,0.7", "merge.head": "merged"}
    assert [version.ref for version in registry.versions("tags.merge = linear")] == ["both@1"]
    with Switcher(str(tiny_base), registry=registry) as switcher:
        assert switcher.logits("both", TEXTS).isfinite().all()


@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"loreft"}))
def test_the_mean_of_one_with_itself_is_itself(method: str, registry: Registry, make: Make) -> None:
    one = make("a", method, seed=1)
    merged = merge("same", ["a", "a"], registry=registry)
    assert same_weights(files_of(registry, merged), files_of(registry, one))
    assert merged.parameters == one.parameters
    assert merged.parents == ("a@1", "a@1")
    assert merge("same", iter(["a", "a"]), registry=registry, weights=iter([0.5, 0.5])).digest == merged.digest  # type: ignore[arg-type]
    assert len(METHODS) == 21


@pytest.mark.parametrize("how", ["ties", "dare"])
def test_with_everything_kept_the_same_merge_to_the_same(how: str, registry: Registry, make: Make) -> None:
    for method in ("lora", "scaled_par_bn", "ia3"):
        one = make(method, method, seed=1)
        merged = merge("same", [method, method], registry=registry, how=how, density=1)
        assert same_weights(files_of(registry, merged), files_of(registry, one))


def test_a_negated_lora_takes_its_update_from_the_base(registry: Registry, make: Make, loaded: LoadedBase) -> None:
    one = make("a", seed=1, alpha=16)
    merged = merge("less", ["a"], registry=registry, how="arithmetic", weights=[-1])
    found, own = tensors_of(registry, merged), tensors_of(registry, one)
    assert all(torch.equal(found[key], -own[key] if key.endswith("B") else own[key]) for key in own)
    assert merged.tags["merge.head"] == "a@1"
    taken = {place: -update for place, update in updates_of(registry, one).items()}
    assert len(taken) == 4
    files = files_of(registry, merged)
    torch.testing.assert_close(logits(loaded, files), logits(loaded, files, taken), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(logits(loaded, files), logits(loaded, files_of(registry, one)), atol=1e-2)


@pytest.mark.parametrize("weight", [-0.5, 0.5, 2])
def test_one_lora_counts_by_the_square_of_its_weight(weight: float, registry: Registry, make: Make) -> None:
    """Both factors are weighed: ``w |w|`` times the update."""
    own = updates_of(registry, make("a", seed=1))
    merged = merge("less", ["a"], registry=registry, how="arithmetic", weights=[weight])
    for place, update in updates_of(registry, merged).items():
        torch.testing.assert_close(update, weight * abs(weight) * own[place])


def test_a_lora_less_itself_is_the_base(registry: Registry, make: Make, loaded: LoadedBase) -> None:
    make("a", seed=1)
    merged = merge("none", ["a", "a"], registry=registry, how="arithmetic", weights=[1, -1], head_of="a")
    files = files_of(registry, merged)
    assert torch.equal(logits(loaded, files), logits(loaded, files, {}))


def test_arithmetic_adds_factor_by_factor(registry: Registry, make: Make) -> None:
    """Zhang et al. 2023, domain transfer: λ a, and (1 - λ) of b less c, as B counts; A is added with the sizes."""
    one, two, three = (tensors_of(registry, make(name, seed=i)) for i, name in enumerate("abc"))
    merged = merge("abc", ["a", "b", "c"], registry=registry, how="arithmetic", weights=[0.4, 0.6, -0.6], head_of="b")
    for key, tensor in tensors_of(registry, merged).items():
        sign = -1 if key.endswith("lora_B") else 1
        expected = 0.4 * one[key] + 0.6 * two[key] + sign * 0.6 * three[key]
        torch.testing.assert_close(tensor, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("method", ["seq_bn", "scaled_par_bn", "double_seq_bn"])
def test_a_negated_bottleneck_adds_the_opposite(method: str, registry: Registry, make: Make) -> None:
    versions = [make("a", method, seed=1), merge("less", ["a"], registry=registry, how="arithmetic", weights=[-1])]
    x = torch.randn(6, 128, dtype=torch.float64)
    places = [
        key.removesuffix("adapter_up.bias") for key in tensors_of(registry, versions[0]) if key.endswith("up.bias")
    ]
    assert len(places) == (4 if method == "double_seq_bn" else 2)
    for place in places:
        one, other = (
            ((x @ t[f"{place}adapter_down.0.weight"].T + t[f"{place}adapter_down.0.bias"]).relu()
             @ t[f"{place}adapter_up.weight"].T + t[f"{place}adapter_up.bias"]) * t.get(f"{place}scaling", 1)
            for t in (tensors_of(registry, version) for version in versions)
        )  # fmt: skip
        torch.testing.assert_close(other, -one)


def test_vectors_that_multiply_are_added_about_one(registry: Registry, make: Make) -> None:
    """Zhang et al. 2023: the negation of (IA)³ is 2 - l."""
    one, two = (tensors_of(registry, make(name, "ia3", seed=i)) for i, name in enumerate("ab"))
    less = tensors_of(registry, merge("less", ["a"], registry=registry, how="arithmetic", weights=[-1]))
    both = merge("both", ["a", "b"], registry=registry, how="arithmetic", weights=[1, 2], head_of="a")
    for key, tensor in tensors_of(registry, both).items():
        torch.testing.assert_close(less[key], 2 - one[key], rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(tensor, 1 + (one[key] - 1) + 2 * (two[key] - 1), rtol=1e-6, atol=1e-6)


def test_svd_of_a_full_rank_is_the_sum_of_the_updates(registry: Registry, make: Make, loaded: LoadedBase) -> None:
    one, other = make("a", seed=1, alpha=16), make("b", seed=2, r=4, alpha=2)
    merged = merge("sum", ["a", "b"], registry=registry, how="svd", weights=[0.8, -0.5], rank=12, head_of="b")
    assert merged.config == {**one.config, "r": 12}
    assert merged.parameters == one.parameters * 12 // 8 - 16_770 // 2
    assert merged.tags == {"merge": "svd", "merge.weights": "0.8,-0.5", "merge.rank": "12", "merge.head": "b@1"}
    mine, its = updates_of(registry, one), updates_of(registry, other)
    wanted = {place: 0.8 * mine[place] - 0.5 * its[place] for place in mine}
    for place, update in updates_of(registry, merged).items():
        torch.testing.assert_close(update, wanted[place], rtol=1e-5, atol=1e-6)
    files = files_of(registry, merged)
    torch.testing.assert_close(logits(loaded, files), logits(loaded, files, wanted), rtol=1e-4, atol=1e-5)


def test_svd_of_a_lower_rank_is_the_nearest(registry: Registry, make: Make) -> None:
    one, other = make("a", seed=1, r=4), make("b", seed=2)
    merged = merge("sum", ["a", "b"], registry=registry, how="svd")
    assert (merged.config["r"], merged.tags["merge.rank"]) == (4, "4")
    mine, its = updates_of(registry, one), updates_of(registry, other)
    for place, update in updates_of(registry, merged).items():
        total = (mine[place] + its[place]) / 2
        left_out = torch.linalg.svdvals(total)[4:].norm()
        assert torch.linalg.matrix_rank(update, rtol=1e-6) == 4
        assert (update - total).norm().item() == pytest.approx(left_out.item(), rel=1e-5)


def test_svd_where_one_layer_makes_queries_keys_and_values(registry: Registry, make: Make, tmp_path: Path) -> None:
    base = load_base(str(make_base(tmp_path / "modernbert", "modernbert")))
    one = make("a", seed=1, base=base)
    merged = merge("same", ["a", "a"], registry=registry, how="svd", rank=10)
    expected = logits(base, files_of(registry, one))
    torch.testing.assert_close(logits(base, files_of(registry, merged)), expected, rtol=1e-4, atol=1e-5)


def test_ties_is_its_formula_on_every_tensor(registry: Registry, make: Make) -> None:
    for method, neutral in (("seq_bn", 0), ("ia3", 1)):
        members = [tensors_of(registry, make(f"{method}{i}", method, seed=i)) for i in range(3)]
        refs = [f"{method}{i}" for i in range(3)]
        merged = merge(method, refs, registry=registry, how="ties", density=0.25, scale=0.5)
        assert (merged.tags["merge.density"], merged.tags["merge.scale"]) == ("0.25", "0.5")
        for key, tensor in tensors_of(registry, merged).items():
            vectors = [member[key] - neutral for member in members]
            kept = [v * (v.abs() >= v.abs().flatten().sort().values[v.numel() * 3 // 4]) for v in vectors]
            elected = sum(kept).sign()  # type: ignore[union-attr]
            agreeing = [v * (v.sign() == elected) for v in kept]
            count = sum((v != 0).double() for v in agreeing)
            expected = neutral + 0.5 * sum(agreeing) / count.clamp(min=1)  # type: ignore[union-attr]
            torch.testing.assert_close(tensor, expected, rtol=1e-6, atol=1e-7)


def test_dare_keeps_entries_of_each_at_random(registry: Registry, make: Make) -> None:
    one, other = (tensors_of(registry, make(name, seed=i)) for i, name in enumerate("ab"))

    def merged(**settings: Any) -> dict[str, torch.Tensor]:
        version = merge("both", ["a", "b"], registry=registry, how="dare", density=0.4, **settings)
        assert version.tags["merge.seed"] == str(settings.get("seed", 0))
        return tensors_of(registry, version)

    found = merged()
    shares = torch.zeros(4)
    for key, tensor in found.items():
        mine, its = one[key] / 0.4 / 2, other[key] / 0.4 / 2
        either = [torch.isclose(tensor, some, rtol=1e-6) for some in (mine + its, mine, its, torch.zeros(()).double())]
        assert torch.stack(either).any(0).all()
        shares += torch.stack(either).sum((1, 2)) / sum(t.numel() for t in found.values())
    assert shares.tolist() == pytest.approx([0.16, 0.24, 0.24, 0.36], abs=0.03)
    assert all(torch.equal(tensor, found[key]) for key, tensor in merged(seed=0).items())
    assert not any(torch.equal(tensor, found[key]) for key, tensor in merged(seed=1).items())


def test_of_different_tasks_somebody_says_whose_head_it_is(registry: Registry, make: Make) -> None:
    make("a", seed=1)
    other = make("b", seed=2, task=GLUE["mnli"], max_length=48)
    with pytest.raises(
        SettingsError, match=r"a@1 and b@1 were trained for different tasks, sst2 and mnli.*head_of$"
    ) as refused:
        merge("both", ["a", "b"], registry=registry)
    assert refused.value.advice == Advice(Action.SET_ARGUMENTS, {"head_of": None})
    merged = merge("both", ["a", "b"], registry=registry, head_of="b@latest")
    assert (merged.task, merged.max_length, merged.parameters) == (other.task, 48, other.parameters)
    assert merged.tags["merge.head"] == "b@1"
    found, own = (tensors_of(registry, version, HEAD_WEIGHTS) for version in (merged, other))
    assert found.keys() == own.keys()
    assert all(torch.equal(found[key], own[key]) for key in own)


def own_task(labels: Sequence[str] = LABELS, text: str = "sentence") -> Task:
    return Task(name="own", description="own", text=(text,), labels=tuple(labels), metrics=("accuracy",),
                primary="accuracy")  # fmt: skip


def test_heads_that_have_no_mean(registry: Registry, make: Make) -> None:
    make("a", seed=1, task=own_task())
    make("b", seed=2, task=own_task(reversed(LABELS)))
    make("c", seed=2, task=own_task(text="body"))
    make("d", seed=2)
    make("e", seed=3)
    for other, said in (("b", "labels of the task own, negative, positive and positive, negative"), ("c", "text")):
        with pytest.raises(SettingsError, match=said):
            merge("both", ["a", other], registry=registry)
    with pytest.raises(SettingsError, match=r"the weights 1, 1 are no shares.*head_of$"):
        merge("both", ["d", "e"], registry=registry, how="arithmetic", weights=[1, 1])
    with pytest.raises(SettingsError, match=r"head_of is a@1, which is none of the members: d@1, e@1$"):
        merge("both", ["d", "e"], registry=registry, head_of="a")
    with pytest.raises(NotFoundError):
        merge("both", ["d", "e"], registry=registry, head_of="nobody")
    with pytest.raises(CompositionError, match="found 5"):
        merge("both", ["d", "e"], registry=registry, head_of=5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"weights": [0.5, 0.6]}, "add up to 1; found a sum of 1.1"),
        ({"weights": [1.5, -0.5]}, "none below 0; found -0.5.*arithmetic"),
        ({"weights": [1]}, "one weight: found 1 for 2 members"),
        ({"weights": [float("nan"), 1]}, "finite numbers; found nan"),
        ({"weights": [float("inf"), 1], "how": "svd"}, "finite numbers; found inf"),
        ({"weights": ["a", 1]}, "finite numbers; found 'a'"),
        ({"weights": [None, 1]}, "finite numbers; found None"),
        ({"weights": [10**5000, 1], "how": "svd"}, "finite numbers; found a huge number"),
        ({"weights": 0.5}, "a list of numbers, one for each member; found 0.5"),
        ({"weights": {"a": 0.5, "b": 0.5}}, "a list of numbers, one for each member; found {'a'"),
        ({"how": "arithmetic"}, "arithmetic needs weights"),
        ({"how": "average"}, "unknown formula 'average'.*linear"),
        ({"how": "ties", "density": 0}, "above 0 and at most 1; found 0"),
        ({"how": "dare", "density": 1.5}, "above 0 and at most 1; found 1.5"),
        ({"how": "dare", "density": float("nan")}, "above 0 and at most 1; found nan"),
        ({"how": "ties", "scale": 0}, "scale must be a number above 0"),
        ({"how": "dare", "seed": -1}, "seed must be a whole number"),
        ({"how": "svd", "rank": 0}, "rank must be a whole number, at least 1; found 0"),
        ({"how": "svd", "rank": 129}, "rank must be at most 128"),
        ({"rank": 4}, "rank belongs to svd; found it with linear"),
        ({"density": 0.5}, "density belongs to ties and dare; found it with linear"),
        ({"search": True, "weights": [0.5, 0.5]}, "leave weights out"),
        ({"search": True, "how": "arithmetic"}, "a search tries shares that add up to 1"),
        ({"data": "sample"}, "which is not set"),
        ({"max_rows": 3}, "which is not set"),
        ({"device": "nope"}, "which is not set"),
        *(
            (
                {"search": True, "data": "sample", "max_rows": rows},
                "max_rows must be a whole number, at least 1; found",
            )
            for rows in ("5", 0, 2.5, True)
        ),
        ({"search": True, "data": 5}, "data must be a path; found 5"),
        ({"search": True, "text": [5]}, r"text and label must name columns; found \[5\]"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], said: str, registry: Registry, make: Make) -> None:
    make("a", seed=1)
    make("b", seed=2)
    with pytest.raises(SettingsError, match=said):
        merge("both", ["a", "b"], registry=registry, **settings)
    assert [version.ref for version in registry.versions()] == ["a@1", "b@1"]


@pytest.mark.parametrize(
    ("members", "kind", "said"),
    [
        ([], SettingsError, "nothing to merge"),
        (["a"], SettingsError, "one member is nothing to merge.*weight -1"),
        ("a", SettingsError, "a list of refs"),
        (None, SettingsError, "a list of refs, as .*; found None"),
        (["a", 5], CompositionError, "found 5"),
        (["a", "stack(a, bn)"], CompositionError, "expected a single ref, found 'stack"),
        (["a", "nobody"], NotFoundError, "nobody"),
        (["a", "a@7"], NotFoundError, "7"),
        (["a", "not valid"], InvalidNameError, "not valid"),
        (["a", "bn"], SettingsError, "a@1 and bn@1 cannot be merged: they are of different methods, lora and seq_bn"),
        (["a", "low"], SettingsError, "a@1 and low@1 cannot be merged: their lora differs in r, 8 and 4; how 'svd'"),
        (["a", "all"], SettingsError, r"a@1 and all@1 .* differs in attn_matrices, \['q', 'v'\] and \['q', 'k', 'v'\]"),
        (["a", "far"], BaseMismatchError, "a@1 and far@1 cannot be merged: .* different bases, '.*' .* and '.*'"),
    ],
)
def test_members_that_do_not_go_together(
    members: Any, kind: type[PointsmanError], said: str, *, registry: Registry, make: Make, other_base: Path
) -> None:
    make("a", seed=1)
    make("bn", "seq_bn", seed=1)
    make("low", seed=1, r=4)
    make("all", seed=1, attn_matrices=["q", "k", "v"])
    make("far", seed=1, base=load_base(str(other_base)))
    with pytest.raises(kind, match=said):
        merge("both", members, registry=registry)
    assert registry.versions().total == 5


def test_arguments_of_a_search_without_one_are_refused_with_the_argument_to_set(registry: Registry, make: Make) -> None:
    make("a", seed=1)
    with pytest.raises(SettingsError, match=r"for a search, which is not set$") as refused:
        merge("both", ["a", "a"], registry=registry, data="sample")
    assert refused.value.advice == Advice(Action.SET_ARGUMENTS, {"search": True})


def test_what_only_training_knows_of_may_differ(registry: Registry, make: Make) -> None:
    make("a", seed=1, dropout=0.1)
    make("b", seed=2)
    assert merge("both", ["a", "b"], registry=registry).config["dropout"] == 0.1


@pytest.mark.parametrize("how", ["arithmetic", "ties", "dare", "svd"])
def test_methods_for_which_a_way_has_no_meaning(how: str, registry: Registry, make: Make) -> None:
    able = {"lora"} if how == "svd" else {"lora", "ia3", "seq_bn", "double_seq_bn", "par_bn", "scaled_par_bn"}
    refused = METHODS.keys() - able
    assert len(refused) >= 15
    for method in sorted(refused):
        make("m", method, seed=1)
        with pytest.raises(SettingsError, match=re.escape(method)):
            merge("both", ["m", "m"], registry=registry, how=how, weights=[0.5, 0.5])
    for method in sorted(able):
        make("m", method, seed=1)
        merge("both", ["m", "m"], registry=registry, how=how, weights=[0.5, 0.5])


def test_what_has_no_mean_at_all(registry: Registry, make: Make) -> None:
    make("a", "loreft", seed=1)
    make("v", "vera", seed=1)
    make("w", "vera", seed=2)
    with pytest.raises(SettingsError, match=r"loreft cannot be merged.*orthogonal"):
        merge("both", ["a", "a"], registry=registry)
    with pytest.raises(SettingsError, match=r"v@1 and w@1 cannot be merged: their vera has different random matrices"):
        merge("both", ["v", "w"], registry=registry)


def test_damaged_members_are_refused(registry: Registry, make: Make) -> None:
    one = make("a", seed=1)
    files = files_of(registry, one)
    tensors = safetensors.torch.load(files[ADAPTER_WEIGHTS])
    tensors.pop(min(tensors))
    for name, content in (("less", safetensors.torch.save(tensors)), ("none", b"{}")):
        registry.add_version(
            name, files={**files, ADAPTER_WEIGHTS: content}, task=one.task, method=one.method, config=one.config,
            base=one.base, max_length=32, parameters=1,
        )  # fmt: skip
        with pytest.raises(WeightsError, match=f"{name}@1"):
            merge("both", ["a", name], registry=registry)


def test_a_search_finds_the_best_weights_of_its_grid(registry: Registry, make: Make, tiny_base: Path) -> None:
    make("a", seed=1)
    make("b", seed=2)
    found = merge("best", ["a", "b"], registry=registry, search=True, data="sample", max_rows=60, base=str(tiny_base))
    assert found.primary_metric == "eval/accuracy"
    assert set(found.metrics) == {"eval/accuracy", "eval/loss"}
    rows = load_task_data("sst2", "sample").splits["validation"].head(60)
    assert found.evaluation == evaluation_of(GLUE["sst2"], rows)
    scores = {}
    for number, shares in enumerate(grid(2), start=1):
        merge("tried", ["a", "b"], registry=registry, weights=shares)
        with Switcher(str(tiny_base), registry=registry) as switcher:
            scores[shares] = evaluate(switcher, f"tried@{number}", data="sample", max_rows=60)["accuracy"]
    assert len(scores) == 11
    assert len(set(scores.values())) > 1
    best = max(scores, key=scores.__getitem__)  # of equals the first
    assert found.tags["merge.weights"] == ",".join(map(repr, best))
    assert found.metrics["eval/accuracy"] == pytest.approx(scores[best])
    again = merge("again", ["a", "b"], registry=registry, weights=best)
    assert same_weights(files_of(registry, found), files_of(registry, again))


def test_a_search_on_a_task_of_ones_own(
    registry: Registry, make: Make, tiny_base: Path, other_base: Path, tmp_path: Path
) -> None:
    rows = [f"{word} film,{label}" for word, label in (("good", "positive"), ("bad", "negative")) for _ in range(10)]
    path = tmp_path / "own.csv"
    path.write_text("\n".join(["sentence,label", *rows]) + "\n", encoding="utf-8")
    make("a", "seq_bn", seed=1, task=own_task())
    make("b", "seq_bn", seed=2, task=own_task(text="other"))
    given: dict[str, Any] = {"search": True, "data": path, "text": "sentence", "base": str(tiny_base)}
    found = merge("best", ["a", "a"], registry=registry, how="ties", **given)
    assert found.tags["merge.weights"] == "0.5,0.5"
    with pytest.raises(SettingsError, match=r"own.csv is of another task than b@1: text sentence .* text other"):
        merge("best", ["b", "b"], registry=registry, **given)
    with pytest.raises(BaseMismatchError, match="a@1 was trained on the base"):
        merge("best", ["a", "a"], registry=registry, **{**given, "base": str(other_base)})
    assert registry.versions(name="best").total == 1
