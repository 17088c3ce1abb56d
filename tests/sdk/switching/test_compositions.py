"""Every composition against its definition, computed without us: by plain adapters, or by hand on the weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from adapters import AutoAdapterModel
from adapters.composition import Stack as PlainStack
from transformers import AutoTokenizer

from pointsman.registry import Registry
from pointsman.registry.errors import CompositionError
from pointsman.sdk import Average, BatchSplit, Parallel, Stack, Switcher, compose
from pointsman.sdk.tasks import GLUE

from helpers import PAIRS, TEXTS, MakeVersion, PlainAdapters


@pytest.fixture
def adapters(make_version: MakeVersion) -> list[str]:
    """Of every kind that can be joined with others, two, and some tasks."""
    methods = {"a": "seq_bn", "b": "seq_bn", "c": "double_seq_bn", "l": "lora", "m": "lora", "i": "ia3", "j": "ia3",
               "inv": "seq_bn_inv", "p": "compacter", "q": "par_bn", "r": "par_bn"}  # fmt: skip
    for seed, (name, method) in enumerate(methods.items()):
        make_version(name, method=method, seed=seed)
    make_version("mnli", GLUE["mnli"], seed=20)
    make_version("stsb", GLUE["stsb"], seed=21)
    return list(methods)


def plain_logits(base: Path, registry: Registry, directory: Path, names: list[str]) -> torch.Tensor:
    """What plain adapters makes of a stack with the head of its last, text by text."""
    model, tokenizer = AutoAdapterModel.from_pretrained(base).eval(), AutoTokenizer.from_pretrained(base)
    loaded = [model.load_adapter(str(registry.export(name, directory / name)), use_safetensors=True) for name in names]
    model.set_active_adapters(PlainStack(*loaded))
    model.active_head = loaded[-1]
    rows = []
    with torch.inference_mode():
        for text in TEXTS:
            rows.append(model.eval()(**tokenizer(text, truncation=True, max_length=32, return_tensors="pt")).logits[0])
    return torch.stack(rows)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("names", ["ab", "ba", "ac", "la", "al", "lm", "ij", "lai", "pa"])
def test_a_stack_runs_in_its_order(
    names: str, adapters: list[str], registry: Registry, tiny_base: Path, tmp_path: Path
) -> None:
    expected = plain_logits(tiny_base, registry, tmp_path, list(names))
    with Switcher(str(tiny_base), registry=registry) as switcher:
        found = switcher.logits(Stack(*names), TEXTS)
        close(found, expected)
        assert torch.equal(found, switcher.logits(f"stack({', '.join(names)})", TEXTS))
        assert not torch.allclose(found, switcher.logits(names[-1], TEXTS), atol=1e-3)
        assert torch.equal(switcher.logits(Stack("a"), TEXTS), switcher.logits("a", TEXTS))


def test_an_invertible_adapter_is_the_first_of_its_stack(
    adapters: list[str], registry: Registry, tiny_base: Path, tmp_path: Path
) -> None:
    expected = plain_logits(tiny_base, registry, tmp_path, ["inv", "a"])
    with Switcher(str(tiny_base), registry=registry) as switcher:
        close(switcher.logits("stack(inv, a)", TEXTS), expected)
        with pytest.raises(CompositionError, match="first member"):
            switcher.logits("stack(a, inv)", TEXTS)


def files_of(registry: Registry, ref: str) -> dict[str, bytes]:
    version = registry.version(ref)
    return registry.read_files(version)


def as_one_bottleneck(registry: Registry, weights: Mapping[str, float], directory: Path) -> Path:
    """The average of bottlenecks of one layer each is one bottleneck of all their units, the way up weighed."""
    parts = {name: safetensors.torch.load(files_of(registry, name)["adapter.safetensors"]) for name in weights}
    first, *_ = weights
    tensors = {}
    for key, tensor in parts[first].items():
        of_each = {name: part[key.replace(f".{first}.", f".{name}.")] for name, part in parts.items()}
        if ".adapter_down." in key:
            tensors[key] = torch.cat(list(of_each.values()))
        elif key.endswith("weight"):
            tensors[key] = torch.cat([of_each[name] * weight for name, weight in weights.items()], dim=1)
        else:
            tensors[key] = sum((of_each[name] * weight for name, weight in weights.items()), torch.zeros_like(tensor))
    factor = registry.version(first).config["reduction_factor"]
    return written(registry, first, tensors, directory, reduction_factor=factor / len(weights))


def as_one_lora(registry: Registry, weights: Mapping[str, float], directory: Path) -> Path:
    """The average of LoRAs is one LoRA of all their ranks."""
    parts = {name: safetensors.torch.load(files_of(registry, name)["adapter.safetensors"]) for name in weights}
    first, *_ = weights
    tensors = {}
    for key in parts[first]:
        of_each = {name: part[key.replace(f".{first}.", f".{name}.")] for name, part in parts.items()}
        weighed = [of_each[name] * (weight if key.endswith("lora_B") else 1) for name, weight in weights.items()]
        tensors[key] = torch.cat(weighed, dim=1 if key.endswith("lora_B") else 0)
    return written(registry, first, tensors, directory, r=8 * len(weights), alpha=8 * len(weights))


def as_one_ia3(registry: Registry, weights: Mapping[str, float], directory: Path) -> Path:
    """The average of (IA)³s is one (IA)³, whose vectors are the mean: each multiplies the same."""
    parts = {name: safetensors.torch.load(files_of(registry, name)["adapter.safetensors"]) for name in weights}
    first, *_ = weights
    tensors = {
        key: sum((parts[name][key.replace(f".{first}.", f".{name}.")] * weights[name] for name in weights),
                 torch.zeros_like(tensor))
        for key, tensor in parts[first].items()
    }  # fmt: skip
    return written(registry, first, tensors, directory)


def written(registry: Registry, name: str, tensors: dict[str, Any], directory: Path, **fields: Any) -> Path:
    """An adapter's files with other tensors and some fields of its configuration set otherwise."""
    exported = registry.export(name, directory)
    safetensors.torch.save_file({key: tensor.contiguous() for key, tensor in tensors.items()},
                                exported / "adapter.safetensors", metadata={"format": "pt"})  # fmt: skip
    config = json.loads((exported / "adapter_config.json").read_text())
    config["config"].update(fields)
    (exported / "adapter_config.json").write_text(json.dumps(config))
    return exported


