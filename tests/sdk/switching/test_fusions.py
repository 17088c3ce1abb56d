"""Fusion layers over members in racks: the numbers of their training, alone, in mixed batches and in stacks."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from adapters import AdapterSetup
from adapters.composition import Stack

from pointsman.registry import Registry, Version
from pointsman.registry.errors import Action, Advice, CompositionError
from pointsman.sdk import Fuse, Parallel, Switcher, evaluate, fuse
from pointsman.sdk.bases.load import load_base
from pointsman.sdk.engines.fusion_layers import fuse_block, insert_fusion
from pointsman.sdk.engines.slots import insert_adapter
from pointsman.sdk.formats.native import read_head

from helpers import TEXTS, MakeVersion

Trained = Callable[..., Version]


@pytest.fixture
def train_fusion(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> Trained:
    for seed, (name, method) in enumerate({"a": "seq_bn", "b": "seq_bn", "p": "compacter++", "l": "lora"}.items()):
        make_version(name, method=method, seed=seed)

    def make(name: str, *members: str) -> Version:
        return fuse(
            name, members, "sst2", registry=registry, base=str(tiny_base), data="sample", epochs=1, max_train_rows=48,
            max_eval_rows=20, max_length=16, batch_size=8, learning_rate=0.01, precision="fp32",
        )  # fmt: skip

    return make


def plain_logits(
    base: Path, registry: Registry, version: Version, members: list[str], *, below: str | None = None
) -> torch.Tensor:
    """What the library's own fusion makes of the version's tensors, text by text; stacked on another adapter."""

    def files(ref: str) -> dict[str, bytes]:
        found = registry.version(ref)
        return registry.read_files(found)

    loaded = load_base(str(base))
    for name in dict.fromkeys([*members, *([below] if below else [])]):
        insert_adapter(loaded.model, name, files(name))
    insert_fusion(loaded.model, "here", members, files(version.ref))
    head = read_head(files(version.ref))
    loaded.model.add_prediction_head_from_config("here", dict(head.config), set_active=False)
    loaded.model.heads["here"].load_state_dict(head.tensors)
    setup = fuse_block("here", members)
    rows = []
    with torch.inference_mode(), AdapterSetup(Stack(below, setup) if below else setup):
        for text in TEXTS:
            inputs = loaded.tokenizer(text, truncation=True, max_length=16, return_tensors="pt")
            rows.append(loaded.model.eval()(**inputs, head="here").logits[0])
    return torch.stack(rows)


@pytest.mark.parametrize("members", ["ab", "ap", "bap"])
def test_a_fusion_answers_as_the_library_does_and_scores_as_it_did(
    members: str, train_fusion: Trained, registry: Registry, tiny_base: Path
) -> None:
    version = train_fusion("f", *members)
    expected = plain_logits(tiny_base, registry, version, list(members))
    with Switcher(str(tiny_base), registry=registry) as switcher:
        torch.testing.assert_close(switcher.logits("f", TEXTS), expected, rtol=1e-4, atol=2e-5)
        assert torch.equal(switcher.logits(Fuse(*members), TEXTS), switcher.logits("f@1", TEXTS))
        assert set(switcher.loaded) == {f"{member}@1" for member in members} | {"f@1"}
        scores = evaluate(switcher, "f", data="sample", max_rows=20)
    assert scores["accuracy"] == version.metrics["eval/accuracy"]


def test_fusions_mix_with_their_members_and_go_into_stacks(
    train_fusion: Trained, registry: Registry, tiny_base: Path
) -> None:
    version = train_fusion("f", "a", "b")
    train_fusion("g", "b", "p")
    asked = ["f", "a", "g", "b", "stack(l, f)", "stack(b, f)", "stack(l, fuse(a, b))"]
    with Switcher(str(tiny_base), registry=registry) as switcher:
        alone = {ref: switcher.logits(ref, TEXTS) for ref in asked}
        assert torch.equal(alone["stack(l, f)"], alone["stack(l, fuse(a, b))"])
        for below in ("l", "b"):
            plain = plain_logits(tiny_base, registry, version, ["a", "b"], below=below)
            torch.testing.assert_close(alone[f"stack({below}, f)"], plain, rtol=1e-5, atol=1e-5)
            assert not torch.allclose(plain, alone["f"], atol=1e-3)
        rows = [(ref, text) for text in TEXTS for ref in asked]
        for number, answer in enumerate(switcher.predict_mixed(rows)):
            expected = alone[asked[number % len(asked)]][number // len(asked)].softmax(0).max().item()
            assert answer.score == pytest.approx(expected, abs=1e-4)
        for answers in switcher.predict(Parallel("f", "a"), TEXTS):
            assert len(answers) == 2
        for ref in ("a", "f", "b"):
            switcher.unload(ref)
            assert torch.equal(switcher.logits("f", TEXTS), alone["f"])
        with pytest.raises(CompositionError, match=r"trained over b@1,a@1$") as refused:
            switcher.predict("fuse(b, a)", TEXTS)
        assert refused.value.advice == Advice(Action.FUSE, {"members": ["b@1", "a@1"]})
        with pytest.raises(CompositionError, match="a fusion layer cannot be averaged"):
            switcher.predict("average(f, f)", TEXTS)
