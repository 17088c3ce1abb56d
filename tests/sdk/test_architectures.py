"""Every base takes every method the whole way: trained, stored, loaded, switched, with the same numbers ever after."""

import functools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

import pointsman.sdk.patches.modernbert
from pointsman.registry import Registry, Version
from pointsman.registry.errors import SettingsError
from pointsman.sdk import Switcher, train
from pointsman.sdk.bases.load import LoadedBase, load_base
from pointsman.sdk.data import load_task_data
from pointsman.sdk.data.tokens import tokenise
from pointsman.sdk.engines.scoring import measure
from pointsman.sdk.engines.single import adapter_outputs
from pointsman.sdk.engines.slots import add_head, add_slot, extract_adapter, remove_slot, slot_name
from pointsman.sdk.methods import METHODS, configure
from pointsman.sdk.methods.support import reads_padding
from pointsman.sdk.tasks import GLUE
from pointsman.sdk.training import subjects

from architectures import ARCHITECTURES, make_base
from helpers import TEXTS, PlainAdapters, scramble

assert pointsman.sdk.patches.modernbert  # so that plain adapters knows ModernBERT

NOT_ON_MODERNBERT = {"prefix_tuning", "prefix_tuning_flat", "prompt_tuning", "vera", "dora", "dvora", "mam", "unipelt"}
UNIONS = ("lora+seq_bn", "compacter+++prefix_tuning+prompt_tuning+dora+direft")
SLOT = slot_name(0)

TRAINED = [
    *((architecture, "seq_bn") for architecture in ARCHITECTURES),
    *(("bert", method) for method in METHODS if method != "seq_bn"),
    *(("bert", union) for union in UNIONS),
    ("distilbert", "prefix_tuning"),  # the one that its padding would change
    ("deberta-v2", "dora"),  # the one whose queries would be of another type than its scores
]
"""The bases and methods that are really trained: each base, each method, and unions."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained version, and what its model computed just before it was stored."""

    version: Version
    logits: torch.Tensor
    same_base: bool


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("architectures") / "home") as opened:
        yield opened


@pytest.fixture(scope="module")
def trained(home: Registry, bases: dict[str, Path]) -> Callable[[str, str], Trained]:
    """Trains a method on a base, the first time that it is asked to."""

    @functools.cache
    def get(architecture: str, method: str) -> Trained:
        seen: dict[str, Any] = {}
        extract = extract_adapter

        def watch(model: Any, slot: str, **about: Any) -> dict[str, bytes]:
            fresh = load_base(str(bases[architecture]))
            rows = tokenise(fresh.tokenizer, [(text,) for text in TEXTS], max_length=32)
            exact = reads_padding(configure(method), model.config)
            seen["logits"] = adapter_outputs(model.eval(), slot, rows, exact_lengths=exact)
            seen["same_base"] = has_weights_of(model, fresh)
            return extract(model, slot, **about)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(subjects, "extract_adapter", watch)
            version = train(
                "sst2",
                base=str(bases[architecture]),
                method=method,
                name=f"{architecture}-{method}".replace("+", "-"),
                registry=home,
                data="sample",
                precision="bf16",
                epochs=1,
                max_train_rows=48,
                max_eval_rows=24,
                max_length=32,
                batch_size=16,
            )
        return Trained(version=version, **seen)

    return get