def head_of(registry: Registry, source: str, into: Path, name: str, directory: Path) -> Path:
    """Exported files with the head of another version."""
    other = registry.export(source, directory)
    tensors = safetensors.torch.load_file(other / "model_head.safetensors")
    renamed = {key.replace(f"heads.{source}.", f"heads.{name}."): tensor for key, tensor in tensors.items()}
    safetensors.torch.save_file(renamed, into / "model_head.safetensors", metadata={"format": "pt"})
    return into


@pytest.mark.parametrize(
    ("pair", "as_one"),
    [("ab", as_one_bottleneck), ("qr", as_one_bottleneck), ("lm", as_one_lora), ("ij", as_one_ia3)],
)
def test_an_average_is_the_weighted_mean_of_outputs(
    pair: str, as_one: Any, adapters: list[str], registry: Registry, tiny_base: Path
) -> None:
    first, second = pair
    tmp_path = registry.home.parent
    plain = PlainAdapters(tiny_base)
    merged = as_one(registry, {first: 0.3, second: 0.7}, tmp_path / "merged")
    of_first = plain.logits(merged, TEXTS)
    of_second = plain.logits(head_of(registry, second, merged, first, tmp_path / "head"), TEXTS)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        found = switcher.logits(Average(first, second, weights=[0.3, 0.7]), TEXTS)
        other_way = switcher.logits(Average(first, second, weights=[0.7, 0.3]), TEXTS)
    close(found, 0.3 * of_first + 0.7 * of_second)
    assert not torch.allclose(found, other_way, atol=1e-3)


