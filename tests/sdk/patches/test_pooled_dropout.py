"""Pooled dropout is dropout: the same distribution, the same gradient, and the same masks for the same seed."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pointsman.sdk.bases.load import load_base
from pointsman.sdk.patches.pooled_dropout import MaskPool, PooledDropout, pool_dropout

from architectures import ARCHITECTURES

NO_EAGER = ("distilbert", "modernbert")
"""Bases that are loaded with other attention, see ``bases.load``."""

SHAPE = torch.Size([16, 24, 384])


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(7)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.75])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_mask_drops_its_share_and_scales_the_rest(p: float, dtype: torch.dtype) -> None:
    mask = MaskPool(p, dtype=dtype).mask(SHAPE)
    assert mask.shape == SHAPE
    assert mask.dtype is dtype
    dropped = mask == 0
    deviation = (p * (1 - p) / SHAPE.numel()) ** 0.5
    assert float(dropped.float().mean()) == pytest.approx(p, abs=5 * deviation)
    # What torch's own dropout scales by, to the last bit of the type.
    kept = nn.functional.dropout(torch.ones(1000, dtype=dtype), p).max()
    assert mask[~dropped].unique().tolist() == [float(kept)]


def test_masks_are_independent_of_each_other() -> None:
    """Two masks agree where two independent ones would: with probability p² + (1 - p)²."""
    pool = MaskPool(0.5)
    masks = [pool.mask(SHAPE) != 0 for _ in range(20)]
    agreements = [float((a == b).float().mean()) for a, b in itertools.pairwise(masks)]
    assert agreements == pytest.approx([0.5] * 19, abs=0.01)


def test_every_position_is_dropped_as_often_as_any_other() -> None:
    pool = MaskPool(0.5)
    shares = torch.stack([pool.mask(torch.Size([50])) == 0 for _ in range(2000)]).float().mean(dim=0)
    assert shares.tolist() == pytest.approx([0.5] * 50, abs=0.06)


def test_the_gradient_passes_where_the_input_did() -> None:
    dropout = PooledDropout(MaskPool(0.3))
    hidden = torch.ones(64, 32, requires_grad=True)
    output = dropout(hidden)
    output.sum().backward()
    assert hidden.grad is not None
    assert torch.equal(hidden.grad, output.detach())


def test_in_evaluation_the_input_passes_untouched() -> None:
    hidden = torch.randn(4, 4)
    assert PooledDropout(MaskPool(0.3)).eval()(hidden) is hidden


def test_the_seed_says_which_masks_come_whatever_was_asked_before() -> None:
    """A pool that has grown for a large mask gives small ones as if it had not."""

    def masks(*, grown: bool, seed: int = 3) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        pool = MaskPool(0.1)
        if grown:
            pool.mask(torch.Size([3_000_000]))
            torch.manual_seed(seed)
        return [pool.mask(SHAPE).clone() for _ in range(5)]

    fresh = masks(grown=False)
    assert all(torch.equal(a, b) for a, b in zip(fresh, masks(grown=True), strict=True))
    assert not torch.equal(fresh[0], masks(grown=False, seed=4)[0])
    assert not torch.equal(fresh[0], fresh[1])


def test_a_mask_may_be_larger_than_the_smallest_pool() -> None:
    mask = MaskPool(0.1, dtype=torch.bfloat16).mask(torch.Size([5, 1_000_000]))
    assert float((mask == 0).float().mean()) == pytest.approx(0.1, abs=0.001)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_models_drop_by_modules_only(
    architecture: str, contract: Any, plain_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that no dropout is left which draws numbers one after another."""
    options = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1} if architecture == "albert" else {}
    attention = "sdpa" if architecture in NO_EAGER else "eager"
    model = plain_model(architecture, attn_implementation=attention, **options).train()
    drawing = [module for module in model.modules() if isinstance(module, nn.Dropout) and module.p > 0]
    with contract("transformers", f"{architecture} drops by modules that are exactly nn.Dropout, outside of sdpa"):
        assert len(drawing) >= (0 if architecture == "modernbert" else 3)
        assert {type(module) for module in drawing} <= {nn.Dropout}
        pool_dropout(model)
        drawn: list[float] = []
        real = nn.functional.dropout

        def dropout(inputs: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
            drawn.extend([p] * bool(training and p))
            return real(inputs, p, training, inplace)

        monkeypatch.setattr(nn.functional, "dropout", dropout)
        monkeypatch.setattr(torch, "dropout", None)
        mask = torch.ones(2, 6, dtype=torch.long)
        model.base_model(input_ids=torch.randint(5, 40, (2, 6)), attention_mask=mask)
        assert drawn == []


def test_a_whole_model_gets_pooled_dropout(tiny_base: Path) -> None:
    model = load_base(str(tiny_base), attention="eager").model
    model.train()
    before = [name for name, module in model.named_modules() if isinstance(module, nn.Dropout) and module.p > 0]
    assert any("attention.self" in name for name in before)
    pool_dropout(model)
    modules = dict(model.named_modules())
    assert all(isinstance(modules[name], PooledDropout) and modules[name].training for name in before)
    assert len({id(modules[name]._pool) for name in before}) == len({0.1})
    inputs = {"input_ids": torch.randint(5, 50, (4, 12)), "attention_mask": torch.ones(4, 12, dtype=torch.long)}
    first, second = (model.base_model(**inputs).last_hidden_state for _ in range(2))
    assert not torch.allclose(first, second)
    model.eval()
    first, second = (model.base_model(**inputs).last_hidden_state for _ in range(2))
    assert torch.equal(first, second)


def test_a_probability_of_nothing_is_left_alone() -> None:
    model = nn.Sequential(nn.Dropout(0.0), nn.Dropout(1.0), nn.Linear(2, 2))
    pool_dropout(model)
    assert [type(module) for module in model] == [nn.Dropout, nn.Dropout, nn.Linear]