def has_weights_of(model: Any, fresh: LoadedBase) -> bool:
    """Whether a model with adapters has the weights of its base, bit for bit; the poolers' are random, and not used."""
    now = dict(model.base_model.named_parameters())
    due = {name: tensor for name, tensor in fresh.model.base_model.named_parameters() if "pooler" not in name}
    assert len(due) > 10
    return all(torch.equal(tensor, now[name]) for name, tensor in due.items())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_base_computes_what_it_computes_without_adapters(
    architecture: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    """With or without the head of its pretraining, which hub checkpoints have. ModernBERT got random biases."""
    headed = make_base(tmp_path / "headed", architecture, head=True)
    loaded = load_base(str(bases[architecture]))
    assert loaded.record.model_type == architecture
    assert (loaded.record.layers, loaded.record.hidden_size) == (2, 128)
    assert load_base(str(headed)).record.fingerprint == loaded.record.fingerprint
    inputs = AutoTokenizer.from_pretrained(headed)(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = AutoModel.from_pretrained(headed).eval()(**inputs).last_hidden_state
        found = loaded.model.base_model(**inputs).last_hidden_state
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(found[real], expected[real], rtol=1e-5, atol=1e-5)


def test_every_base_and_every_method_is_trained() -> None:
    assert len(ARCHITECTURES) == 8
    assert len(set(TRAINED)) == len(TRAINED) == 8 + 20 + 2 + 2


@pytest.mark.parametrize(("architecture", "method"), TRAINED)
def test_what_was_trained_comes_back(
    architecture: str, method: str, trained: Callable[[str, str], Trained], home: Registry, bases: dict[str, Path]
) -> None:
    it = trained(architecture, method)
    assert it.version.method == method
    assert it.same_base
    split = load_task_data("sst2", "sample").splits["validation"].head(24)
    with Switcher(str(bases[architecture]), registry=home) as switcher:
        logits = switcher.logits(it.version.ref, TEXTS)
        scores = measure(GLUE["sst2"], switcher.logits(it.version.ref, split.texts()), split)
    torch.testing.assert_close(logits, it.logits, rtol=1e-5, atol=1e-5)
    assert {key: it.version.metrics[f"eval/{key}"] for key in scores} == pytest.approx(scores, abs=1e-5)


CHILD = """
import json, sys
import torch
from safetensors.torch import save_file
from pointsman.registry import Registry
from pointsman.sdk import Switcher

torch.set_num_threads(1)
asked = json.load(sys.stdin)
logits = {}
with Registry(asked["home"]) as registry:
    for base, refs in asked["bases"].items():
        with Switcher(base, registry=registry) as switcher:
            for ref in refs:
                logits[ref] = switcher.logits(ref, asked["texts"])
save_file(logits, asked["answer"])
"""


def test_a_fresh_process_computes_the_same(
    trained: Callable[[str, str], Trained], home: Registry, bases: dict[str, Path], tmp_path: Path
) -> None:
    refs: dict[str, list[str]] = {}
    for architecture, method in TRAINED:
        refs.setdefault(str(bases[architecture]), []).append(trained(architecture, method).version.ref)
    asked = {"home": str(home.home), "bases": refs, "texts": TEXTS, "answer": str(tmp_path / "logits.safetensors")}
    subprocess.run([sys.executable, "-c", CHILD], input=json.dumps(asked), text=True, check=True)
    answers = load_file(tmp_path / "logits.safetensors")
    assert len(answers) == len(TRAINED)
    for base, of_base in refs.items():
        with Switcher(base, registry=home) as switcher:
            for ref in of_base:
                assert torch.equal(switcher.logits(ref, TEXTS), answers[ref]), ref


def store(loaded: LoadedBase, method: str, registry: Registry) -> None:
    """Register a method on a base with random weights, under the name of the method."""
    config, model = configure(method), loaded.model
    add_slot(model, SLOT, config)
    add_head(model, SLOT, labels=GLUE["sst2"].labels)
    scramble(model, SLOT)
    rows = tokenise(loaded.tokenizer, [(text,) for text in TEXTS], max_length=32)
    with torch.inference_mode():
        without = model.eval()(**rows.batch(range(len(TEXTS))), head=SLOT).logits
    difference = adapter_outputs(model, SLOT, rows, exact_lengths=reads_padding(config, model.config)) - without
    assert difference.abs().amax() > 1e-3, f"{method} has no effect"
    registry.add_version(
        method.replace("+", "-"),
        files=extract_adapter(model, SLOT, name=method.replace("+", "-"), base="tiny"),
        task=GLUE["sst2"].to_dict(),
        method=method,
        config=config,
        base=loaded.record,
        max_length=32,
        parameters=1,
    )
    remove_slot(model, SLOT)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A registry with every method and union that a base takes, by the name it is registered under."""

    base: Path
    registry: Registry
    methods: Mapping[str, str]


@pytest.fixture(scope="module")
def stored(bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Stored]]:
    """Stores all methods of an architecture, the first time that it is asked to."""
    with ExitStack() as stack:

        @functools.cache
        def get(architecture: str) -> Stored:
            registry = stack.enter_context(Registry(tmp_path_factory.mktemp(architecture) / "home"))
            base = bases[architecture]
            return Stored(base=base, registry=registry, methods=store_all(architecture, base, registry))

        yield get


def store_all(architecture: str, base: Path, registry: Registry) -> Mapping[str, str]:
    """Every method and union that a base takes, by the name it is registered under; what it does not is refused."""
    loaded = load_base(str(base))
    before = set(loaded.model.state_dict())
    taken = {}
    for method in (*METHODS, *UNIONS):
        if architecture == "modernbert" and (method in NOT_ON_MODERNBERT or method == UNIONS[1]):
            with pytest.raises(
                SettingsError, match=r"modernbert base.*these methods work on this base: seq_bn, .*lora"
            ):
                store(loaded, method, registry)
            with pytest.raises(SettingsError, match="modernbert base"):
                train("sst2", base=str(base), method=method, data="sample", registry=registry)
        else:
            store(loaded, method, registry)
            taken[method.replace("+", "-")] = method
    assert len(taken) == (14 if architecture == "modernbert" else 23)
    assert set(loaded.model.state_dict()) == before
    assert list(registry.runs()) == []
    return taken


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_method_is_stored_and_switched_on_every_base(
    architecture: str, stored: Callable[[str], Stored], tmp_path: Path
) -> None:
    texts = TEXTS[::2]
    it = stored(architecture)
    fresh = load_base(str(it.base))
    plain = PlainAdapters(it.base)
    with Switcher(str(it.base), registry=it.registry) as switcher:
        together = {}
        for name, method in it.methods.items():
            together[name] = switcher.logits(name, texts)
            singly = torch.cat([switcher.logits(name, [text]) for text in texts])
            # Whoever shares the batch, and however far it is padded: the same numbers, but for rounding.
            torch.testing.assert_close(together[name], singly, rtol=1e-4, atol=1e-4, msg=lambda m, of=method: of + m)
            # What is exported is the same to adapters alone: also where its own writer fails (prefix tuning), and
            # under another name than in our model (prompt tuning).
            alone = plain.logits(it.registry.export(name, tmp_path / name), texts)
            torch.testing.assert_close(singly, alone, rtol=1e-5, atol=1e-5, msg=lambda m, of=method: of + m)
        assert len(switcher.loaded) == len(it.methods)
        for name in reversed(it.methods):
            assert torch.equal(switcher.logits(name, texts), together[name]), it.methods[name]
        mixed = switcher.predict_mixed([(name, text) for text in texts for name in it.methods])
        expected = torch.stack([logits.softmax(dim=1).amax(dim=1) for logits in together.values()], dim=1).flatten()
        torch.testing.assert_close(torch.tensor([answer.score for answer in mixed]), expected, rtol=1e-4, atol=1e-4)
        assert switcher._model.active_adapters is None
        assert has_weights_of(switcher._model, fresh)
        for name in it.methods:
            switcher.unload(name)
        assert set(switcher._model.state_dict()) == set(fresh.model.state_dict())
        assert has_weights_of(switcher._model, fresh)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_method_says_nearly_the_same_in_bf16(architecture: str, stored: Callable[[str], Stored]) -> None:
    it = stored(architecture)
    base, registry = str(it.base), it.registry
    with Switcher(base, registry=registry) as exact, Switcher(base, registry=registry, precision="bf16") as fast:
        for name, method in it.methods.items():
            expected = exact.logits(name, TEXTS)
            difference = (fast.logits(name, TEXTS) - expected).abs().max()
            assert 0 < difference < 0.15, method