@pytest.mark.parametrize("name", ["a", "c", "l", "i", "p"])
def test_the_average_of_one_adapter_is_that_adapter(
    name: str, adapters: list[str], registry: Registry, tiny_base: Path
) -> None:
    with Switcher(str(tiny_base), registry=registry) as switcher:
        alone = switcher.logits(name, TEXTS)
        # The library's modules compute a composition, and what is written out computes a bottleneck alone.
        for average in (Average(name, name), Average(name)):
            torch.testing.assert_close(switcher.logits(average, TEXTS), alone, atol=1e-6, rtol=1e-6)
        close(switcher.logits(Average(name, name, name), TEXTS), alone)
        close(switcher.logits(Average(name, name, weights=[-0.5, 1.5]), TEXTS), alone)


def test_an_average_in_a_stack_is_what_a_stack_of_its_mean_is(
    adapters: list[str], registry: Registry, tiny_base: Path
) -> None:
    with Switcher(str(tiny_base), registry=registry) as switcher:
        close(switcher.logits("stack(l, average(a, a))", TEXTS), switcher.logits("stack(l, a)", TEXTS))
        close(switcher.logits("average(stack(l, a), stack(l, a))", TEXTS), switcher.logits("stack(l, a)", TEXTS))
        close(switcher.logits("average(stack(a, b), stack(a, b))", TEXTS), switcher.logits("stack(a, b)", TEXTS))
        mixed = switcher.logits("stack(l, average(a: 0.25, b: 0.75))", TEXTS)
        assert not torch.allclose(mixed, switcher.logits("stack(l, average(a: 0.75, b: 0.25))", TEXTS), atol=1e-3)


def test_parallel_answers_as_each_would_alone(adapters: list[str], registry: Registry, tiny_base: Path) -> None:
    with Switcher(str(tiny_base), registry=registry) as switcher:
        alone = [switcher.predict(name, TEXTS) for name in ("a", "l", "p")]
        found = switcher.predict(Parallel("a", "l", "p"), TEXTS)
        for answers, expected in zip(found, zip(*alone, strict=True), strict=True):
            assert [answer.label for answer in answers] == [answer.label for answer in expected]
            assert [answer.score for answer in answers] == pytest.approx([answer.score for answer in expected])
        deeper = switcher.predict(Stack("l", Parallel("a", "c")), TEXTS)
        stacks = zip(switcher.predict("stack(l, a)", TEXTS), switcher.predict("stack(l, c)", TEXTS), strict=True)
        for answers, expected in zip(deeper, stacks, strict=True):
            assert [answer.score for answer in answers] == pytest.approx([answer.score for answer in expected])
        (one,) = switcher.predict(Parallel("a"), TEXTS[:1])
        assert isinstance(one, tuple)
        assert len(one) == 1
        with pytest.raises(CompositionError, match="more than one answer"):
            switcher.logits("parallel(a, b)", TEXTS)


def test_heads_of_parallel_answer_each_its_own_question(
    adapters: list[str], registry: Registry, tiny_base: Path
) -> None:
    with Switcher(str(tiny_base), registry=registry) as switcher:
        for entailment, score in switcher.predict(Parallel("mnli", "stsb"), PAIRS):
            assert entailment.label in GLUE["mnli"].labels
            assert score.label is None


def test_a_batch_split_gives_each_row_to_its_member(adapters: list[str], registry: Registry, tiny_base: Path) -> None:
    with Switcher(str(tiny_base), registry=registry) as switcher:
        found = switcher.logits(BatchSplit("a", "l", "p", sizes=[1, 3, 1]), TEXTS)
        expected = [switcher.logits(name, TEXTS) for name in ("a", "l", "p")]
        close(found, torch.cat([expected[0][:1], expected[1][1:4], expected[2][4:]]))
        nested = BatchSplit(BatchSplit("a", "b", sizes=[1, 1]), Stack("l", "c"), sizes=[2, 3])
        stacked, second = switcher.logits("stack(l, c)", TEXTS), switcher.logits("b", TEXTS)
        close(switcher.logits(nested, TEXTS), torch.cat([expected[0][:1], second[1:2], stacked[2:]]))
        with pytest.raises(CompositionError, match="add up to 4, and there are 5 rows"):
            switcher.predict("batchsplit(a: 1, b: 3)", TEXTS)


