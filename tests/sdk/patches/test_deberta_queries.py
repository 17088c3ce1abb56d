"""DeBERTa's queries have autocast's type; without the patch, DoRA fails in bf16."""

from typing import Any

import pytest
import torch
from adapters import AdapterSetup

from pointsman.sdk.patches import deberta_queries

SLOT = "slot000000"
INPUTS = {
    "input_ids": torch.tensor([[1, 11, 12, 2], [1, 13, 2, 0]]),
    "attention_mask": torch.tensor([[1] * 4, [1, 1, 1, 0]]),
}


def states(model: Any, *, autocast: bool) -> torch.Tensor:
    with torch.inference_mode(), AdapterSetup(SLOT), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found: torch.Tensor = model.base_model(**INPUTS)[0]
    return found


def test_the_library_masks_scores_with_the_least_number_of_the_queries(
    contract: Any, plain_model: Any, add_adapter: Any
) -> None:
    model = plain_model("deberta-v2")
    add_adapter(model, SLOT, "dora")
    with contract("adapters", "each DeBERTa layer has a module query_proj"):
        names = [name for name, _ in model.named_modules() if name.endswith(".query_proj")]
        assert len(names) == model.config.num_hidden_layers == 2
    with contract("adapters", "DoRA on DeBERTa overflows in bf16, so that its queries are to be cast"):
        with pytest.raises(RuntimeError, match="overflow"):
            states(model, autocast=True)
        assert states(model, autocast=False).isfinite().all()


def test_dora_computes_in_bf16_what_it_does_in_float32(plain_model: Any, add_adapter: Any) -> None:
    model = plain_model("deberta-v2")
    add_adapter(model, SLOT, "dora")
    expected = states(model, autocast=False)
    deberta_queries.install(model)
    assert torch.equal(states(model, autocast=False), expected)
    found = states(model, autocast=True)
    assert torch.nn.functional.cosine_similarity(found.float().flatten(), expected.flatten(), dim=0) > 0.999


def test_other_bases_are_not_changed(plain_model: Any) -> None:
    model = plain_model("bert")
    before = [len(module._forward_hooks) for module in model.modules()]
    deberta_queries.install(model)
    assert [len(module._forward_hooks) for module in model.modules()] == before
