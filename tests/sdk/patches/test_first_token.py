"""The last layer at the first token only: the same numbers, and not where a method looks at the other tokens."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pointsman.registry import Registry
from pointsman.sdk import Switcher
from pointsman.sdk.methods import METHODS
from pointsman.sdk.patches import first_token
from pointsman.sdk.patches.forward_context import ForwardContext, forward_context

from helpers import TEXTS, MakeVersion, on_torch_modules

WHOLE = {"loreft", "noreft", "direft", "unipelt"}
"""Methods that go by the places of tokens, or by their mean."""

NARROWED = {"bert", "roberta", "electra", "deberta-v2", "xlm-roberta"}


class Watched:
    """The tokens that the last layer's feed-forward block has seen, pass by pass."""

    def __init__(self, switcher: Switcher) -> None:
        self.tokens: list[int] = []
        *_, (_, last) = switcher._model.base_model.iter_layers()
        last.register_forward_hook(self._see)

    def _see(self, layer: Any, arguments: Any, outputs: Any) -> None:
        states = outputs if isinstance(outputs, torch.Tensor) else outputs[0]
        self.tokens.append(states.shape[1])


def without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_token, "current_context", lambda: None)


@pytest.mark.parametrize("base", sorted(NARROWED))
def test_behind_attention_each_token_is_by_itself(base: str, contract: Any, plain_model: Any) -> None:
    model = plain_model(base)
    inputs = {"input_ids": torch.randint(5, 40, (3, 6)), "attention_mask": torch.ones(3, 6, dtype=torch.long)}
    inputs["attention_mask"][1, 3:] = 0
    seen: list[tuple[torch.Size, ...]] = []
    assert base in first_token.MODEL_TYPES
    with contract("transformers", f"{base} gives attention.output what was attended to and the residual, and no more"):
        *_, (_, last) = model.base_model.iter_layers()
        handle = last.attention.output.register_forward_pre_hook(
            lambda _, states: seen.append(tuple(state.shape for state in states))
        )
        with torch.inference_mode():
            expected = model.base_model(**inputs)[0][:, :1]
        handle.remove()
        assert seen == [(torch.Size([3, 6, 128]),) * 2]
    first_token.install(model)
    with torch.inference_mode(), forward_context(ForwardContext(first_token_only=True)):
        found = model.base_model(**inputs)[0]
    with contract("transformers", f"a layer of {base} computes each token for itself behind its attention"):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    with torch.inference_mode(), forward_context(ForwardContext()):
        torch.testing.assert_close(model.base_model(**inputs)[0][:, :1], expected, atol=0, rtol=0)


@pytest.mark.parametrize("base", sorted(NARROWED | {"distilbert", "albert", "modernbert"}))
def test_every_base_computes_the_same(
    base: str, bases: dict[str, Path], make_version: MakeVersion, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = ["seq_bn", "lora", "loreft"] + (["unipelt", "compacter", "prefix_tuning"] if base in NARROWED else [])
    for seed, method in enumerate(methods):
        make_version(method, method=method, seed=seed, base=bases[base])
    with Switcher(str(bases[base]), registry=registry) as switcher:
        watched = Watched(on_torch_modules(switcher))
        found, tokens = {}, {}
        for method in methods:
            watched.tokens.clear()
            found[method], tokens[method] = switcher.logits(method, TEXTS), max(watched.tokens)
        assert {method for method in methods if tokens[method] == 1} == (
            set(methods) - WHOLE if base in NARROWED else set()
        )
        without_it(monkeypatch)
        for method in methods:
            torch.testing.assert_close(found[method], switcher.logits(method, TEXTS), rtol=1e-5, atol=1e-5)


def test_every_method_computes_the_same(
    make_version: MakeVersion, registry: Registry, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, method in enumerate(METHODS):
        make_version(f"m{seed}", method=method, seed=seed)
    make_version("again", method="seq_bn", seed=99)
    compositions = ["stack(m0, again)", "average(m0, again)", f"stack(m{list(METHODS).index('lora')}, m0)"]
    refs = [f"m{seed}" for seed in range(len(METHODS))]
    rows = [(ref, text) for text in TEXTS for ref in [*refs, *compositions, "again"]]
    with Switcher(str(tiny_base), registry=registry) as switcher:
        on_torch_modules(switcher)
        found = {ref: switcher.logits(ref, TEXTS) for ref in [*refs, *compositions]}
        dropped = [switcher.logits("m0", TEXTS, drop_layers=layers) for layers in (1, 2)]
        mixed = switcher.predict_mixed(rows)
        shared = switcher.predict_mixed(rows, drop_layers=1)
        without_it(monkeypatch)
        for ref, logits in found.items():
            torch.testing.assert_close(logits, switcher.logits(ref, TEXTS), rtol=1e-5, atol=1e-5)
        for layers, logits in zip((1, 2), dropped, strict=True):
            torch.testing.assert_close(logits, switcher.logits("m0", TEXTS, drop_layers=layers), rtol=1e-5, atol=1e-5)
        for answers, layers in ((mixed, 0), (shared, 1)):
            whole = switcher.predict_mixed(rows, drop_layers=layers)
            assert [answer.score for answer in answers] == pytest.approx([other.score for other in whole], abs=1e-5)


def test_what_looks_at_the_other_tokens_has_them_beside_what_does_not(
    make_version: MakeVersion, registry: Registry, tiny_base: Path
) -> None:
    make_version("gated", method="seq_bn", fields={"use_gating": True}, seed=1)
    make_version("reft", method="loreft", seed=2)
    make_version("plain", seed=3)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        alone = {ref: switcher.predict(ref, TEXTS) for ref in ("gated", "reft", "plain")}
        watched = Watched(on_torch_modules(switcher))
        switcher.logits("plain", TEXTS)
        assert watched.tokens == [1]
        for answers in switcher.predict("parallel(plain, gated)", TEXTS):
            assert len(answers) == 2
        mixed = switcher.predict_mixed([(ref, text) for text in TEXTS for ref in alone])
        assert 1 in watched.tokens[1:]
        assert max(watched.tokens) > 1
    expected = [alone[ref][row] for row in range(len(TEXTS)) for ref in alone]
    assert [answer.score for answer in mixed] == pytest.approx([answer.score for answer in expected], abs=1e-5)