def test_compositions_mix_with_adapters_in_one_batch(adapters: list[str], registry: Registry, tiny_base: Path) -> None:
    asked = ["a", "stack(b, a)", "average(a: 0.25, b: 0.75)", "stack(a, b)", "mnli", "average(l, m)", "stack(l, a)",
             "parallel(a, l)"]  # fmt: skip
    rows = [(ref, PAIRS[number % 3] if ref == "mnli" else text) for number, text in enumerate(TEXTS) for ref in asked]
    with Switcher(str(tiny_base), registry=registry) as switcher:
        for (ref, text), found in zip(rows, switcher.predict_mixed(rows), strict=True):
            (expected,) = switcher.predict(ref, [text])
            answers, due = (found, expected) if isinstance(found, tuple) else ((found,), (expected,))
            assert [answer.score for answer in answers] == pytest.approx([answer.score for answer in due], abs=1e-4)


@pytest.mark.parametrize(
    "case",
    [
        ("stack(a, prefix)", "prefix_tuning works alone only"),
        ("average(dora, dora)", "DoRA rescales"),
        ("stack(a, vera)", "VeRA works alone only"),
        ("average(loreft, loreft)", "reft works alone only"),
        ("stack(a, par)", "beside the feed-forward block"),
        ("average(a, l)", r"cannot average a@1 \(seq_bn\) and l@1 \(lora\)"),
        ("average(a, c)", "they differ in mh_adapter"),
        ("average(stack(a, b), c)", "averages stacks of 2 and of 1 adapters"),
        ("average(inv, inv)", "invertible adapters cannot be averaged"),
        ("average(a, other)", "cannot average the answers of its heads: 'sst2' answers negative, positive to 1 text"),
        ("average(uni, uni)", "works alone only"),
    ],
)
def test_what_would_be_computed_wrongly_is_refused(
    case: tuple[str, str], adapters: list[str], make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    composition, reason = case
    for name, method in {"prefix": "prefix_tuning", "dora": "dora", "vera": "vera", "loreft": "loreft",
                         "par": "par_bn", "uni": "unipelt"}.items():  # fmt: skip
        if name in composition:
            make_version(name, method=method)
    if "other" in composition:
        make_version("other", GLUE["mnli"])
    with Switcher(str(tiny_base), registry=registry) as switcher:
        with pytest.raises(CompositionError, match=reason):
            switcher.predict(composition, TEXTS)
        assert len(switcher.predict("a", TEXTS)) == len(TEXTS)
    with pytest.raises(CompositionError, match=reason):
        compose("named", composition, registry=registry)


def test_a_named_composition_is_a_version_like_any_other(
    adapters: list[str], make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    version = compose("both", "average(a: 0.25, b: 0.75)", registry=registry)
    assert (version.ref, version.method, version.parents) == ("both@1", "average", ("a@1", "b@1"))
    with Switcher(str(tiny_base), registry=registry) as switcher:
        expected = switcher.logits(Average("a", "b", weights=[0.25, 0.75]), TEXTS)
        make_version("a", seed=77)  # the composition was pinned to the version before
        switcher.refresh()
        assert torch.equal(switcher.logits("both", TEXTS), expected)
        assert torch.equal(
            switcher.logits("stack(l, both)", TEXTS), switcher.logits("stack(l, average(a@1: 0.25, b: 0.75))", TEXTS)
        )
    every = compose("every", Parallel("both", "l"), registry=registry)
    assert every.parents == ("a@1", "b@1", "l@1")
    with Switcher(str(tiny_base), registry=registry) as switcher:
        assert [len(answers) for answers in switcher.predict("every", TEXTS)] == [2] * len(TEXTS)
    with pytest.raises(CompositionError, match="single ref"):
        compose("same", "a", registry=registry)
