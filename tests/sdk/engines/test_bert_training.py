"""What is written out for speed computes what the library's modules compute: outputs and every gradient."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from pointsman.sdk.bases.load import load_base, read_base
from pointsman.sdk.engines.bert_training import BertTrainingEngine, supports_training
from pointsman.sdk.engines.slots import add_head, add_slot, slot_name
from pointsman.sdk.methods import METHODS, configure
from pointsman.sdk.patches.pooled_dropout import PooledDropout, pool_dropout

from helpers import scramble

SLOT = slot_name(0)
CPU = torch.device("cpu")
LABELS = torch.tensor([0, 1, 2, 1])


def _model(base: Path, config: Mapping[str, Any]) -> Any:
    model = load_base(str(base), attention="eager").model
    torch.manual_seed(0)
    add_slot(model, SLOT, config)
    add_head(model, SLOT, labels=("a", "b", "c"))
    scramble(model, SLOT)
    model.train_adapter(SLOT)
    model.active_head = SLOT
    return model.eval()


def _batch(*, padded: bool) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    mask = torch.ones(4, 9, dtype=torch.long)
    if padded:
        mask[0, 4:] = mask[2, 7:] = 0
    ids = torch.randint(5, 60, (4, 9), generator=generator)
    segments = (torch.arange(9) > 4).long().expand(4, 9)
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": segments * mask}


def _learned(model: Any, outputs: torch.Tensor) -> dict[str, torch.Tensor]:
    functional.cross_entropy(outputs, LABELS).backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}
    model.zero_grad()
    return found


def _same(model: Any, batch: dict[str, torch.Tensor], expected: torch.Tensor) -> int:
    """Check that outputs and every gradient are those of the library, and return how many gradients there are."""
    outputs = BertTrainingEngine(model, SLOT)(batch)
    torch.testing.assert_close(outputs, expected, atol=1e-5, rtol=1e-5)
    right, found = _learned(model, expected), _learned(model, outputs)
    assert found.keys() == right.keys()
    for name, gradient in right.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4)
    return len(right)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("overrides", [{}, {"leave_out": [0]}, {"leave_out": [1], "reduction_factor": 4}])
def test_outputs_and_gradients_are_the_librarys(tiny_base: Path, padded: bool, overrides: dict[str, Any]) -> None:
    config = configure("seq_bn", overrides)
    model, batch = _model(tiny_base, config), _batch(padded=padded)
    assert supports_training(model.config, config, CPU)
    expected = model(**batch, head=SLOT).logits
    trained = _same(model, batch, expected)
    assert trained == 4 * (2 - len(overrides.get("leave_out", []))) + 4  # of each adapter, and of the head


def test_they_are_on_every_base_whose_layers_are_berts(bases: dict[str, Path]) -> None:
    config = configure("seq_bn")
    supported = [name for name, base in bases.items() if supports_training(read_base(str(base))[0], config, CPU)]
    assert supported == ["bert", "roberta", "electra", "xlm-roberta"]
    for name in supported:
        model, batch = _model(bases[name], config), _batch(padded=False)
        if model.config.type_vocab_size < 2:
            del batch["token_type_ids"]
        batch["input_ids"][:, 5:] = model.config.pad_token_id
        batch["attention_mask"][:, 5:] = 0
        expected = model(**batch, head=SLOT).logits
        _same(model, batch, expected)


def test_with_dropout_they_are_those_of_the_same_masks(tiny_base: Path) -> None:
    """Every mask is ones and zeros by a rule of its place alone, so that both sides drop the same elements."""
    config = configure("seq_bn")
    model, batch = _model(tiny_base, config), _batch(padded=True)
    pool_dropout(model)

    class Fixed(PooledDropout):
        def mask(self, shape: torch.Size) -> torch.Tensor:
            return ((torch.arange(shape[-1]) * 7 + 3) % 5 > 0).float() / 0.8

    dropouts = [module for module in model.modules() if isinstance(module, PooledDropout)]
    assert len(dropouts) == 1 + 3 * 2 + 2  # of the embeddings, of three places in each layer, of the head
    for module in dropouts:
        module.__class__ = Fixed
    model.train()
    expected = model(**batch, head=SLOT).logits
    assert not torch.allclose(expected, model.eval()(**batch, head=SLOT).logits, atol=1e-3)
    model.train()
    _same(model, batch, expected)


def test_in_bf16_they_are_near(tiny_base: Path) -> None:
    config = configure("seq_bn")
    model, batch = _model(tiny_base, config), _batch(padded=True)
    expected = model(**batch, head=SLOT).logits
    right = _learned(model, expected)
    outputs = BertTrainingEngine(model, SLOT, dtype=torch.bfloat16)(batch)
    torch.testing.assert_close(outputs, expected, atol=0.05, rtol=0.05)
    found = _learned(model, outputs)
    for name, gradient in right.items():
        assert functional.cosine_similarity(found[name].reshape(-1), gradient.reshape(-1), dim=0) > 0.98, name


def test_only_one_method_is_written_out(tiny_base: Path) -> None:
    base, _ = read_base(str(tiny_base))
    supported = [name for name in METHODS if supports_training(base, configure(name), CPU)]
    assert supported == ["seq_bn"]
    for overrides in ({"non_linearity": "gelu"}, {"scaling": 2.0}, {"ln_after": True}, {"mh_adapter": True}):
        assert not supports_training(base, configure("seq_bn", overrides), CPU), overrides
    assert not supports_training(base, configure("seq_bn"), torch.device("cuda"))
    base.hidden_act = "relu"
    assert not supports_training(base, configure("seq_bn"), CPU)


@pytest.mark.parametrize("overrides", [{}, {"leave_out": [0]}])
def test_adapters_on_one_base_share_a_pass(tiny_base: Path, overrides: dict[str, Any]) -> None:
    """Batches of unlike lengths and numbers of rows: outputs and gradients are those of each alone."""
    base = load_base(str(tiny_base), attention="eager")
    engines, models, batches = [], [], []
    for number, (rows, tokens) in enumerate([(4, 9), (2, 16), (3, 5)]):
        model = base.sharing().model
        torch.manual_seed(number)
        add_slot(model, SLOT, configure("seq_bn", overrides))
        add_head(model, SLOT, labels=("a", "b", "c"))
        scramble(model, SLOT)
        model.train_adapter(SLOT)
        pool_dropout(model)
        models.append(model.train())
        engines.append(BertTrainingEngine(model, SLOT))
        mask = torch.ones(rows, tokens, dtype=torch.long)
        mask[0, tokens - number :] = 0
        batches.append({"input_ids": torch.randint(5, 60, mask.shape) * mask, "attention_mask": mask})
    alone = []
    for model, engine, batch in zip(models, engines, batches, strict=True):
        torch.manual_seed(7)
        outputs = engine(batch)
        alone.append((outputs.detach(), _gradients(model, outputs)))
    started = []
    for engine, batch in zip(engines, batches, strict=True):
        torch.manual_seed(7)
        started.append((engine.start(batch), torch.get_rng_state()))
    encoded = engines[0].encode([batch for batch, _ in started])
    outputs_of = []
    for engine, states, (_, random) in zip(engines, encoded, started, strict=True):
        torch.set_rng_state(random)
        outputs_of.append(engine.finish(states))
    torch.cat([outputs.flatten() for outputs in outputs_of]).square().sum().backward()
    for model, outputs, (expected, gradients) in zip(models, outputs_of, alone, strict=True):
        torch.testing.assert_close(outputs, expected, atol=1e-6, rtol=1e-5)
        found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        assert found.keys() == gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4)


def _gradients(model: Any, outputs: torch.Tensor) -> dict[str, torch.Tensor]:
    outputs.square().sum().backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found
