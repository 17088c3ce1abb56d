"""ModernBERT computes what transformers computes; without the patch adapters has no class for it, and adds a bias.

Every method on it is tested in tests/sdk/test_architectures.py.
"""

import copy
from pathlib import Path
from typing import Any

import torch
from adapters import AutoAdapterModel, init
from adapters.models.auto import ADAPTER_MODEL_MAPPING
from transformers import AutoModel, ModernBertConfig, ModernBertModel

from pointsman.sdk.patches.modernbert import ModernBertAdapterModel

INPUTS = {
    "input_ids": torch.tensor([[1, 11, 12, 13, 2], [1, 14, 2, 3, 3]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
}


def test_the_library_has_no_model_class_and_adds_a_bias(contract: Any, bases: dict[str, Path]) -> None:
    with contract("adapters", "it has no model class of its own for modernbert"):
        assert "bert" in ADAPTER_MODEL_MAPPING._model_mapping
        assert "modernbert" not in ADAPTER_MODEL_MAPPING._model_mapping
    with contract("adapters", "its layer in place of attn.Wqkv has a bias if the model has none"):
        plain = ModernBertModel.from_pretrained(bases["modernbert"])
        assert plain.config.attention_bias is False
        assert plain.layers[0].attn.Wqkv.bias is None
        adapted = copy.deepcopy(plain)
        init(adapted)
        assert adapted.layers[0].attn.Wqkv.bias is not None


def test_importing_the_patch_makes_plain_adapters_load_it(contract: Any, bases: dict[str, Path]) -> None:
    with contract("adapters", "AutoAdapterModel takes further classes by register"):
        assert ADAPTER_MODEL_MAPPING[ModernBertConfig] is ModernBertAdapterModel
        model = AutoAdapterModel.from_pretrained(bases["modernbert"]).eval()
    assert type(model) is ModernBertAdapterModel
    assert all(layer.attn.Wqkv.bias is None for layer in model.model.layers)
    with torch.inference_mode():
        expected = AutoModel.from_pretrained(bases["modernbert"]).eval()(**INPUTS).last_hidden_state
        torch.testing.assert_close(model(**INPUTS).last_hidden_state, expected)
        segments = {"token_type_ids": torch.zeros(2, 5, dtype=torch.long)}
        assert torch.equal(model(**INPUTS, **segments).last_hidden_state, model(**INPUTS).last_hidden_state)
        model.add_classification_head("slot000000", num_labels=3)
        assert model(**INPUTS, head="slot000000").logits.shape == (2, 3)
